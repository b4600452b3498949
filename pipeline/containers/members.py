"""What all kinds of containers have in common: images are members, found by the catalogue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic

from pipeline.containers.catalogue import Catalogue, is_address
from pipeline.containers.kept_index import AnIndex, Indexing
from pipeline.storage.store import Store

ALL_BYTES = 1 << 62


class Members(ABC, Generic[AnIndex]):
    """Members of containers by their keys; of one kind, which says how a member is read. Safe for several threads."""

    def __init__(self, images: Store, pattern: str, indexes: Store | None, kind: Indexing[AnIndex]) -> None:
        """As `Catalogue`."""
        self._images, self._catalogue = images, Catalogue(images, pattern, indexes, kind)

    @property
    def root(self) -> str:
        """The folder that keys are below."""
        return self._images.root

    def url(self, key: str) -> str:
        """The address of an image: its container's, then its name."""
        return self._images.url(key)

    def check(self) -> None:
        """As `Store.check`."""
        self._images.check()

    def etags(self) -> Iterator[tuple[str, str]]:
        """As `Catalogue.etags`."""
        return self._catalogue.etags()

    def read(self, key: str) -> bytes:
        """All of a member, or of a file outside the root. Raises as `Catalogue.find`."""
        return self._images.read(key) if is_address(key) else self._read_member(key, ALL_BYTES)

    def read_one_of_many(self, key: str, max_bytes: int) -> bytes:
        """A member's first `max_bytes`, or those of a file outside the root. Raises as `Catalogue.find`."""
        if is_address(key):
            return self._images.read_one_of_many(key, max_bytes)
        return self._read_member(key, max_bytes)

    @abstractmethod
    def _read_member(self, key: str, max_bytes: int) -> bytes:
        """The first `max_bytes` of a member. Raises as `Catalogue.find`."""
