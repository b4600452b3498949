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
from pipeline.weights.node_cache import weights_on_this_node
from pipeline.worker.model import device_name, load_model

if TYPE_CHECKING:
    from m2n2 import Scene

METHODS = ("m2n2", "grabcut", "random_walker", "sam2")


class ReadyScene:
    """A scene, its masks without their scores."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def masks(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """One (H, W) bool mask a prompt."""
        return [mask.mask for mask in self._scene.segment(prompts)]


def uses_gpu(method: str) -> bool:
    """Whether the method's workers take the GPUs that the job gives a worker."""
    return method in ("m2n2", "sam2")


def make_method(job: Job, method: str, weights: str | None = None) -> MakeReady:
    """What makes images ready for clicks; m2n2 and sam2 load their models here.

    Args:
        job: backbone, settings and device.
        method: one of `METHODS`.
        weights: of sam2, as `m2n2.backbones.weights.resolve_weights` takes them, or an address.

    Raises:
        InvalidJob: the method's library is not installed.
        InvalidDevice, InvalidWeights: as `pipeline.worker.model.load_model`.
    """
    if method == "m2n2":
        return _m2n2(job)
    if method == "sam2":
        return _whatever_the_settings(_sam2(job, weights))
    segment = _imported(grabcut if method == "grabcut" else random_walker, method)
    return _whatever_the_settings(lambda image_HW3: SeededPeer(image_HW3, segment))


def _m2n2(job: Job) -> MakeReady:
    backbone = load_model(job)

    def ready(image_HW3: np.ndarray, wanted: Sequence[Settings]) -> Iterator[tuple[Settings, ReadyImage]]:
        for settings, scene in scenes_of(backbone, image_HW3, wanted):
            yield settings, ReadyScene(scene)

    return ready


def _sam2(job: Job, weights: str | None) -> Callable[[np.ndarray], ReadyImage]:
    from m2n2.backbones.weights import resolve_weights
    from pipeline.evaluation.sam2 import Sam2

    assert weights is not None, "sam2 has weights"
    directory = resolve_weights(weights_on_this_node(weights, job.storage))
    return Sam2(directory, device_name(job)).ready


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
