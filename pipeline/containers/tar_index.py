"""What stands where in a tar: made by one pass over its headers, kept as a small Parquet file, created once.

Its key has a digest of the tar's address, size and ETag: a tar that is replaced gets another index, and none is ever
out of date. A damaged tar has one, too: of what stands before the damage.
"""

from __future__ import annotations

import hashlib
import io
import logging
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.describe import describe
from pipeline.storage.parquet import DamagedObject, read_parquet
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Entry, Store

FOLDER = "plan/containers"
SCHEMA = pa.schema([("member", pa.string()), ("first", pa.int64()), ("size", pa.int64())])
DAMAGE = b"damage"
READ_AHEAD_BYTES = 1 << 20
# A header says itself how long a name or its attributes are: more than this is damage.
LONGEST_HEADER_BYTES = 1 << 20

log = logging.getLogger("m2n2.containers")


class Span(NamedTuple):
    """Where a member's bytes are."""

    first: int
    size: int


@dataclass(frozen=True)
class TarIndex:
    """The files of a tar by name, and what is wrong with the tar, "" where nothing is."""

    members: Mapping[str, Span]
    damage: str = ""


def tar_index(images: Store, tar: str, indexes: Store | None) -> TarIndex:
    """A tar's index, made where there is none yet.

    Raises:
        FileNotFoundError, PermissionError, KeyUnavailable: of the tar, see `Store.read_one_of_many`.
        StoreUnavailable: storage does not answer.
        UnusableStorage: an index cannot be written.
    """
    entry = images.info_one_of_many(tar)
    if indexes is None:
        return _scanned(images, entry)
    name = hashlib.sha256(f"{images.url(tar)}\n{entry.size}\n{entry.etag}".encode()).hexdigest()[:32]
    key = f"{FOLDER}/{name}.parquet"
    with _of_the_output(indexes, key):
        try:
            return _from_bytes(indexes.read(key), indexes.url(key))
        except FileNotFoundError:
            kept = False
        except DamagedObject as error:
            log.warning("%s; %s is read anew", error, images.url(tar))
            kept = True
    index = _scanned(images, entry)
    if not kept:
        with _of_the_output(indexes, key):
            indexes.put_new(key, _to_bytes(index))
    return index


@contextmanager
def _of_the_output(indexes: Store, key: str) -> Iterator[None]:
    """No image is to blame where the output cannot be read or written."""
    try:
        yield
    except StoreUnavailable:
        raise
    except OSError as error:
        raise UnusableStorage(f"{indexes.url(key)}: {describe(error)}") from error


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


def _to_bytes(index: TarIndex) -> bytes:
    spans = index.members.values()
    columns = [list(index.members), [each.first for each in spans], [each.size for each in spans]]
    table = pa.table(columns, schema=SCHEMA.with_metadata({DAMAGE: index.damage.encode()}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _from_bytes(data: bytes, name: str) -> TarIndex:
    table = read_parquet(data, name)
    if not table.schema.equals(SCHEMA):
        raise DamagedObject(f"{name}: not an index of a tar: its columns are {', '.join(table.column_names)}")
    spans = map(Span, table["first"].to_pylist(), table["size"].to_pylist())
    damage = (table.schema.metadata or {}).get(DAMAGE, b"")
    return TarIndex(dict(zip(table["member"].to_pylist(), spans, strict=True)), damage.decode())


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
