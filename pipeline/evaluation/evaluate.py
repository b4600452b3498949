"""One evaluation: every image of a data set is clicked once, and what has its result already is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from m2n2.evaluation import ClickRule, Session, click_objects
from m2n2.prompt import Prompt
from pipeline.config import Job
from pipeline.evaluation.results import read_results, result_key, write_objects, write_result
from pipeline.evaluation.truths import Truth, TruthData, TruthImage
from pipeline.inputs.identity import make_identity
from pipeline.plan import PlanMismatch
from pipeline.worker.images import decode_image

IDENTITY = "evaluation.json"


class EvaluationIncomplete(ConnectionError):
    """A worker was lost before every image had its result; what has one is not done again."""


class ReadyImage(Protocol):
    """An image made ready for clicks, such as `m2n2.Scene`."""

    def masks(self, prompts: Sequence[Prompt]) -> Sequence[np.ndarray]:
        """One (H, W) bool mask a prompt."""
        ...


ClickAll = Callable[[Sequence[TruthImage]], Iterator[str]]
MakeReady = Callable[[np.ndarray], ReadyImage]  # from (H, W, 3) uint8


@dataclass(frozen=True)
class Request:
    """How the data are clicked on.

    Attributes:
        rule: where clicks are placed.
        cap: clicks an object at most.
        together: all objects of an image are clicked and masked together; else each by itself.
        method: what makes the masks; "m2n2", or a peer's name.
    """

    rule: ClickRule
    cap: int = 20
    together: bool = False
    method: str = "m2n2"


def evaluate(
    job: Job,
    request: Request,
    data: TruthData,
    click_all: ClickAll,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> Mapping[tuple[str, str], Session]:
    """Click on what has no result yet, then make the table of all objects.

    Args:
        job: backbone, settings and output.
        request: how the data are clicked on.
        data: images with truths.
        click_all: puts images' results in place and yields their keys; called only where an image is left to do.
        on_image: told how many images are done, of how many.

    Returns:
        A session an object, in the order of the data.

    Raises:
        PlanMismatch: the output holds another evaluation.
        InvalidTruth: an image or a mask that cannot be used.
        EvaluationIncomplete: a worker was lost.
    """
    store = job.output_store
    _seal(job, request, data)
    present = {entry.key for entry in store.listing("results/")}
    missing = [image for image in data.images if result_key(image.key) not in present]
    done = len(data.images) - len(missing)
    if missing:
        for number, _ in enumerate(click_all(missing), 1):
            on_image(done + number, len(data.images))
    sessions = read_results(store, [image.key for image in data.images])
    write_objects(store, sessions, request.cap)
    return sessions


def click_here(
    job: Job, request: Request, data: TruthData, ready: MakeReady, images: Sequence[TruthImage]
) -> Iterator[str]:
    """Put the images' results in place, one after the other in this process; yields their keys."""
    for image in images:
        write_result(job.output_store, image.key, click_image(data, image, request, ready))
        yield image.key


def click_image(data: TruthData, image: TruthImage, request: Request, ready: MakeReady) -> dict[str, Session]:
    """The sessions of one image's objects by their names."""
    pixels = decode_image(data.read(image.key), data.store.url(image.key))
    scene = ready(pixels)
    sessions: dict[str, Session] = {}
    for group in [image.objects] if request.together else [(each,) for each in image.objects]:
        sessions |= _click_group(data, image, group, request, scene, pixels.shape[:2])
    return sessions


def _click_group(
    data: TruthData,
    image: TruthImage,
    group: Sequence[Truth],
    request: Request,
    scene: ReadyImage,
    size: tuple[int, ...],
) -> dict[str, Session]:
    masks = [data.mask(image, each, (size[0], size[1])) for each in group]
    names = [f"{image.key} {each.name}" for each in group]
    sessions = click_objects(scene.masks, masks, request.rule, request.cap, names)
    return {each.name: session for each, session in zip(group, sessions, strict=True)}


def _seal(job: Job, request: Request, data: TruthData) -> None:
    """Write what decides the numbers beside them, or find it and compare."""
    images = [image.key for image in data.images]
    whole = make_identity(job, []) | {"request": asdict(request), "evaluated_images": images}
    identity: dict[str, Any] = json.loads(json.dumps(whole))
    store = job.output_store
    store.put_new(IDENTITY, json.dumps(identity, indent=1).encode())
    found = json.loads(store.read(IDENTITY))
    if found != identity:
        names = sorted(name for name in found.keys() | identity.keys() if found.get(name) != identity.get(name))
        raise PlanMismatch(
            f"{store.url(IDENTITY)} belongs to another evaluation; {', '.join(names)} differ: choose another --to"
        )
