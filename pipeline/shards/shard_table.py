"""The table of a plan's shards: 40 bytes a shard, in memory and in its file, however many there are.

S shards.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import pyarrow as pa

from pipeline.storage.parquet import DamagedObject, parquet_bytes, read_parquet

DIGEST_BYTES = 32
TABLE = pa.schema([("images", pa.int32()), ("objects", pa.int32()), ("sha256", pa.binary(DIGEST_BYTES))])


@dataclass(frozen=True)
class Shard:
    """What the plan knows of a shard: its number, how much is in it, and the sha256 of its file in hex digits."""

    index: int
    images: int
    objects: int
    sha256: str


class ShardTable(Sequence[Shard]):
    """All shards of a plan in their order, in columns; a `Shard` is made when one is asked for."""

    def __init__(self, images_s: np.ndarray, objects_s: np.ndarray, sha256_sb: np.ndarray) -> None:
        """
        Args:
            images_s: (S,) int32, images of each shard.
            objects_s: (S,) int32, objects of each shard.
            sha256_sb: (S, 32) uint8, the digest of each shard's file.
        """
        self.images_s, self.objects_s, self._sha256_sb = images_s, objects_s, sha256_sb

    @classmethod
    def of(cls, shards: Iterable[Shard]) -> ShardTable:
        """The table of these shards, taken in one after another. Raises ValueError where one is out of its order."""
        images, objects, sha256 = array("i"), array("i"), bytearray()
        for position, shard in enumerate(shards):
            if shard.index != position or len(shard.sha256) != 2 * DIGEST_BYTES:
                raise ValueError(f"shard {position} of the plan: found {shard}; allowed: its number and a sha256")
            images.append(shard.images)
            objects.append(shard.objects)
            sha256 += bytes.fromhex(shard.sha256)
        columns = np.frombuffer(images, np.int32), np.frombuffer(objects, np.int32)
        return cls(*columns, np.frombuffer(sha256, np.uint8).reshape(-1, DIGEST_BYTES))

    def __len__(self) -> int:
        return len(self.images_s)

    @overload
    def __getitem__(self, index: int) -> Shard: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Shard, ...]: ...

    def __getitem__(self, index: int | slice) -> Shard | tuple[Shard, ...]:
        if isinstance(index, slice):
            return tuple(self[position] for position in range(len(self))[index])
        position = range(len(self))[index]
        sha256 = self._sha256_sb[position].tobytes().hex()
        return Shard(position, int(self.images_s[position]), int(self.objects_s[position]), sha256)

    def __iter__(self) -> Iterator[Shard]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShardTable):
            return NotImplemented
        return all(
            np.array_equal(mine, others)
            for mine, others in (
                (self.images_s, other.images_s),
                (self.objects_s, other.objects_s),
                (self._sha256_sb, other._sha256_sb),
            )
        )

    @cached_property
    def images_before(self) -> np.ndarray:
        """(S + 1,) int64, the images of all shards before each; the last is the number of all images."""
        return _before(self.images_s)

    @cached_property
    def objects_before(self) -> np.ndarray:
        """(S + 1,) int64, as `images_before`."""
        return _before(self.objects_s)

    def to_parquet(self) -> bytes:
        """The table's file."""
        flat = pa.py_buffer(np.ascontiguousarray(self._sha256_sb))
        sha256 = pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST_BYTES), len(self), [None, flat])
        table = pa.table([pa.array(self.images_s), pa.array(self.objects_s), sha256], schema=TABLE)
        return parquet_bytes(table, use_dictionary=["images", "objects"])

    @classmethod
    def from_parquet(cls, data: bytes, name: str) -> ShardTable:
        """The table of a file's bytes. Raises DamagedObject, which names the file by `name`."""
        table = read_parquet(data, name)
        if not table.schema.equals(TABLE):
            raise DamagedObject(f"{name}: not a table of shards: its columns are {', '.join(table.column_names)}")
        images_s, objects_s = (table[column].to_numpy() for column in ("images", "objects"))
        sha256 = b"".join(
            chunk.buffers()[1][chunk.offset * DIGEST_BYTES :][: len(chunk) * DIGEST_BYTES]
            for chunk in table["sha256"].chunks
        )
        return cls(images_s, objects_s, np.frombuffer(sha256, np.uint8).reshape(-1, DIGEST_BYTES))


def _before(counts_s: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts_s, dtype=np.int64)]).astype(np.int64)
