"""Copies between host and device that keep nobody waiting: the one place that knows streams and pinned memory.

On the CPU nothing is copied. On a GPU every copy goes through pinned memory, or the host would wait for all of it. What
is needed next is uploaded in a stream of its own, beside the kernels that run; what was made is copied to the host in
the stream that made it, and the host waits for that copy alone.

Never run on a GPU: tests/m2n2/kernels/gpu/test_copies.py holds the order of waits against a device that does everything
as late as it may.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


class Cuda:
    """The calls of torch.cuda that are made here, so that a test can put a device of its own in their place."""

    def serves(self, device: torch.device) -> bool:
        """Whether the device has streams and takes pinned memory."""
        return device.type == "cuda"

    def pinned(self, like: torch.Tensor) -> torch.Tensor:
        """Pinned memory for a copy; PyTorch keeps it for the next one, once the copies out of it have ended."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Begin a copy in the current stream."""
        target.copy_(source, non_blocking=True)

    def stream(self, device: torch.device) -> Any:
        """A new stream, which the default one does not wait for."""
        return torch.cuda.Stream(device)

    def within(self, stream: Any) -> AbstractContextManager[Any]:
        """Make a stream this thread's current one."""
        return torch.cuda.stream(stream)

    def reached(self, device: torch.device) -> Any:
        """An event: what the current stream has been given so far is done. Waiting for it takes no core."""
        event = torch.cuda.Event(blocking=True)
        event.record(torch.cuda.current_stream(device))
        return event

    def wait_here(self, event: Any, device: torch.device) -> None:
        """The current stream goes on only after the event; the host does not wait."""
        torch.cuda.current_stream(device).wait_event(event)

    def used_here(self, tensor: torch.Tensor) -> None:
        """The tensor's memory is given to nobody else before the current stream is through with it."""
        tensor.record_stream(torch.cuda.current_stream(tensor.device))


CUDA = Cuda()


class _Streams(threading.local):
    """A thread's streams, by what they are for and their device."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, torch.device], Any] = {}

    def of(self, purpose: str, device: torch.device) -> Any:
        if (purpose, device) not in self._known:
            self._known[purpose, device] = CUDA.stream(device)
        return self._known[purpose, device]


_streams = _Streams()


@dataclass(frozen=True)
class Upload:
    """An array on its way to a device."""

    _tensor: torch.Tensor
    _arrived: Any

    def tensor(self) -> torch.Tensor:
        """The array on the device: what the current stream is given from now on finds it there."""
        if self._arrived is not None:
            CUDA.wait_here(self._arrived, self._tensor.device)
            CUDA.used_here(self._tensor)
        return self._tensor


def upload_ahead(array: np.ndarray, device: torch.device) -> Upload:
    """Begin to copy an array to a device beside whatever runs there."""
    if not CUDA.serves(device):
        return Upload(torch.from_numpy(array).to(device), None)
    with CUDA.within(_streams.of("uploads", device)):
        tensor = upload(array, device)
        return Upload(tensor, CUDA.reached(device))


def upload(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The array on a device, for the current stream; the host does not wait for the copy."""
    source = torch.from_numpy(array)
    if not CUDA.serves(device):
        return source.to(device)
    staged = CUDA.pinned(source)
    staged.copy_(source)
    tensor = torch.empty(source.shape, dtype=source.dtype, device=device)
    CUDA.copy(tensor, staged)
    return tensor


def to_host(tensor: torch.Tensor) -> np.ndarray:
    """A tensor that was made in the current stream, on the host; waits for that stream so far, and no other."""
    if not CUDA.serves(tensor.device):
        values: np.ndarray = tensor.cpu().numpy()
        return values
    target = CUDA.pinned(tensor)
    CUDA.copy(target, tensor)
    CUDA.reached(tensor.device).synchronize()
    return target.numpy()


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Give what this thread asks of a device a stream of the thread's own, beside the other threads' work.

    The thread leaves it when all of that is done, so that memory which is then free can go to any stream.
    """
    if not CUDA.serves(device):
        yield
        return
    with CUDA.within(_streams.of("kernels", device)):
        try:
            yield
        finally:
            CUDA.reached(device).synchronize()
