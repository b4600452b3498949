"""The one place that knows from a job's `images:` whether images are files of their own or members of containers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

from pipeline.containers.members import Members
from pipeline.containers.neighbours import Neighbours
from pipeline.containers.parquets import Parquets
from pipeline.containers.pattern import TAR, root_of, suffix_of
from pipeline.containers.tars import Tars
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store


class ImageSource(Protocol):
    """What gives images by their keys. A `Store` is one: each image a file below its root."""

    @property
    def root(self) -> str:
        """The folder that keys are below."""

    def url(self, key: str) -> str:
        """The full address of an image, for people."""

    def check(self) -> None:
        """Raise UnusableStorage where nothing can be reached from this process; no request is made."""

    def read(self, key: str) -> bytes:
        """All of an image. Raises FileNotFoundError, PermissionError; containers raise BadImage, too."""

    def read_one_of_many(self, key: str, max_bytes: int) -> bytes:
        """The image's first `max_bytes`; see `Store.read_one_of_many`. Containers raise BadImage, too."""


@lru_cache(maxsize=16)
def image_source(images: str, storage: Storage, indexes: Store | None = None) -> ImageSource:
    """What `images:` names, the same one for all of a process.

    Args:
        images: a folder's address, or one or a pattern of containers, such as `s3://bucket/shards/*.tar`.
        indexes: where what stands where in a container is kept, created once; None: in memory alone.
    """
    suffix = suffix_of(images)
    if suffix is None:
        return Store(images, storage)
    containers = Tars if suffix == TAR else Parquets
    return containers(Store(root_of(images), storage), images, indexes)


def etags_of(source: ImageSource) -> Iterator[tuple[str, str]]:
    """Every image that is there, sorted by key, with what changes at the latest when its bytes do.

    Raises:
        StoreUnavailable, PermissionError, UnusableStorage: as listing and `Catalogue.etags` do.
    """
    if isinstance(source, Members):
        return source.etags()
    assert isinstance(source, Store), "what comes of `image_source`"
    return ((entry.key, entry.etag) for entry in source.listing(""))


def read_together(source: ImageSource, keys: Sequence[str]) -> ImageSource:
    """The same source for who is going to read these images: neighbours in one tar come by one request."""
    return Neighbours(source, keys) if isinstance(source, Tars) else source
