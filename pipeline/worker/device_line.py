"""The images of a shard through the device and the refiners, one beside the other.

While one image has the device, the masks of those before it are made on the CPU, and those after it are fetched,
decoded, resized and on their way to the device.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from m2n2.kernels.gpu.memory import is_out_of_device_memory
from pipeline.config import Job
from pipeline.describe import describe
from pipeline.parts import Row, Size
from pipeline.plan import PlanHead
from pipeline.worker.clicks_on_image import placed_on
from pipeline.worker.planned_score import score_of
from pipeline.worker.prefetch import Fetched, Prefetch
from pipeline.worker.refinement import Refinement, segment_failure

if TYPE_CHECKING:
    import torch

    from m2n2 import Scene
    from m2n2.backbones.batches import Batches
    from m2n2.backbones.reading import NetworkInput, Reader

Stage = Literal["device", "masks"]
Around = Callable[[Stage, Sequence[Fetched]], AbstractContextManager[None]]

# Images whose masks are made at once, in the one pool of the kernels. An image leaves cores idle at its end, and while
# it waits for the device's upsampling; many cores need one more image for that. Each holds up to half a gigabyte.
REFINED_AT_ONCE, REFINED_BY_MANY, MANY_CORES = 2, 3, 16

log = logging.getLogger("m2n2.labeler")


def refined_at_once(cores: float) -> int:
    """How many images' masks a worker with so many cores makes at once."""
    return REFINED_BY_MANY if cores >= MANY_CORES else REFINED_AT_ONCE


@dataclass(frozen=True)
class Labelled:
    """An image that is done: one row an object, and the seconds that it had the device."""

    fetched: Fetched
    rows: list[Row]
    device_s: float


@dataclass(frozen=True)
class _Image:
    fetched: Fetched
    refinement: Refinement

    @property
    def needs_device(self) -> bool:
        """Whether there is an image, and something in it to segment."""
        return self.fetched.resized is not None and bool(self.refinement.prompts)

    @property
    def resized(self) -> np.ndarray:
        assert self.fetched.resized is not None, "asked of images that need the device"
        return self.fetched.resized


@dataclass(frozen=True)
class _Call:
    """Images that go through the network together; none of those that need no device."""

    images: Sequence[_Image]
    sent: NetworkInput | None


class DeviceLine:
    """One device and its refiners.

    Args:
        job, plan: what decides the masks.
        reader: the job's backbone.
        refiners: threads that make masks.
        unfinished: images whose masks may be missing while the next one has the device.
        batches: which images may share a call of the network; None: none.
    """

    def __init__(
        self,
        job: Job,
        plan: PlanHead,
        reader: Reader,
        refiners: ThreadPoolExecutor,
        unfinished: int,
        batches: Batches | None = None,
    ) -> None:
        self._job, self._plan, self._reader = job, plan, reader
        self._refiners, self._unfinished = refiners, unfinished
        self._batches = batches

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
                for image in call.images:
                    refining.add(self._refiners.submit(self._refined, image, around))
                    yield from _done(refining, self._unfinished)
        yield from _done(refining, 0)

    def _calls(self, prefetch: Prefetch) -> Iterator[_Call]:
        """Each with the next one on its way to the device, where that is ready."""
        waiting: deque[_Call] = deque()
        while waiting or (fetched := prefetch.next_ones(self._at_once())):
            waiting.extend(() if waiting else self._sent(fetched))
            call = waiting.popleft()
            if not waiting:
                waiting.extend(self._sent(prefetch.ready_ones(self._at_once())))
            yield call

    def _at_once(self) -> int:
        return self._batches.largest if self._batches else 1

    def _sent(self, fetched: Sequence[Fetched]) -> Iterator[_Call]:
        images = [_Image(each, self._placed(each)) for each in fetched]
        yield from (_Call([image], None) for image in images if not image.needs_device)
        seen = [image for image in images if image.needs_device]
        alone = ([index] for index in range(len(seen)))
        groups = self._batches.together([image.resized for image in seen]) if self._batches else alone
        for group in groups:
            together = [seen[index] for index in group]
            yield _Call(together, self._begun(together))

    def _begun(self, images: Sequence[_Image]) -> NetworkInput | None:
        """Their upload; None where it fails: it is tried again, and judged, when they have the device."""
        try:
            return self._reader.begin([image.resized for image in images])
        except Exception as error:
            log.warning("%d images could not be sent ahead: %s", len(images), describe(error))
            return None

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
        with around("device", [image.fetched for image in call.images]):
            if call.images[0].needs_device:
                self._make_scenes(call.images, call.sent)
        for image in call.images:
            image.refinement.device_s = (time.monotonic() - began) / len(call.images)

    def _make_scenes(self, images: Sequence[_Image], sent: NetworkInput | None) -> None:
        attentions: Sequence[torch.Tensor] = ()
        try:
            attentions = self._reader.read(sent or self._reader.begin([image.resized for image in images]))
        except Exception as error:
            if len(images) == 1:
                images[0].refinement.fail_all(segment_failure(error))
            elif is_out_of_device_memory(error):
                log.warning("%d images were too many for the device's memory: from now on each goes alone", len(images))
                self._batches = None
        if len(images) > len(attentions) and len(images) > 1:
            for image in images:  # whoever is to blame fails alone
                self._make_scenes([image], None)
            return
        for image, attention in zip(images, attentions, strict=False):
            try:
                image.refinement.scene = self._scene(image, attention)
            except Exception as error:
                image.refinement.fail_all(segment_failure(error))

    def _scene(self, image: _Image, attention: torch.Tensor) -> Scene:
        from m2n2 import Scene

        assert image.fetched.pixels is not None, "it has been resized"
        settings, score = self._job.settings, score_of(self._plan)
        scene = Scene(image.fetched.pixels, attention, settings, overwrite_attention=True, score=score)
        scene.advance([point for prompt in image.refinement.prompts for point in prompt.points])
        scene.release_operator()
        return scene

    def _refined(self, image: _Image, around: Around) -> Labelled:
        with around("masks", [image.fetched]):
            return Labelled(image.fetched, image.refinement.rows(), image.refinement.device_s)


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
