"""Where a format's files go, and JSON documents that are written as their items come."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.clicks import InvalidClicks
from pipeline.storage.store import Store

UPLOADS_AT_ONCE = 8
BUFFER_ITEMS = 2_000
BEGIN, BETWEEN = "[\n", ",\n"  # of the items of a list
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def dump(value: Any) -> str:
    """Compact JSON on one line."""
    return _encode(value)


@dataclass
class Folder:
    """A folder of an export: files of any size that are prepared in `scratch`, small ones that go there at once.

    Attributes:
        target, prefix: the folder's place; `prefix` is empty or ends with a slash.
        scratch: a folder on this machine for files in the making.
        lost: what the format cannot hold, as people are told of it, and how often.
    """

    target: Store
    prefix: str
    scratch: Path
    lost: Counter[str] = field(default_factory=Counter)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(UPLOADS_AT_ONCE))
    _pending: list[Future[None]] = field(default_factory=list)
    _number: int = 0

    @property
    def address(self) -> str:
        """The folder's address."""
        return self.target.url(self.prefix)

    def put(self, name: str, data: bytes) -> None:
        """Send a small file on its way; `wait` says whether it arrived."""
        self._pending.append(self._pool.submit(self._put, name, self.new_file(), data))
        if len(self._pending) >= 4 * UPLOADS_AT_ONCE:
            self._pending.pop(0).result()

    def put_file(self, name: str, source: Path) -> str:
        """Put a file of any size and remove it here; returns its address."""
        self.target.put_file(self.prefix + name, source)
        source.unlink()
        return self.target.url(self.prefix + name)

    def wait(self) -> None:
        """Until all small files arrived."""
        while self._pending:
            self._pending.pop(0).result()

    def close(self) -> None:
        """Stop sending; what did not arrive is given up."""
        self._pool.shutdown(cancel_futures=True)

    def new_file(self) -> Path:
        """A path in `scratch` that nobody uses."""
        self._number += 1
        return self.scratch / f"{self._number:09d}"

    def _put(self, name: str, scratch: Path, data: bytes) -> None:
        # Not `put`, which waits until a disk has written each of perhaps a million files.
        scratch.write_bytes(data)
        self.put_file(name, scratch)


class JsonFile:
    """A JSON object whose lists grow at the same time, each in a file of its own until the document is put together."""

    def __init__(self, folder: Folder, lists: Sequence[str]) -> None:
        self._folder = folder
        self._files = {name: folder.new_file() for name in lists}
        self._waiting: dict[str, list[str]] = {name: [] for name in lists}
        self._empty = dict.fromkeys(lists, True)

    def add(self, name: str, item: str) -> None:
        """Append an item, already JSON, to a list."""
        waiting = self._waiting[name]
        waiting.append(item)
        if len(waiting) >= BUFFER_ITEMS:
            self._flush(name)

    def flush(self) -> None:
        """Keep nothing in memory."""
        for name in self._files:
            self._flush(name)

    def piece(self) -> dict[str, bytes]:
        """The lists' items as they stand in their files, of those that have any."""
        self.flush()
        return {name: file.read_bytes()[len(BEGIN) :] for name, file in self._files.items() if not self._empty[name]}

    def join(self, piece: Mapping[str, bytes]) -> None:
        """Append the items of a piece."""
        self.flush()
        for name in self._files.keys() & piece.keys():
            with self._files[name].open("ab") as file:
                file.write((BEGIN if self._empty[name] else BETWEEN).encode() + piece[name])
            self._empty[name] = False

    def assembled(self, head: Mapping[str, str] | None = None) -> Path:
        """The document in one file: the parts of `head` (already JSON) and the lists; the only list itself without."""
        self.flush()
        path = self._folder.new_file()
        with path.open("wb") as file:
            for number, (key, value) in enumerate((head or {}).items()):
                file.write(f"{',' if number else '{'}{dump(key)}:{value}\n".encode())
            for name in self._files:
                file.write(f",{dump(name)}:".encode() if head else b"")
                self._append(file, name)
                file.write(b"\n")
            file.write(b"}\n" if head else b"")
        return path

    def _flush(self, name: str) -> None:
        waiting = self._waiting[name]
        if not waiting:
            return
        with self._files[name].open("a", encoding="utf-8") as file:
            file.write((BEGIN if self._empty[name] else BETWEEN) + BETWEEN.join(waiting))
        self._empty[name] = False
        waiting.clear()

    def _append(self, file: Any, name: str) -> None:
        if self._empty[name]:
            file.write(b"[]")
            return
        with self._files[name].open("rb") as items:
            shutil.copyfileobj(items, file, 1 << 20)
        file.write(b"]")
        self._files[name].unlink()


class Names:
    """Names of files of their own for images, without an ending: no two images share one.

    Keeps 8 bytes of digest an image (about 60 in memory).
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def stem(self, key: str) -> str | None:
        """The image's key without its ending; None where another image has that already."""
        path = safe_name(key)
        folder, slash, name = path.rpartition("/")
        return self._take(folder + slash + (name.rpartition(".")[0] or name))

    def stem_or_key(self, key: str) -> str:
        """The same, or the key with its ending where the stem is taken. Raises InvalidClicks where that is too."""
        return self.stem(key) or self.path(key)

    def path(self, key: str) -> str:
        """The image's key as a relative path. Raises InvalidClicks where another image has that already."""
        path = self._take(safe_name(key))
        if path is None:
            raise InvalidClicks(
                f"{key}: another image would be the file {safe_name(key)} too; "
                "allowed: one of them, see --only, or a format without files of images"
            )
        return path

    def _take(self, name: str) -> str | None:
        digest = name_digest(name)
        if digest in self._taken:
            return None
        self._taken.add(digest)
        return name


def name_digest(text: str) -> int:
    """Eight bytes that stand for a name among very many."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def safe_name(key: str) -> str:
    """A relative path for an image's key: a full address without its protocol, nothing that climbs."""
    path = key.partition("://")[2] or key
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))


@contextmanager
def open_folder(target: Store, prefix: str, scratch: Path) -> Iterator[Folder]:
    """A folder for as long as the block runs."""
    scratch.mkdir(parents=True)
    folder = Folder(target, prefix, scratch)
    try:
        yield folder
    finally:
        folder.close()
