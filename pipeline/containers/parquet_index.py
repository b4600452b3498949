"""Which row of a Parquet file is which image: by its footer and the column of paths, without a look at any image.

A column of images is one of Hugging Face's, `{bytes, path}`, or one of plain bytes; where there are several, the one
called `image`. A row is called by its `path` where no other row has the same, else by its number, from 0 on.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.containers.kept_index import Index
from pipeline.containers.pattern import PARQUET
from pipeline.containers.remote_file import Damaged, RemoteFile
from pipeline.storage.random_access import RandomAccess
from pipeline.storage.store import Entry, Store

SCHEMA = pa.schema(
    [("member", pa.string()), ("group", pa.int32()), ("row", pa.int64()), ("problem", pa.string())]  # null: none
)
DAMAGE, COLUMN, FOOTER, SIZE = b"damage", b"column", b"footer", b"size"
TAIL_BYTES = 1 << 16
LARGEST_FOOTER_BYTES = 256 << 20
MAGIC = b"PAR1"
_AMBIGUOUS = (
    "rows {} and {} may both be meant; allowed: a path that one row has alone, "
    "or the number of a row whose path others have, too, or that has none"
)


class Row(NamedTuple):
    """Where an image is: its row group and its row in there; or why nobody can say which row a name means."""

    group: int
    row: int
    problem: str | None = None


@dataclass(frozen=True)
class ParquetIndex(Index[Row]):
    """The rows of a Parquet file by name.

    Attributes:
        column: that of the images' bytes, dotted.
        footer: the end of the file, from its metadata on.
        size: bytes of the file.
    """

    column: str = ""
    footer: bytes = b""
    size: int = 0

    def metadata(self) -> pq.FileMetaData:
        """Where row groups are. Raises pa.ArrowException."""
        return pq.read_metadata(pa.BufferReader(MAGIC + self.footer))


class ParquetIndexing:
    """As `Indexing` says."""

    suffix, noun, schema = PARQUET, "Parquet file", SCHEMA
    member = "image; a row is called by its path where no other has the same, else by its number"

    def scan(self, images: Store, entry: Entry) -> ParquetIndex:
        """As `Indexing.scan`; of a file whose metadata cannot be read, an index with nothing but the damage."""
        file = RemoteFile(images, entry.key)
        try:
            with file.damage():
                return _scanned(file, entry.size)
        except Damaged as error:
            return ParquetIndex({}, str(error))

    def to_table(self, index: ParquetIndex) -> pa.Table:
        """As `Indexing.to_table`."""
        rows = index.members.values()
        columns = [[each.group for each in rows], [each.row for each in rows], [each.problem for each in rows]]
        about = {DAMAGE: index.damage, COLUMN: index.column, SIZE: str(index.size)}
        about[FOOTER] = base64.b64encode(index.footer).decode()
        return pa.table([list(index.members), *columns], schema=SCHEMA.with_metadata(about))

    def from_table(self, table: pa.Table) -> ParquetIndex:
        """As `Indexing.from_table`."""
        about = table.schema.metadata or {}
        rows = map(Row, table["group"].to_pylist(), table["row"].to_pylist(), table["problem"].to_pylist())
        members = dict(zip(table["member"].to_pylist(), rows, strict=True))
        footer, size = base64.b64decode(about.get(FOOTER, b"")), int(about.get(SIZE, b"0"))
        return ParquetIndex(members, about.get(DAMAGE, b"").decode(), about.get(COLUMN, b"").decode(), footer, size)


def _scanned(remote: RemoteFile, size: int) -> ParquetIndex:
    footer = _footer(remote, size)
    metadata = ParquetIndex({}, footer=footer).metadata()
    column, paths = _image_column(metadata.schema.to_arrow_schema())
    with pq.ParquetFile(RandomAccess(size, remote.read_span), metadata=metadata, pre_buffer=False) as file:
        groups = [_paths(file, group, paths) for group in range(metadata.num_row_groups)]
    return ParquetIndex(_members(groups), "", column, footer, size)


def _footer(remote: RemoteFile, size: int) -> bytes:
    tail = remote.read_span(max(0, size - TAIL_BYTES), size)
    if len(tail) < 12 or not tail.endswith(MAGIC):
        raise Damaged(f"no Parquet: it ends with {tail[-4:].hex() or 'nothing'}; allowed: {MAGIC.decode()}")
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > min(size, LARGEST_FOOTER_BYTES):
        raise Damaged(f"metadata of {length} bytes; allowed: {min(size, LARGEST_FOOTER_BYTES)}")
    return tail[-length:] if length <= len(tail) else remote.read_span(size - length, size)


def _image_column(schema: pa.Schema) -> tuple[str, str | None]:
    """The column of the images' bytes and that of their paths, dotted. Raises Damaged."""
    pairs = {field.name: _parts(field) for field in schema}
    found = {name: pair for name, pair in pairs.items() if pair} or {
        field.name: (field.name, None) for field in schema if _is_bytes(field.type)
    }
    if len(found) > 1 and "image" in found:
        return found["image"]
    if len(found) != 1:
        columns = f"columns of images: {', '.join(found)}" if found else f"columns: {', '.join(schema.names)}"
        allowed = "one column of images, as {bytes, path} or plain bytes, or of several one called image"
        raise Damaged(f"{columns}; allowed: {allowed}")
    return next(iter(found.values()))


def _parts(field: pa.Field) -> tuple[str, str | None] | None:
    """The parts of a column as Hugging Face writes images; None where it is none."""
    if not pa.types.is_struct(field.type):
        return None
    parts = {part.name: part.type for part in field.type}
    if "bytes" not in parts or not _is_bytes(parts["bytes"]):
        return None
    has_path = "path" in parts and (pa.types.is_string(parts["path"]) or pa.types.is_large_string(parts["path"]))
    return f"{field.name}.bytes", f"{field.name}.path" if has_path else None


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _paths(file: pq.ParquetFile, group: int, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * file.metadata.row_group(group).num_rows
    table = file.read_row_group(group, columns=[column], use_threads=False)
    return [_name(path) for chunk in table.column(0).chunks for path in chunk.field(0).to_pylist()]


def _name(path: str | None) -> str | None:
    """A path as it stands in a key; None where it cannot."""
    segments = [each for each in (path or "").split("/") if each not in ("", ".")]
    cannot = not segments or ".." in segments or any(each in str(path) for each in ("://", "::", "\\", "\0"))
    return None if cannot else "/".join(segments)


def _members(groups: list[list[str | None]]) -> dict[str, Row]:
    times = Counter(name for paths in groups for name in paths if name is not None)
    members: dict[str, Row] = {}
    meant: dict[str, int] = {}
    for number, name, row in _rows(groups):
        names = [] if name is None else [name]
        for call in names if names and times[names[0]] == 1 else [*names, str(number)]:
            other = meant.setdefault(call, number)
            members[call] = row if other == number else Row(-1, -1, _AMBIGUOUS.format(other, number))
    return members


def _rows(groups: list[list[str | None]]) -> Iterator[tuple[int, str | None, Row]]:
    number = 0
    for group, paths in enumerate(groups):
        for at, name in enumerate(paths):
            yield number, name, Row(group, at)
            number += 1
