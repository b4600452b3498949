"""Which image stands where in which container, for all containers that `images:` names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic

from pipeline.containers.kept_index import AnIndex, Indexing, kept_index
from pipeline.containers.once import Once
from pipeline.containers.pattern import container_and_member, matches
from pipeline.failure import BadImage, Failure
from pipeline.storage.read_ahead import in_order
from pipeline.storage.store import Entry, Store

INDEXES_IN_MEMORY_BYTES = 200_000_000
MEMBER_BYTES = 300  # of an index in memory, name and place
INDEXES_AT_ONCE = 8


class Catalogue(Generic[AnIndex]):
    """Indexes of containers, each made once. Safe to use from several threads."""

    def __init__(self, images: Store, pattern: str, indexes: Store | None, kind: Indexing[AnIndex]) -> None:
        """`images` is the root of keys, `pattern` says which containers below it there are; see `image_source`."""
        self._images, self._pattern, self._indexes, self._kind = images, pattern, indexes, kind
        self._known: Once[str, AnIndex] = Once(self._made, INDEXES_IN_MEMORY_BYTES)

    def find(self, key: str) -> tuple[str, str, AnIndex]:
        """Key of an image's container, the image's name in there, and the container's index, which has that name.

        Raises:
            BadImage: there is no such container or member, or the container is damaged.
            PermissionError, KeyUnavailable, StoreUnavailable, UnusableStorage: as `kept_index`.
        """
        noun, suffix, url = self._kind.noun, self._kind.suffix, self._images.url
        parts = container_and_member(key, suffix)
        if parts is None or not matches(parts[0], self._pattern):
            missing = f"{url(key)}: no member of a {noun} of {self._pattern}; allowed: shard{suffix}/key.jpg"
            raise BadImage(Failure("image_missing", missing))
        container, member = parts
        try:
            index = self._known.get(container)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise BadImage(Failure("image_missing", f"{url(container)}: there is no such {noun}")) from None
        if member in index.members:
            return container, member, index
        if index.damage:
            found = f"{url(key)}: not found, and its {noun} cannot be read to its end: {index.damage}"
            raise BadImage(Failure("image_unreadable", found))
        raise BadImage(Failure("image_missing", f"{url(key)}: the {noun} has no such {self._kind.member}"))

    def index(self, container: str) -> AnIndex:
        """The index of a container. Raises as `kept_index`."""
        return self._known.get(container)

    def etags(self) -> Iterator[tuple[str, str]]:
        """Every image of every container, sorted by key, with what changes at the latest when its bytes do.

        That is its container's ETag and its place: no image of a container that was not written again has changed.

        Raises:
            StoreUnavailable, PermissionError, UnusableStorage: as `kept_index`.
        """
        suffix, pattern = self._kind.suffix, self._pattern
        found = (each for each in self._images.listing("") if each.key.endswith(suffix) and matches(each.key, pattern))
        # As their images' keys are sorted: `a.tar-b.tar/` is before `a.tar/`.
        for entry, index in in_order(self._with_index, sorted(found, key=lambda each: f"{each.key}/"), INDEXES_AT_ONCE):
            for member in sorted(index.members):
                yield f"{entry.key}/{member}", f"{entry.etag}/{index.members[member]}"

    def _with_index(self, entry: Entry) -> tuple[Entry, AnIndex]:
        return entry, kept_index(self._images, entry, self._indexes, self._kind)

    def _made(self, container: str) -> tuple[AnIndex, int]:
        entry = self._images.info_one_of_many(container)
        index = kept_index(self._images, entry, self._indexes, self._kind)
        return index, MEMBER_BYTES * (1 + len(index.members))


def is_address(key: str) -> bool:
    """Whether a key is no key below the root: only where the job lets clicks name any address."""
    return "://" in key or key.startswith("/")
