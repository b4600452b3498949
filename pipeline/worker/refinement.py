"""One image after the device has done its share: its objects, and the CPU work that turns their maps into rows."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from m2n2.kernels.gpu.memory import is_out_of_device_memory
from m2n2.prompt import Prompt
from pipeline.clicks import ObjectClicks
from pipeline.describe import describe
from pipeline.failure import Failure
from pipeline.parts import Row, Size, error_row, mask_row
from pipeline.worker.device import DeviceFailed, device_has_failed

if TYPE_CHECKING:
    from m2n2.scene import Mask, Scene

log = logging.getLogger("m2n2.labeler")


class Refinement:
    """The objects of one image, on their way from clicks to rows.

    Attributes:
        prompts: of the objects that have not failed.
        scene: made from them on the device; None where there is nothing to segment.
        device_s: seconds that took.
    """

    def __init__(self, size: Size | None) -> None:
        self._size = size
        self._failed: list[tuple[ObjectClicks, Failure]] = []
        self._objects: list[ObjectClicks] = []
        self.prompts: list[Prompt] = []
        self.scene: Scene | None = None
        self.device_s = 0.0

    def add(self, clicks: ObjectClicks, failure: Failure | None) -> None:
        """Take one object, which may have failed already."""
        if failure is not None:
            self._failed.append((clicks, failure))
            return
        self._objects.append(clicks)
        points = [(click["x"], click["y"]) for click in clicks.clicks]
        self.prompts.append(Prompt(points, [click["label"] for click in clicks.clicks], clicks.box))

    def fail_all(self, failure: Failure) -> None:
        """Give all objects that have not failed this failure."""
        self._failed += [(clicks, failure) for clicks in self._objects]
        self._objects, self.prompts = [], []

    def rows(self) -> list[Row]:
        """Segment, in any thread: one row an object, a mask or an error."""
        started = time.monotonic()
        rows: list[Row] = []
        if self.scene is not None:
            try:
                # Encoded as they are made: a hundred masks of 12 megapixels at once would be more than a gigabyte.
                masks = self.scene.masks(self.prompts)
                rows = [self._row(clicks, mask) for clicks, mask in zip(self._objects, masks, strict=True)]
            except Exception as error:
                self.fail_all(segment_failure(error))
        rows += [error_row(clicks, failure, self._size) for clicks, failure in self._failed]
        seconds = (self.device_s + time.monotonic() - started) / max(1, len(rows))
        return [row | {"seconds": seconds} for row in rows]

    def _row(self, clicks: ObjectClicks, mask: Mask) -> Row:
        if mask.mask.any():
            return mask_row(clicks, mask.mask, mask.score, 0.0, mask.evidence)
        return error_row(clicks, _empty_mask(clicks), self._size)


def segment_failure(error: Exception) -> Failure:
    """An error row for one image. Raises DeviceFailed where it is not the image that failed: it ends this worker."""
    if isinstance(error, MemoryError):
        return Failure("out_of_memory", describe(error))
    if is_out_of_device_memory(error):
        return Failure("device_memory", describe(error))
    if device_has_failed(error):
        raise DeviceFailed(describe(error)) from error
    log.exception("an image could not be segmented")
    return Failure("internal", describe(error))


def _empty_mask(clicks: ObjectClicks) -> Failure:
    """Says why, as far as the clicks tell."""
    found: dict[tuple[int, int], bool] = {}
    for click in clicks.clicks:
        pixel = (round(click["x"]), round(click["y"]))
        if found.setdefault(pixel, click["label"]) != click["label"]:
            message = f"a foreground and a background click are on one pixel {pixel}; allowed: different pixels"
            return Failure("empty_mask", f"image {clicks.image!r}, object {clicks.object!r}: {message}")
    message = "no pixel of the image is on the object, or all that were belong to smaller objects (settings.objects)"
    return Failure("empty_mask", f"image {clicks.image!r}, object {clicks.object!r}: {message}")
