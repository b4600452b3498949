"""Object storage: beside pipeline/storage/filesystem.py, which opens it, the one place that speaks fsspec.

The exactly-once rule of the pipeline rests on two operations of this file: `put_new`, which makes a whole object
appear under its key or nothing, and never replaces one that is there; and `listing`, which no cache ever answers.
Objects are built in memory, or those that grow with the work in a file of this machine, and then sent: writing through
an open file of the store would publish a truncated object when an exception closes it.
"""

from __future__ import annotations

import asyncio
import io
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import fsspec.asyn

from pipeline.storage.atomic_file import create_file, is_temporary, replace_file
from pipeline.storage.filesystem import Storage, filesystem, speaks
from pipeline.storage.listing import Found, Retried, files_on_disk, s3_objects
from pipeline.storage.random_access import RandomAccess
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.retry import retried, s3_code
from pipeline.storage.traffic import count
from pipeline.storage.witness import Trial, remember

Result = TypeVar("Result")

EMPTY_RANGE_CODES = {"InvalidRange", "416"}
READ_AHEAD_BYTES = 4 << 20
UPLOAD_TIMEOUTS = 4  # times `Storage.request_timeout_s`: the library below repeats a request by itself
SLOWEST_UPLOAD_BYTES_PER_S = 100_000


@dataclass(frozen=True)
class Entry:
    """One stored object: key below the root, size in bytes, what identifies its content, when it was written."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Store:
    """A root in object storage or on a disk, such as `s3://bucket/labels/run-7/` or `/data/labels`.

    Keys are relative to the root. Every method retries what passes by itself (connections, 5xx, throttling) with
    growing, random pauses, and raises StoreUnavailable when that does not help within `storage.give_up_s`.
    """

    root: str
    storage: Storage = field(default=Storage())

    def url(self, key: str) -> str:
        """The full address of a key; an address stays as it is."""
        path_on_disk = key.startswith("/") and self.root.startswith(("/", "file://"))
        if "://" in key or path_on_disk or not self.root:
            return key
        return f"{self.root.rstrip('/')}/{key}" if key else self.root.rstrip("/")

    def read(self, key: str) -> bytes:
        """The object's bytes. Raises FileNotFoundError, PermissionError."""
        return self._read_span(key, None)

    def read_span(self, key: str, first: int, stop: int) -> bytes:
        """The object's bytes from `first` up to `stop`. Raises FileNotFoundError, PermissionError."""
        return self._read_span(key, (first, stop))

    def read_one_of_many(self, key: str, max_bytes: int, first: int = 0) -> bytes:
        """At most `max_bytes` from byte `first` on of an object that others do not have to wait for.

        Raises:
            KeyUnavailable: the key fails while others are answered; found out in about a tenth of `storage.give_up_s`.
            FileNotFoundError, PermissionError: as they say.
        """
        data = self._read_span(key, (first, first + max_bytes), fails_alone=self._trial(key))
        remember(self._locate(key)[1])
        return data

    def check(self) -> None:
        """Raise UnusableStorage where nothing of this root can be reached from this process; no request is made."""
        fs, _ = self._locate("")
        if speaks(fs, "file") and sys.getfilesystemencoding() != "utf-8":
            raise UnusableStorage(
                f"{self.root}: names of files are {sys.getfilesystemencoding()} in this process; "
                "allowed: utf-8 (PYTHONUTF8=1 in the environment of `ray start`)"
            )

    def folder_here(self) -> Path | None:
        """The root as a folder of this machine; None where it is in object storage."""
        fs, path = self._locate("")
        return Path(path) if speaks(fs, "file") else None

    def exists(self, key: str) -> bool:
        """Whether the key is there now."""
        fs, path = self._locate(key)
        return bool(self._retried(key, lambda: fs.exists(path)))

    def info(self, key: str) -> Entry:
        """Size, ETag and time of one object. Raises FileNotFoundError."""
        fs, path = self._locate(key)
        return _entry(key, self._retried(key, lambda: fs.info(path)))

    def info_one_of_many(self, key: str) -> Entry:
        """As `info`, of an object that others do not have to wait for. Raises as `read_one_of_many`."""
        fs, path = self._locate(key)
        return _entry(key, self._retried(key, lambda: fs.info(path), fails_alone=self._trial(key)))

    def listing(self, prefix: str) -> Iterator[Entry]:
        """All objects below a prefix, sorted by key, fresh from the store. A prefix that is not there is empty.

        Memory does not grow with their number on S3, and on a disk only with that of one folder's files. Sorted is what
        S3 sorts, disks and file systems too; a server of S3's protocol that walks through folders (SeaweedFS does)
        sorts each folder, so that `a/b` may come before `a.txt`.
        """
        return self._listed(prefix)

    def listing_between(self, prefix: str, after: str, last: str) -> Iterator[Entry]:
        """As `listing`, the objects whose keys come after `after` and not after `last`; S3 is asked for these alone."""
        return self._listed(prefix, self._locate(after)[1], self._locate(last)[1])

    def put_new(self, key: str, data: bytes | Path) -> bool:
        """Create an object, all of it or nothing; never replace one.

        Args:
            data: its bytes, or the file here that has them, of any size.

        Returns:
            True where this call created it; False where the key was taken. After a lost answer the retry may find its
            own object there: who needs to know whose it is reads it back.
        """
        fs, path = self._locate(key)
        if speaks(fs, "file"):
            return create_file(Path(path), data)
        try:
            self._send(key, fs, path, data, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or s3_code(error) == "PreconditionFailed":
                return False
            raise
        return True

    def put(self, key: str, data: bytes | Path) -> None:
        """Create or replace an object, atomically: for status and exports, never for parts of a run; as `put_new`."""
        fs, path = self._locate(key)
        if speaks(fs, "file"):
            replace_file(Path(path), data)
        else:
            self._send(key, fs, path, data)

    def put_file(self, key: str, source: Path) -> None:
        """As `put` of a file, but nobody waits until a disk has written it: for many files that can be made again."""
        fs, path = self._locate(key)
        if speaks(fs, "file"):
            replace_file(Path(path), source, synced=False)
        else:
            self._send(key, fs, path, source)

    def get_file(self, key: str, target: Path) -> None:
        """Download an object of any size into a local file. Raises FileNotFoundError, PermissionError."""
        fs, path = self._locate(key)
        self._retried(key, lambda: fs.get_file(path, str(target)))

    def glob(self, pattern: str, literally: bool = False, below: bool = False) -> list[Entry]:
        """Objects that match a pattern with `*`, `?`, `[]`, sorted by key (full addresses).

        Args:
            literally: these characters are part of the name.
            below: not what matches, but all that lies below folders that match.
        """
        fs, path = self._locate(pattern)
        fs.invalidate_cache()
        try:
            found = self._retried(pattern, lambda: {path: fs.info(path)} if literally else fs.glob(path, detail=True))
        except FileNotFoundError:
            return []
        if below:
            folders = [name for name, info in found.items() if info["type"] == "directory"]
            found = {}
            for folder in folders:
                found |= self._retried(pattern, partial(fs.find, folder, detail=True))
        files = {name: info for name, info in self._files(fs, found) if not is_temporary(name)}
        return [_entry(fs.unstrip_protocol(name), files[name]) for name in sorted(files)]

    def address(self, key: str) -> str:
        """The full address of a key or pattern, as `glob` spells addresses."""
        fs, path = self._locate(key)
        return str(fs.unstrip_protocol(path))

    def open_seekable(self, key: str) -> io.BufferedReader:
        """A seekable binary file for readers of columns (Parquet); each of its reads is retried like `read`."""
        return io.BufferedReader(RandomAccess(self.info(key).size, partial(self.read_span, key)), READ_AHEAD_BYTES)

    def remove(self, key: str) -> None:
        """Remove an object that nothing refers to any more; one that is gone already is no error."""
        fs, path = self._locate(key)
        with suppress(FileNotFoundError):
            self._retried(key, lambda: fs.rm_file(path))

    def honours_create_if_absent(self) -> bool:
        """Whether the store refuses to create a key that is there. Leaves a small object `.probe-...` for a moment."""
        key = f".probe-{uuid.uuid4().hex}"
        fs, path = self._locate(key)
        try:
            self.put_new(key, b"first")
            return not self.put_new(key, b"second") and self.read(key) == b"first"
        finally:
            if self.exists(key):
                self._retried(key, lambda: fs.rm_file(path))

    def _trial(self, key: str) -> Trial:
        fs, path = self._locate(key, asks_once=True)
        return Trial(path, self.storage.give_up_s, lambda witness: fs.cat_file(witness, start=0, end=1))

    def _listed(self, prefix: str, after: str = "", last: str = "") -> Iterator[Entry]:
        fs, path = self._locate(prefix)
        fs.invalidate_cache()
        start = len(path.rstrip("/")) + 1  # some servers list the prefix itself, as an empty object
        try:
            for name, info in self._found_below(fs, path, partial(self._retried, prefix), after, last):
                if len(name) > start and not is_temporary(name):
                    # What follows the prefix may itself begin with a slash: `photos//a.jpg` is not `photos/a.jpg`.
                    yield _entry(f"{prefix.rstrip('/')}/{name[start:]}" if prefix else name[start:], info)
        except FileNotFoundError:
            return

    def _found_below(self, fs: Any, path: str, retried: Retried, after: str, last: str) -> Iterator[Found]:
        """Paths in the order of keys, with what the file system says of the object."""
        if speaks(fs, "s3"):
            yield from s3_objects(fs, path, retried, after, last)
        elif speaks(fs, "file"):
            yield from files_on_disk(path, retried, after, last)
        else:
            found = retried(lambda: fs.find(path, detail=True))
            for name, info in sorted(self._files(fs, found)):
                if after < name and (not last or name <= last):
                    yield name, info

    def _files(self, fs: Any, found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """The files among what a file system found, links to files with what they lead to."""
        for name, info in found.items():
            if info.get("islink"):
                try:
                    info = self._retried(fs.unstrip_protocol(name), partial(fs.info, name))
                except FileNotFoundError:  # it leads nowhere
                    continue
            if info["type"] == "file":
                yield name, info

    def _send(self, key: str, fs: Any, path: str, data: bytes | Path, **options: Any) -> None:
        if isinstance(data, Path):
            self._upload(key, fs, data.stat().st_size, "put_file", str(data), path, **options)
        else:
            self._upload(key, fs, len(data), "pipe_file", path, data, **options)

    def _upload(self, key: str, fs: Any, size: int, method: str, *arguments: Any, **options: Any) -> None:
        """Send bytes, within a time limit of our own.

        The clients' timeouts do not cover everything: a server that accepts a connection and then says nothing keeps an
        upload waiting for leave to send its body, or for room to send the rest of it, for ever.
        """
        limit_s = UPLOAD_TIMEOUTS * self.storage.request_timeout_s + size / SLOWEST_UPLOAD_BYTES_PER_S

        async def in_time() -> None:
            await asyncio.wait_for(getattr(fs, f"_{method}")(*arguments, **options), limit_s)

        if getattr(fs, "async_impl", False):
            self._retried(key, lambda: fsspec.asyn.sync(fs.loop, in_time))
        else:
            self._retried(key, lambda: getattr(fs, method)(*arguments, **options))

    def _read_span(self, key: str, span: tuple[int, int] | None, **options: Any) -> bytes:
        fs, path = self._locate(key, asks_once=True)
        wanted = {} if span is None else {"start": span[0], "end": span[1]}
        try:
            data: bytes = self._retried(key, lambda: fs.cat_file(path, **wanted), **options)
        except OSError as error:
            if s3_code(error) in EMPTY_RANGE_CODES:  # the first bytes of an object that has none
                return b""
            raise
        count(bytes_read=len(data))
        return data

    def _locate(self, key: str, asks_once: bool = False) -> tuple[Any, str]:
        url = self.url(key)
        if "\0" in url:
            raise UnusableStorage(f"{url!r}: no storage has a zero byte in its names")
        protocol = url.split("://", 1)[0] if "://" in url else "file"
        fs = filesystem(protocol, self.storage, asks_once)
        return fs, fs._strip_protocol(url)

    def _retried(self, key: str, request: Callable[[], Result], **options: Any) -> Result:
        return retried(request, self.storage.give_up_s, self.url(key), **options)


def _entry(key: str, info: Mapping[str, Any]) -> Entry:
    modified = info.get("LastModified") or info.get("mtime") or info.get("last_modified") or 0.0
    if isinstance(modified, int | float):
        modified = datetime.fromtimestamp(modified, UTC)
    etag = info.get("ETag") or info.get("etag") or f"{info.get('mtime', '')}-{info.get('size', '')}"
    return Entry(key=key, size=int(info.get("size") or 0), etag=str(etag).strip('"'), modified=modified)
