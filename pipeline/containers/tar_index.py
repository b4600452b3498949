"""What stands where in a tar, by one pass over its headers."""

from __future__ import annotations

import io
import tarfile
from typing import NamedTuple

import pyarrow as pa

from pipeline.containers.kept_index import Index
from pipeline.containers.pattern import TAR
from pipeline.describe import describe
from pipeline.storage.store import Entry, Store

SCHEMA = pa.schema([("member", pa.string()), ("first", pa.int64()), ("size", pa.int64())])
DAMAGE = b"damage"
READ_AHEAD_BYTES = 1 << 20
# A header says itself how long a name or its attributes are: more than this is damage.
LONGEST_HEADER_BYTES = 1 << 20


class Span(NamedTuple):
    """Where a member's bytes are."""

    first: int
    size: int


TarIndex = Index[Span]


class TarIndexing:
    """As `Indexing` says."""

    suffix, noun, member, schema = TAR, "tar", "file", SCHEMA

    def scan(self, images: Store, entry: Entry) -> TarIndex:
        """As `Indexing.scan`; of a damaged tar, what stands before the damage."""
        return _scanned(images, entry)

    def to_table(self, index: TarIndex) -> pa.Table:
        """As `Indexing.to_table`."""
        spans = index.members.values()
        columns = [list(index.members), [each.first for each in spans], [each.size for each in spans]]
        return pa.table(columns, schema=SCHEMA.with_metadata({DAMAGE: index.damage.encode()}))

    def from_table(self, table: pa.Table) -> TarIndex:
        """As `Indexing.from_table`."""
        spans = map(Span, table["first"].to_pylist(), table["size"].to_pylist())
        damage = (table.schema.metadata or {}).get(DAMAGE, b"")
        return TarIndex(dict(zip(table["member"].to_pylist(), spans, strict=True)), damage.decode())


def _scanned(images: Store, entry: Entry) -> TarIndex:
    headers = _Headers(images, entry)
    members: dict[str, Span] = {}
    try:
        with tarfile.open(fileobj=headers, mode="r:") as tar:
            at = -1
            while (member := tar.next()) is not None:
                if not at < member.offset < member.offset_data or member.size < 0:
                    return TarIndex(members, f"a header at byte {member.offset} that leads backwards")
                at = member.offset
                name = "/".join(each for each in member.name.split("/") if each not in ("", "."))
                if member.isreg() and not member.issparse():
                    members[name] = Span(member.offset_data, member.size)
                elif member.islnk() and member.linkname in members:
                    members[name] = members[member.linkname]
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps an object a member
            # It takes any header that it cannot read, but the first, for the end.
            end = images.read_one_of_many(entry.key, tarfile.BLOCKSIZE, tar.offset)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        return TarIndex(members, describe(error))
    return TarIndex(members, f"no header at byte {tar.offset}" if end.strip(b"\0") else "")


class _Headers(io.RawIOBase):
    """A tar as `tarfile` reads it while it looks for headers: some bytes here and there, never much at once."""

    def __init__(self, images: Store, entry: Entry) -> None:
        self._images, self._entry, self._at = images, entry, 0
        self._first, self._data = 0, b""

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or not offset >= 0:
            raise tarfile.ReadError(f"a header that leads to byte {offset}")
        self._at = offset
        return offset

    def read(self, length: int = -1) -> bytes:
        if not 0 <= length <= LONGEST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {length} bytes; allowed: {LONGEST_HEADER_BYTES}")
        stop = min(self._at + length, self._entry.size)
        if self._at >= stop:
            return b""
        if not self._first <= self._at <= stop <= self._first + len(self._data):
            wanted = min(max(READ_AHEAD_BYTES, length), self._entry.size - self._at)
            self._first, self._data = self._at, self._images.read_one_of_many(self._entry.key, wanted, self._at)
        data = self._data[self._at - self._first : stop - self._first]
        self._at += len(data)
        return data
