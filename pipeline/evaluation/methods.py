"""What an evaluation can measure: this project's masks, and peers that get the same clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from m2n2.prompt import Prompt
from m2n2.settings import Settings
from pipeline.config import InvalidJob, Job
from pipeline.evaluation.evaluate import MakeReady, ReadyImage
from pipeline.evaluation.scenes import scenes_of
from pipeline.evaluation.seeded_peers import SeededPeer, grabcut, random_walker
from pipeline.worker.model import load_model

if TYPE_CHECKING:
    from m2n2 import Scene

METHODS = ("m2n2", "grabcut", "random_walker")


class ReadyScene:
    """A scene, its masks without their scores."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def masks(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """One (H, W) bool mask a prompt."""
        return [mask.mask for mask in self._scene.segment(prompts)]


def uses_gpu(method: str) -> bool:
    """Whether the method's workers take the GPUs that the job gives a worker."""
    return method == "m2n2"


def make_method(job: Job, method: str) -> MakeReady:
    """What makes images ready for clicks; m2n2 loads its model here.

    Raises:
        InvalidJob: the method's library is not installed.
        InvalidDevice, InvalidWeights: as `pipeline.worker.model.load_model`.
    """
    if method == "m2n2":
        return _m2n2(job)
    segment = _imported(grabcut if method == "grabcut" else random_walker, method)
    return _whatever_the_settings(lambda image_HW3: SeededPeer(image_HW3, segment))


def _m2n2(job: Job) -> MakeReady:
    backbone = load_model(job)

    def ready(image_HW3: np.ndarray, wanted: Sequence[Settings]) -> Iterator[tuple[Settings, ReadyImage]]:
        for settings, scene in scenes_of(backbone, image_HW3, wanted):
            yield settings, ReadyScene(scene)

    return ready


def _whatever_the_settings(make: Callable[[np.ndarray], ReadyImage]) -> MakeReady:
    def ready(image_HW3: np.ndarray, wanted: Sequence[Settings]) -> Iterator[tuple[Settings, ReadyImage]]:
        for settings in wanted:
            yield settings, make(image_HW3)

    return ready


def _imported(make: Callable[[], Any], method: str) -> Any:
    try:
        return make()
    except ImportError as error:
        raise InvalidJob(f"--method {method}: {error}; pip install 'm2n2[peers]'") from error
