"""An index of a container: made by a look through the container, kept as a small Parquet file, created once.

Its key has a digest of the container's address, size and ETag: one that is replaced gets another index, and none is
ever out of date. A damaged container has one, too: of what stands before the damage.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from pipeline.describe import describe
from pipeline.storage.parquet import DamagedObject, parquet_bytes, read_parquet
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Entry, Store

FOLDER = "plan/containers"

Place = TypeVar("Place", covariant=True)

log = logging.getLogger("m2n2.containers")


@dataclass(frozen=True)
class Index(Generic[Place]):
    """The images of a container by name, and what is wrong with the container, "" where nothing is."""

    members: Mapping[str, Place]
    damage: str = ""


AnIndex = TypeVar("AnIndex", bound=Index[Any])


class Indexing(Protocol[AnIndex]):
    """How the index of one kind of container is made, and kept as a table."""

    @property
    def suffix(self) -> str:
        """How the containers' names end."""

    @property
    def noun(self) -> str:
        """What people call one."""

    @property
    def member(self) -> str:
        """What people call an image of one."""

    @property
    def schema(self) -> pa.Schema:
        """Of the table."""

    def scan(self, images: Store, entry: Entry) -> AnIndex:
        """Look through a container. Raises as `Store.read_one_of_many`."""

    def to_table(self, index: AnIndex) -> pa.Table:
        """The index as it is kept."""

    def from_table(self, table: pa.Table) -> AnIndex:
        """The index as it was kept."""


def kept_index(images: Store, entry: Entry, indexes: Store | None, kind: Indexing[AnIndex]) -> AnIndex:
    """A container's index, made where there is none yet.

    Raises:
        FileNotFoundError, PermissionError, KeyUnavailable: of the container, see `Store.read_one_of_many`.
        StoreUnavailable: storage does not answer.
        UnusableStorage: an index cannot be written.
    """
    if indexes is None:
        return kind.scan(images, entry)
    address = images.url(entry.key)
    digest = hashlib.sha256(f"{address}\n{entry.size}\n{entry.etag}".encode()).hexdigest()
    key = f"{FOLDER}/{digest[:32]}.parquet"
    with _of_the_output(indexes, key):
        try:
            return kind.from_table(_table(indexes.read(key), indexes.url(key), kind.schema))
        except FileNotFoundError:
            kept = False
        except DamagedObject as error:
            log.warning("%s; %s is read anew", error, address)
            kept = True
    index = kind.scan(images, entry)
    if not kept:
        with _of_the_output(indexes, key):
            indexes.put_new(key, parquet_bytes(kind.to_table(index)))
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


def _table(data: bytes, name: str, schema: pa.Schema) -> pa.Table:
    table = read_parquet(data, name)
    if not table.schema.equals(schema):
        raise DamagedObject(f"{name}: not an index of a container: its columns are {', '.join(table.column_names)}")
    return table
