"""A device that does nothing before somebody waits for it, and then no more than it must.

Its tensors are the CPU's. A stream is a list of work that has not been done; work is given to the current stream. What
a kernel reads without a wait for it is not there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from m2n2.kernels.gpu.copies import Cuda


class Stream:
    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []
        self.done = 0

    def do(self, until: int) -> None:
        while self.done < until:
            self.done += 1
            self.work[self.done - 1]()


class Event:
    def __init__(self, stream: Stream) -> None:
        self.stream, self.position = stream, len(stream.work)

    def synchronize(self) -> None:
        self.stream.do(self.position)


class LateDevice(Cuda):
    """Stands in for CUDA on the CPU's tensors."""

    def __init__(self) -> None:
        self.current = self.default = Stream()
        self.kept: list[tuple[torch.Tensor, Stream]] = []

    def serves(self, device: torch.device) -> bool:
        return True

    def pinned(self, like: torch.Tensor) -> torch.Tensor:
        return torch.full(like.shape, -1, dtype=like.dtype)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        target.fill_(-1)
        self.launch(lambda: target.copy_(source))

    def launch(self, kernel: Callable[[], object]) -> None:
        """Give work to the current stream."""
        self.current.work.append(lambda: (kernel(), None)[1])

    def stream(self, device: torch.device) -> Stream:
        return Stream()

    @contextmanager
    def within(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def reached(self, device: torch.device) -> Event:
        return Event(self.current)

    def wait_here(self, event: Event, device: torch.device) -> None:
        self.current.work.append(event.synchronize)

    def used_here(self, tensor: torch.Tensor) -> None:
        self.kept.append((tensor, self.current))
