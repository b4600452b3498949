"""Bytes that lie elsewhere, as a file in which one may go anywhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


class RandomAccess(io.RawIOBase):
    """A file of `size` bytes; `read_span(first, stop)` gives those from `first` up to `stop`, for every read anew."""

    def __init__(self, size: int, read_span: Callable[[int, int], bytes]) -> None:
        self._size, self._read_span, self._at = size, read_span, 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """One may go anywhere in it."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Begin the next read there; before the first byte is at the first byte."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there are bytes; returns how many."""
        data = self._up_to(self._at + len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, or all that is left; without the copies that are made on the way through a buffer."""
        return self._up_to(self._size if size is None or size < 0 else self._at + size)

    def readall(self) -> bytes:
        """All that is left."""
        return self._up_to(self._size)

    def _up_to(self, stop: int) -> bytes:
        stop = min(stop, self._size)
        if self._at >= stop:
            return b""
        data = self._read_span(self._at, stop)
        self._at += len(data)
        return data
