"""Which shards have their part, and how large it is: 8 bytes a shard, whether it has one or not.

S shards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

NONE = -1


class PartSizes(Mapping[int, int]):
    """Of every shard that has a part the part's size in bytes, in the order of the shards."""

    def __init__(self, shards: int, sizes: Mapping[int, int] | None = None) -> None:
        """Of a plan with so many shards, those that have a part already."""
        self._size_s = np.full(shards, NONE, np.int64)  # (S,)
        for shard, size in (sizes or {}).items():
            self.add(shard, size)

    def add(self, shard: int, size: int) -> None:
        """A part is there. Raises IndexError where the plan has no such shard."""
        self._size_s[shard] = size

    def add_all(self, shard_n: np.ndarray, size_n: np.ndarray) -> None:
        """Parts are there: their shards and their sizes, integers, both (N,). Raises as `add`."""
        self._size_s[shard_n] = size_n

    def within(self, first: int, stop: int) -> PartSizes:
        """The parts of these shards alone."""
        some = PartSizes(len(self._size_s))
        some._size_s[first:stop] = self._size_s[first:stop]
        return some

    def missing(self) -> np.ndarray:
        """The shards that have no part, ascending, int64."""
        return np.flatnonzero(self._size_s == NONE)

    def __getitem__(self, shard: int) -> int:
        if shard not in self:
            raise KeyError(shard)
        return int(self._size_s[shard])

    def __contains__(self, shard: object) -> bool:
        return isinstance(shard, int) and 0 <= shard < len(self._size_s) and bool(self._size_s[shard] != NONE)

    def __iter__(self) -> Iterator[int]:
        return map(int, np.flatnonzero(self._size_s != NONE))

    def __len__(self) -> int:
        return int(np.count_nonzero(self._size_s != NONE))
