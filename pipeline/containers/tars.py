"""Images in WebDataset tars: an index of each tar, made once, and ranged reads after that."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.containers.catalogue import Catalogue, is_address
from pipeline.containers.tar_index import Span, TarIndexing
from pipeline.failure import BadImage, Failure
from pipeline.storage.store import Store


class Tars:
    """Members of tars by their keys. Safe to use from several threads."""

    def __init__(self, images: Store, pattern: str, indexes: Store | None) -> None:
        """As `Catalogue`."""
        self._images, self._catalogue = images, Catalogue(images, pattern, indexes, TarIndexing())

    @property
    def root(self) -> str:
        """The folder that keys are below."""
        return self._images.root

    def url(self, key: str) -> str:
        """The address of a member: its tar's, then its name."""
        return self._images.url(key)

    def check(self) -> None:
        """As `Store.check`."""
        self._images.check()

    def etags(self) -> Iterator[tuple[str, str]]:
        """As `Catalogue.etags`."""
        return self._catalogue.etags()

    def read(self, key: str) -> bytes:
        """All of a member. Raises as `read_one_of_many`."""
        if is_address(key):
            return self._images.read(key)
        return self.read_one_of_many(key, self.place(key)[1].size)

    def read_one_of_many(self, key: str, max_bytes: int) -> bytes:
        """A member's first `max_bytes`, or those of a file outside the root. Raises as `Catalogue.find`."""
        if is_address(key):
            return self._images.read_one_of_many(key, max_bytes)
        tar, span = self.place(key)
        wanted = min(span.size, max_bytes)
        return self.whole(key, self.read_span(tar, Span(span.first, wanted)), wanted)

    def place(self, key: str) -> tuple[str, Span]:
        """The key of an image's tar, and where it is in there. Raises as `read_one_of_many`."""
        tar, member, index = self._catalogue.find(key)
        return tar, index.members[member]

    def read_span(self, tar: str, span: Span) -> bytes:
        """Some bytes of a tar, fewer where it ends sooner. Raises as `read_one_of_many`."""
        return self._images.read_one_of_many(tar, span.size, span.first) if span.size else b""

    def whole(self, key: str, data: bytes, size: int) -> bytes:
        """The bytes, if they are as many as there should be. Raises BadImage."""
        if len(data) < size:
            found = f"{self.url(key)}: found {len(data)} of {size} bytes: the tar ends too soon"
            raise BadImage(Failure("image_unreadable", found))
        return data
