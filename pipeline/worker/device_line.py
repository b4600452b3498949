"""The images of a shard through the device and the refiners, one beside the other.

While one image has the device, the masks of those before it are made on the CPU, and those after it are fetched,
decoded, resized and on their way to the device.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.config import Job
from pipeline.parts import Row, Size
from pipeline.plan import PlanHead
from pipeline.worker.clicks_on_image import placed_on
from pipeline.worker.planned_score import score_of
from pipeline.worker.prefetch import Fetched, Prefetch
from pipeline.worker.refinement import Refinement, segment_failure

if TYPE_CHECKING:
    import torch

    from m2n2 import Scene
    from m2n2.backbones.reading import NetworkInput, Reader

Stage = Literal["device", "masks"]
Around = Callable[[Stage, Sequence[Fetched]], AbstractContextManager[None]]


@dataclass(frozen=True)
class Labelled:
    """An image that is done: one row an object, and the seconds that it had the device."""

    fetched: Fetched
    rows: list[Row]
    device_s: float


@dataclass(frozen=True)
class _Call:
    """Images that go through the network together."""

    images: list[tuple[Fetched, Refinement]]
    sent: NetworkInput | None


class DeviceLine:
    """One device and its refiners.

    Args:
        job, plan: what decides the masks.
        reader: the job's backbone.
        refiners: threads that make masks.
        unfinished: images whose masks may be missing while the next one has the device.
    """

    def __init__(self, job: Job, plan: PlanHead, reader: Reader, refiners: ThreadPoolExecutor, unfinished: int) -> None:
        self._job, self._plan, self._reader = job, plan, reader
        self._refiners, self._unfinished = refiners, unfinished

    def label(
        self, prefetch: Prefetch, device: AbstractContextManager[None], around: Around
    ) -> Generator[Labelled, None, None]:
        """All images of the prefetch, in the order in which they are done.

        Args:
            device: entered while the device is needed; the last masks are made after it, so that others can have it.
            around: entered for as long as images are worked on, with the stage.

        Raises:
            DeviceFailed: the device does not work any more.
            StoreUnavailable: as the prefetch.
        """
        refining: set[Future[Labelled]] = set()
        with device:
            for call in self._calls(prefetch):
                self._through_device(call, around)
                for fetched, refinement in call.images:
                    refining.add(self._refiners.submit(self._refined, fetched, refinement, around))
                    yield from _done(refining, self._unfinished)
        yield from _done(refining, 0)

    def _calls(self, prefetch: Prefetch) -> Iterator[_Call]:
        """Each with the next one on its way to the device, where that is ready."""
        waiting: deque[_Call] = deque()
        while waiting or (fetched := prefetch.next_ones(1)):
            call = waiting.popleft() if waiting else self._sent(fetched)
            waiting.extend(self._sent([each]) for each in prefetch.ready_ones(1 - len(waiting)))
            yield call

    def _sent(self, fetched: list[Fetched]) -> _Call:
        images = [(each, self._placed(each)) for each in fetched]
        resized = [each.resized for each, refinement in images if refinement.prompts and each.resized is not None]
        return _Call(images, self._reader.begin(resized) if resized else None)

    def _placed(self, fetched: Fetched) -> Refinement:
        """The image's objects with their clicks in its pixels."""
        pixels = fetched.pixels
        size = Size(width=pixels.shape[1], height=pixels.shape[0]) if pixels is not None else None
        refinement = Refinement(size)
        for clicks in fetched.clicks.objects:
            failure = clicks.failure or fetched.failure
            if failure is None and size is not None:
                margin = self._job.settings.box_margin
                clicks = placed_on(clicks, size, self._plan.files, fetched.exif_orientation, margin)
                failure = clicks.failure
            refinement.add(clicks, failure)
        return refinement

    def _through_device(self, call: _Call, around: Around) -> None:
        """Make the scenes; what is left to do then needs the CPU, and of the device the upsampling only."""
        began = time.monotonic()
        with around("device", [fetched for fetched, _ in call.images]):
            if call.sent is not None:
                self._make_scenes(call.images, call.sent)
        for _, refinement in call.images:
            refinement.device_s = (time.monotonic() - began) / len(call.images)

    def _make_scenes(self, images: list[tuple[Fetched, Refinement]], sent: NetworkInput) -> None:
        [(fetched, refinement)] = images
        try:
            assert fetched.pixels is not None, "it was sent"
            [attention] = self._reader.read(sent)
            refinement.scene = self._scene(fetched.pixels, attention, refinement)
        except Exception as error:
            refinement.fail_all(segment_failure(error))

    def _scene(self, pixels: np.ndarray, attention: torch.Tensor, refinement: Refinement) -> Scene:
        from m2n2 import Scene

        settings, score = self._job.settings, score_of(self._plan)
        scene = Scene(pixels, attention, settings, overwrite_attention=True, score=score)
        scene.advance([point for prompt in refinement.prompts for point in prompt.points])
        scene.release_operator()
        return scene

    def _refined(self, fetched: Fetched, refinement: Refinement, around: Around) -> Labelled:
        with around("masks", [fetched]):
            return Labelled(fetched, refinement.rows(), refinement.device_s)


def _done(refining: set[Future[Labelled]], unfinished: int) -> Iterator[Labelled]:
    """Those that are done, once no more than so many are not."""
    while True:
        done = {future for future in refining if future.done()}
        refining -= done
        for future in done:
            yield future.result()
        if len(refining) <= unfinished:
            return
        wait(refining, return_when=FIRST_COMPLETED)
