"""Which images may share a call of the network: those that come out of it as they do alone, to the bit, and fit.

A network's kernels are chosen by shape, and a product of two images may add up in another order than that of one. Then
attention differs in its last bits by which images happened to be together, and a mask may differ in a pixel. So a
number of images is used only where it has shown, with this model on this device, that each of them comes out as it does
alone. What kernels do depends on shapes and not on values: what holds for the trial's images holds for all of a shape.

On the CPU, Stable Diffusion does not pass (differences of 4e-5 of the largest entry and less). Never run on a GPU:
what passes there is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from m2n2.backbones.check import built_in_picture
from m2n2.backbones.reading import Reader

SIZES = (2, 4, 8, 16, 32)
ASKED = "no more were asked for"
MEMORY_SHARE = 0.5  # of what is free beside the model: the other half is for operators and upsampling

Work = Callable[[], Sequence[torch.Tensor]]


class Memory(Protocol):
    """What is measured of a device's memory, in bytes."""

    def free(self) -> int:
        """How much more could be taken."""
        ...

    def measured(self, work: Work) -> tuple[Sequence[torch.Tensor], int]:
        """What the work gives, and how much it takes at its height. Raises as the work does."""
        ...


@dataclass(frozen=True)
class Batches:
    """Sizes of a call, for resized images of one shape; all others go alone.

    Attributes:
        sizes: ascending; 1 is among them.
        shape: (height, width, 3) of the images.
        reason: why no larger size is among them, for people.
    """

    sizes: tuple[int, ...] = (1,)
    shape: tuple[int, ...] = ()
    reason: str = ASKED

    @property
    def largest(self) -> int:
        """Images of the largest call."""
        return self.sizes[-1]

    def together(self, resized: Sequence[np.ndarray]) -> Iterator[list[int]]:
        """Which of these share a call, as indices; every one once."""
        alike = [index for index, image in enumerate(resized) if image.shape == self.shape]
        yield from ([index] for index, image in enumerate(resized) if image.shape != self.shape)
        while alike:
            size = max(size for size in self.sizes if size <= len(alike))
            yield alike[:size]
            alike = alike[size:]


def find_batches(reader: Reader, most: int | None, memory: Memory | None = None) -> Batches:
    """Try calls of more and more images until one differs or would not fit.

    Args:
        most: images of the largest call; None: as many as memory allows, which needs `memory`.
        memory: of the device; None: not measured.
    """
    if reader.input_bytes == 0:
        return Batches(reason="this backbone takes one image at a time")
    if most is None and memory is None:
        return Batches(reason=f"how much memory is free on {reader.backbone.device} is not measured")
    picture, memory = built_in_picture(), memory or _Unmeasured()
    images: list[np.ndarray] = []
    alone: list[torch.Tensor] = []
    sizes, peak, reason = [1], 0, ASKED
    for size in [1, *(size for size in SIZES if most is None or size <= most)]:
        room, needed = MEMORY_SHARE * memory.free(), size * peak // max(1, len(images))
        if needed > room:
            reason = f"{size} images would take about {needed / 2**30:.2f} GiB; {room / 2**30:.2f} GiB may be taken"
            break
        for number in range(len(images), size):
            images.append(reader.resized(np.roll(picture, 37 * number, axis=number % 2)))
            alone.append(reader.read(reader.begin(images[-1:]))[0].cpu())  # off the device, where they would take room
        try:
            together, peak = memory.measured(lambda: reader.read(reader.begin(images)))
        except torch.OutOfMemoryError:
            reason = f"{size} images were too many for the memory"
            break
        if difference := max(map(_difference, together, alone)):
            reason = f"images of a call of {size} differ by {difference:.0e} of the largest entry from each alone"
            break
        sizes = sorted({*sizes, size})
        del together  # or it would count as taken
    return Batches(tuple(sizes), images[0].shape if images else (), reason)


def _difference(found: torch.Tensor, alone: torch.Tensor) -> float:
    """0 where all bits are the same, else the largest difference as a share of the largest entry."""
    if torch.equal(found.cpu(), alone):
        return 0.0
    return max(float((found.cpu() - alone).abs().max() / alone.max()), float(np.finfo(np.float32).tiny))


class _Unmeasured:
    def free(self) -> int:
        return 1

    def measured(self, work: Work) -> tuple[Sequence[torch.Tensor], int]:
        return work(), 0


class CudaMemory:
    """Of a GPU. Never run."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free(self) -> int:
        """What the driver has left, and what PyTorch holds without using it."""
        free, _ = torch.cuda.mem_get_info(self._device)
        return free + torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)

    def measured(self, work: Work) -> tuple[Sequence[torch.Tensor], int]:
        """With the bytes that were allocated at once beyond those before."""
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        result = work()
        return result, torch.cuda.max_memory_allocated(self._device) - before


def memory_of(device: torch.device) -> Memory | None:
    """The device's memory, where it can be measured."""
    return CudaMemory(device) if device.type == "cuda" else None
