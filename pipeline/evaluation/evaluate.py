"""Evaluations: every image of a data set is clicked once a job, and what has its result already is not done again.

The jobs of a grid of settings are evaluated together, an image at a time, so that they share what its settings share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from m2n2.evaluation import ClickRule, Session, click_objects
from m2n2.prompt import Prompt
from m2n2.settings import Settings
from pipeline.config import Job
from pipeline.evaluation.results import read_results, result_key, write_objects, write_result
from pipeline.evaluation.truths import Truth, TruthData, TruthImage
from pipeline.inputs.identity import make_identity
from pipeline.plan import PlanMismatch
from pipeline.storage.store import Store
from pipeline.worker.images import decode_image

IDENTITY = "evaluation.json"


class EvaluationIncomplete(ConnectionError):
    """A worker was lost before every image had its result; what has one is not done again."""


class ReadyImage(Protocol):
    """An image made ready for clicks, such as `m2n2.Scene`."""

    def masks(self, prompts: Sequence[Prompt]) -> Sequence[np.ndarray]:
        """One (H, W) bool mask a prompt."""
        ...


# From (H, W, 3) uint8 and different settings: each of them with the image as it makes it ready, in any order. One is
# done with before the next is asked for.
MakeReady = Callable[[np.ndarray, Sequence[Settings]], Iterator[tuple[Settings, ReadyImage]]]


@dataclass(frozen=True)
class Work:
    """An image that is to be clicked on, and by which jobs: their numbers."""

    image: TruthImage
    jobs: tuple[int, ...]


ClickAll = Callable[[Sequence[Work]], Iterator[str]]


@dataclass(frozen=True)
class Request:
    """How the data are clicked on.

    Attributes:
        rule: where clicks are placed.
        cap: clicks an object at most.
        together: all objects of an image are clicked and masked together; else each by itself.
        method: what makes the masks; "m2n2", or a peer's name.
        weights: the peer's, where it has some.
    """

    rule: ClickRule
    cap: int = 20
    together: bool = False
    method: str = "m2n2"
    weights: str | None = None

    def identity(self) -> dict[str, Any]:
        """What decides the numbers; weights that are not named are not in it, as before there were any."""
        return {name: value for name, value in asdict(self).items() if name != "weights" or value is not None}


def evaluate(
    jobs: Sequence[Job],
    request: Request,
    data: TruthData,
    click_all: ClickAll,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> list[Mapping[tuple[str, str], Session]]:
    """Click on what has no result yet, by all jobs at an image together, then make each job's table of all objects.

    Args:
        jobs: backbone, settings and output; they differ in settings and output alone.
        request: how the data are clicked on.
        data: images with truths.
        click_all: puts images' results in place and yields their keys; called only where an image is left to do.
        on_image: told how many images are done, of how many.

    Returns:
        For each job a session an object, in the order of the data.

    Raises:
        PlanMismatch: an output holds another evaluation.
        InvalidTruth: an image or a mask that cannot be used.
        EvaluationIncomplete: a worker was lost.
    """
    for job in jobs:
        _seal(job, request, data)
    work = _missing(jobs, data)
    done = len(data.images) - len(work)
    if work:
        for number, _ in enumerate(click_all(work), 1):
            on_image(done + number, len(data.images))
    found: list[Mapping[tuple[str, str], Session]] = []
    for job in jobs:
        sessions = read_results(job.output_store, [image.key for image in data.images])
        write_objects(job.output_store, sessions, request.cap)
        found.append(sessions)
    return found


def _missing(jobs: Sequence[Job], data: TruthData) -> list[Work]:
    present = [{entry.key for entry in job.output_store.listing("results/")} for job in jobs]
    every = [
        Work(image, tuple(n for n, keys in enumerate(present) if result_key(image.key) not in keys))
        for image in data.images
    ]
    return [each for each in every if each.jobs]


def click_here(
    jobs: Sequence[Job], request: Request, data: TruthData, ready: MakeReady, work: Sequence[Work]
) -> Iterator[str]:
    """Put the images' results in place, one after the other in this process; yields their keys."""
    for each in work:
        click_image(jobs, request, data, ready, each)
        yield each.image.key


def click_image(jobs: Sequence[Job], request: Request, data: TruthData, ready: MakeReady, work: Work) -> None:
    """Click on all objects of an image, by each of its jobs, and put the results in place."""
    pixels = decode_image(data.read(work.image.key), data.store.url(work.image.key))
    wanted: dict[Settings, list[Store]] = {}
    for number in work.jobs:
        wanted.setdefault(jobs[number].settings, []).append(jobs[number].output_store)
    for settings, scene in ready(pixels, list(wanted)):
        sessions = _click_objects(data, work.image, request, scene, pixels.shape[:2])
        for store in wanted[settings]:
            write_result(store, work.image.key, sessions)


def _click_objects(
    data: TruthData, image: TruthImage, request: Request, scene: ReadyImage, size: tuple[int, ...]
) -> dict[str, Session]:
    """The sessions of one image's objects by their names."""
    sessions: dict[str, Session] = {}
    for group in [image.objects] if request.together else [(each,) for each in image.objects]:
        sessions |= _click_group(data, image, group, request, scene, size)
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
    head = make_identity(job, []) if request.method == "m2n2" else {"images": job.images}
    whole = head | {"request": request.identity(), "evaluated_images": images}
    identity: dict[str, Any] = json.loads(json.dumps(whole))
    store = job.output_store
    store.put_new(IDENTITY, json.dumps(identity, indent=1).encode())
    found = json.loads(store.read(IDENTITY))
    if found != identity:
        names = sorted(name for name in found.keys() | identity.keys() if found.get(name) != identity.get(name))
        raise PlanMismatch(
            f"{store.url(IDENTITY)} belongs to another evaluation; {', '.join(names)} differ: choose another --to"
        )
