"""Images in WebDataset tars: an index of each tar, made once, and ranged reads after that."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Lock

from m2n2.kernels.bounded_cache import BoundedCache
from pipeline.containers.pattern import matches, tar_and_member
from pipeline.containers.tar_index import Span, TarIndex, tar_index
from pipeline.failure import BadImage, Failure
from pipeline.storage.store import Store

INDEXES_IN_MEMORY_BYTES = 200_000_000
MEMBER_BYTES = 300  # of an index in memory, name and place


class Tars:
    """Members of tars by their keys. Safe to use from several threads."""

    def __init__(self, images: Store, pattern: str, indexes: Store | None) -> None:
        """`images` is the root of keys, `pattern` says which tars below it there are; see `image_source`."""
        self._images, self._pattern, self._indexes = images, pattern, indexes
        self._known: BoundedCache[str, TarIndex] = BoundedCache(INDEXES_IN_MEMORY_BYTES)
        self._making: dict[str, Future[TarIndex]] = {}
        self._lock = Lock()

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

    def read(self, key: str) -> bytes:
        """All of a member. Raises as `read_one_of_many`."""
        if _is_address(key):
            return self._images.read(key)
        return self.read_one_of_many(key, self.place(key)[1].size)

    def read_one_of_many(self, key: str, max_bytes: int) -> bytes:
        """A member's first `max_bytes`, or those of a file outside the root.

        Raises:
            BadImage: there is no such tar or member, or the tar is damaged.
            PermissionError, KeyUnavailable, StoreUnavailable, UnusableStorage: as `Store.read_one_of_many`.
        """
        if _is_address(key):
            return self._images.read_one_of_many(key, max_bytes)
        tar, span = self.place(key)
        wanted = min(span.size, max_bytes)
        return self.whole(key, self.read_span(tar, Span(span.first, wanted)), wanted)

    def place(self, key: str) -> tuple[str, Span]:
        """The key of an image's tar, and where it is in there. Raises as `read_one_of_many`."""
        parts = tar_and_member(key)
        if parts is None or not matches(parts[0], self._pattern):
            missing = f"{self.url(key)}: no member of a tar of {self._pattern}; allowed: shard.tar/key.jpg"
            raise BadImage(Failure("image_missing", missing))
        tar, member = parts
        try:
            index = self._index(tar)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise BadImage(Failure("image_missing", f"{self.url(tar)}: there is no such tar")) from None
        span = index.members.get(member)
        if span is None and index.damage:
            found = f"{self.url(key)}: not found, and its tar cannot be read to its end: {index.damage}"
            raise BadImage(Failure("image_unreadable", found))
        if span is None:
            raise BadImage(Failure("image_missing", f"{self.url(key)}: the tar has no such file"))
        return tar, span

    def read_span(self, tar: str, span: Span) -> bytes:
        """Some bytes of a tar, fewer where it ends sooner. Raises as `read_one_of_many`."""
        return self._images.read_one_of_many(tar, span.size, span.first) if span.size else b""

    def whole(self, key: str, data: bytes, size: int) -> bytes:
        """The bytes, if they are as many as there should be. Raises BadImage."""
        if len(data) < size:
            found = f"{self.url(key)}: found {len(data)} of {size} bytes: the tar ends too soon"
            raise BadImage(Failure("image_unreadable", found))
        return data

    def _index(self, tar: str) -> TarIndex:
        with self._lock:
            if (known := self._known.get(tar)) is not None:
                return known
            # The threads of a worker want the same tar at the same time: what comes of it, comes to all of them.
            mine = tar not in self._making
            making = self._making.setdefault(tar, Future())
        if mine:
            try:
                index = tar_index(self._images, tar, self._indexes)
                self._known.put(tar, index, MEMBER_BYTES * (1 + len(index.members)))
                making.set_result(index)
            except BaseException as error:
                making.set_exception(error)
            finally:
                with self._lock:
                    del self._making[tar]
        return making.result()


def _is_address(key: str) -> bool:
    """Whether a key is no key below the root: only where the job lets clicks name any address."""
    return "://" in key or key.startswith("/")
