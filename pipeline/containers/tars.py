"""Images in WebDataset tars: an index of each tar, made once, and ranged reads after that."""

from __future__ import annotations

from pipeline.containers.members import Members
from pipeline.containers.tar_index import Span, TarIndex, TarIndexing
from pipeline.failure import BadImage, Failure
from pipeline.storage.store import Store


class Tars(Members[TarIndex]):
    """Members of tars by their keys."""

    def __init__(self, images: Store, pattern: str, indexes: Store | None) -> None:
        """As `Catalogue`."""
        super().__init__(images, pattern, indexes, TarIndexing())

    def _read_member(self, key: str, max_bytes: int) -> bytes:
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
