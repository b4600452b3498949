"""A file in storage that Arrow reads: what storage raises is told from what is wrong with the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.describe import describe
from pipeline.storage.random_access import RandomAccess
from pipeline.storage.read_ahead import in_order
from pipeline.storage.store import Store

PIECE_BYTES = 4 << 20
PIECES_AT_ONCE = 4


class Damaged(ValueError):
    """The file cannot be read as what it is."""


class RemoteFile:
    """One file below a root, for one reader."""

    def __init__(self, images: Store, key: str) -> None:
        self._images, self._key = images, key
        self._failure: Exception | None = None

    def read_span(self, first: int, stop: int) -> bytes:
        """Bytes from `first` up to `stop`. Raises as `Store.read_one_of_many`."""
        try:
            return self._images.read_one_of_many(self._key, stop - first, first)
        except Exception as error:
            self._failure = error
            raise

    @contextmanager
    def in_pieces(self, size: int, first: int, stop: int) -> Iterator[RandomAccess]:
        """The file of `size` bytes, for who reads from `first` up to `stop` in order: pieces are asked for ahead."""
        pieces = in_order(
            lambda begin: (begin, self.read_span(begin, min(begin + PIECE_BYTES, stop))),
            range(first, stop, PIECE_BYTES),
            PIECES_AT_ONCE,
        )
        try:
            yield RandomAccess(size, _InOrder(pieces, self.read_span).read_span)
        finally:
            pieces.close()  # type: ignore[attr-defined]  # a generator, whose threads end with it

    @contextmanager
    def damage(self) -> Iterator[None]:
        """What goes wrong in the block is raised as `Damaged`, or as storage raised it."""
        try:
            yield
        except Damaged:
            raise
        except Exception as error:  # Arrow meets damage with many kinds of exceptions
            if self._failure is not None:
                raise self._failure from None
            raise Damaged(describe(error)) from error


class _InOrder:
    """Spans of a file, most of them one after the other."""

    def __init__(self, pieces: Iterator[tuple[int, bytes]], read_span: Callable[[int, int], bytes]) -> None:
        self._pieces, self._read_span = pieces, read_span
        self._first, self._data = 0, b""

    def read_span(self, first: int, stop: int) -> bytes:
        """Bytes from `first` up to `stop`, fewer where the file ends sooner."""
        parts: list[bytes] = []
        while first < stop:
            while first >= self._first + len(self._data) and (piece := next(self._pieces, None)):
                self._first, self._data = piece
            if not self._first <= first < self._first + len(self._data):  # back, beyond the pieces, or past the end
                parts.append(self._read_span(first, stop))
                break
            parts.append(self._data[first - self._first : stop - self._first])
            first += len(parts[-1])
        return b"".join(parts)
