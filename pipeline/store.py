"""Object storage: the one place that speaks fsspec.

The exactly-once rule of the pipeline rests on two operations of this file: `put_new`, which makes a whole object
appear under its key or nothing, and never replaces one that is there; and `listing`, which no cache ever answers.
Objects are built in memory and sent as bytes: writing through an open file would publish a truncated object when an
exception closes it.
"""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import fsspec.asyn

Result = TypeVar("Result")

log = logging.getLogger("m2n2.store")

TRANSIENT_ERRNOS = {
    errno.EIO,
    errno.EREMOTEIO,
    errno.EBUSY,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EPIPE,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
}
# Refusals that pass: a clock that is set right, a token that is renewed, a body that was cut or damaged on its way.
# s3fs reports them as PermissionError or as "invalid argument".
TRANSIENT_S3_CODES = {
    "ExpiredToken",
    "RequestTimeTooSkewed",
    "TokenRefreshRequired",
    "RequestTimeout",
    "IncompleteBody",
    "BadDigest",
}
# What the libraries below fsspec raise for a connection that is lost, refused, cut or too slow; by name, so that a
# library that is not installed need not be. Subclasses count.
TRANSIENT_TYPES = {
    "botocore.exceptions.HTTPClientError",
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.IncompleteReadError",
    "botocore.exceptions.CredentialRetrievalError",
    "botocore.exceptions.MetadataRetrievalError",
    "botocore.parsers.ResponseParserError",
    "aiohttp.client_exceptions.ClientConnectionError",
    "aiohttp.client_exceptions.ClientPayloadError",
    "http.client.IncompleteRead",
    "urllib3.exceptions.HTTPError",
    "socket.gaierror",
}
EMPTY_RANGE_CODES = {"InvalidRange", "416"}
READ_AHEAD_BYTES = 4 << 20
UPLOAD_TIMEOUTS = 4  # times `Storage.request_timeout_s`: the library below repeats a request by itself
SLOWEST_UPLOAD_BYTES_PER_S = 100_000


class StoreUnavailable(ConnectionError):
    """The store did not answer, or answered with server errors, for longer than `Storage.give_up_s`."""


@dataclass(frozen=True)
class Storage:
    """How to reach object storage. Credentials come from the environment, never from here.

    Attributes:
        endpoint_url: an S3-compatible server; None means the provider's own.
        region: S3 region; None leaves it to the environment.
        anonymous: read public buckets without credentials.
        give_up_s: seconds of retries, with growing pauses, before a request counts as failed.
        request_timeout_s: seconds until one request that is not answered is sent again.
    """

    endpoint_url: str | None = None
    region: str | None = None
    anonymous: bool = False
    give_up_s: float = 300.0
    request_timeout_s: float = 30.0


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
        if "://" in key or not self.root:
            return key
        return f"{self.root.rstrip('/')}/{key}" if key else self.root.rstrip("/")

    def read(self, key: str, max_bytes: int | None = None) -> bytes:
        """The object's bytes, or its first `max_bytes`. Raises FileNotFoundError, PermissionError."""
        return self._read_span(key, None if max_bytes is None else (0, max_bytes))

    def exists(self, key: str) -> bool:
        """Whether the key is there now."""
        fs, path = self._locate(key)
        return bool(self._retried(lambda: fs.exists(path)))

    def info(self, key: str) -> Entry:
        """Size, ETag and time of one object. Raises FileNotFoundError."""
        fs, path = self._locate(key)
        return _entry(key, self._retried(lambda: fs.info(path)))

    def listing(self, prefix: str) -> Iterator[Entry]:
        """All objects below a prefix, sorted by key, fresh from the store. A prefix that is not there is empty."""
        fs, path = self._locate(prefix)
        fs.invalidate_cache()
        try:
            found = self._retried(lambda: fs.find(path, detail=True))
        except FileNotFoundError:
            return
        start = len(path.rstrip("/")) + 1  # some servers list the prefix itself, as an empty object
        for name in sorted(found):
            if found[name]["type"] == "file" and len(name) > start and not _is_temporary(name):
                yield _entry(f"{prefix.rstrip('/')}/{name[start:]}".lstrip("/"), found[name])

    def put_new(self, key: str, data: bytes) -> bool:
        """Create an object, all of it or nothing; never replace one.

        Returns:
            True where this call created it; False where the key was taken. After a lost answer the retry may find its
            own object there: who needs to know whose it is reads it back.
        """
        fs, path = self._locate(key)
        if _is_local(fs):
            return _create_local(Path(path), data)
        try:
            self._upload(fs, len(data), "pipe_file", path, data, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or _s3_code(error) == "PreconditionFailed":
                return False
            raise
        return True

    def put(self, key: str, data: bytes) -> None:
        """Create or replace an object, atomically: for status and exports, never for parts of a run."""
        fs, path = self._locate(key)
        if _is_local(fs):
            _replace_local(Path(path), data)
        else:
            self._upload(fs, len(data), "pipe_file", path, data)

    def put_file(self, key: str, source: Path) -> None:
        """Upload a file of any size; the key appears when all of it has arrived."""
        fs, path = self._locate(key)
        if _is_local(fs):
            temporary = _temporary_beside(Path(path))
            fs.put_file(str(source), str(temporary))
            temporary.replace(path)
        else:
            self._upload(fs, source.stat().st_size, "put_file", str(source), path)

    def glob(self, pattern: str) -> list[Entry]:
        """Objects that match a pattern with `*`, `?`, `[]`, sorted by key (full addresses)."""
        fs, path = self._locate(pattern)
        fs.invalidate_cache()
        found = self._retried(lambda: fs.glob(path, detail=True))
        files = {name: info for name, info in found.items() if info["type"] == "file" and not _is_temporary(name)}
        return [_entry(fs.unstrip_protocol(name), files[name]) for name in sorted(files)]

    def open_seekable(self, key: str) -> io.BufferedReader:
        """A seekable binary file for readers of columns (Parquet); each of its reads is retried like `read`."""
        return io.BufferedReader(_ObjectFile(self, key, self.info(key).size), READ_AHEAD_BYTES)

    def honours_create_if_absent(self) -> bool:
        """Whether the store refuses to create a key that is there. Leaves a small object `.probe-...` for a moment."""
        key = f".probe-{uuid.uuid4().hex}"
        fs, path = self._locate(key)
        if _is_local(fs):
            return True
        try:
            self.put_new(key, b"first")
            return not self.put_new(key, b"second") and self.read(key) == b"first"
        finally:
            self._retried(lambda: fs.rm_file(path))

    def _upload(self, fs: Any, size: int, method: str, *arguments: Any, **options: Any) -> None:
        """Send bytes, within a time limit of our own.

        The clients' timeouts do not cover everything: a server that accepts a connection and then says nothing keeps an
        upload waiting for leave to send its body, or for room to send the rest of it, for ever.
        """
        limit_s = UPLOAD_TIMEOUTS * self.storage.request_timeout_s + size / SLOWEST_UPLOAD_BYTES_PER_S

        async def in_time() -> None:
            await asyncio.wait_for(getattr(fs, f"_{method}")(*arguments, **options), limit_s)

        if getattr(fs, "async_impl", False):
            self._retried(lambda: fsspec.asyn.sync(fs.loop, in_time))
        else:
            self._retried(lambda: getattr(fs, method)(*arguments, **options))

    def _read_span(self, key: str, span: tuple[int, int] | None) -> bytes:
        fs, path = self._locate(key)
        wanted = {} if span is None else {"start": span[0], "end": span[1]}
        try:
            data: bytes = self._retried(lambda: fs.cat_file(path, **wanted))
        except OSError as error:
            if _s3_code(error) in EMPTY_RANGE_CODES:  # the first bytes of an object that has none
                return b""
            raise
        return data

    def _locate(self, key: str) -> tuple[Any, str]:
        url = self.url(key)
        protocol = url.split("://", 1)[0] if "://" in url else "file"
        fs = filesystem(protocol, self.storage)
        return fs, fs._strip_protocol(url)

    def _retried(self, request: Callable[[], Result]) -> Result:
        return retried(request, self.storage.give_up_s)


class _ObjectFile(io.RawIOBase):
    """Random access to one object, a ranged request for every read."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        self._store, self._key, self._size, self._at = store, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._read(self._at + len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(self._size)

    def _read(self, stop: int) -> bytes:
        if self._at >= min(stop, self._size):
            return b""
        data = self._store._read_span(self._key, (self._at, min(stop, self._size)))
        self._at += len(data)
        return data


def retried(request: Callable[[], Result], give_up_s: float) -> Result:
    """Run a request until it succeeds, fails for good, or has failed transiently for `give_up_s` seconds."""
    give_up_at = time.monotonic() + give_up_s
    pause_s = 0.2
    while True:
        try:
            return request()
        except Exception as error:
            if not is_transient(error):
                if plain := _in_plain_terms(error):
                    raise plain from error
                raise
            if time.monotonic() + pause_s > give_up_at:
                raise StoreUnavailable(f"object storage failed for {give_up_s:.0f} s: {describe(error)}") from error
            log.log(logging.WARNING if pause_s > 1 else logging.DEBUG, "storage, will try again: %s", describe(error))
        # Full jitter: workers that failed together must not return together.
        time.sleep(random.uniform(0.5, 1.0) * pause_s)
        pause_s = min(pause_s * 2, 10.0)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later without anybody changing it."""
    if isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError):
        return False
    if _s3_code(error) in TRANSIENT_S3_CODES:
        return True
    if isinstance(error, PermissionError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if any(f"{kind.__module__}.{kind.__qualname__}" in TRANSIENT_TYPES for kind in type(error).__mro__):
        return True
    return isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS


def _in_plain_terms(error: Exception) -> Exception | None:
    """botocore's own refusals as Python's: no credentials is a permission, a name that cannot be is a value."""
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if name in ("botocore.exceptions.NoCredentialsError", "botocore.exceptions.PartialCredentialsError"):
        return PermissionError(describe(error))
    return ValueError(describe(error)) if name == "botocore.exceptions.ParamValidationError" else None


def describe(error: BaseException) -> str:
    """One line on an error, without credentials that stood in an address."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {without_credentials(text)[:500]}"


def without_credentials(text: str) -> str:
    """The text with `user:password@` and the values of signed addresses' parameters taken out of it."""
    return _SIGNATURE.sub(r"\1=***", _USER_INFO.sub("://***@", text))


_USER_INFO = re.compile(r"://[^/\s@]+@")
_SIGNATURE = re.compile(r"(?i)\b(X-Amz-[\w-]+|AWSAccessKeyId|Signature|sig|token|access_key|secret_key)=[^&\s\"']+")


@lru_cache(maxsize=16)
def filesystem(protocol: str, storage: Storage) -> Any:
    """The process's fsspec file system for a protocol, made when first needed."""
    if protocol in ("s3", "s3a"):
        _retry_connections()
    return fsspec.filesystem(protocol, skip_instance_cache=True, **fsspec_options(f"{protocol}://", storage))


def _retry_connections() -> None:
    """s3fs repeats a request by itself for some errors; a refused or lost connection is not among them by default."""
    import s3fs.core

    refused = s3fs.core.botocore.exceptions.ConnectionError
    if refused not in s3fs.core.S3_RETRYABLE_ERRORS:
        s3fs.core.add_retryable_error(refused)


def fsspec_options(url: str, storage: Storage) -> dict[str, Any]:
    """What fsspec needs to open an address."""
    if not url.startswith(("s3://", "s3a://")):
        return {}
    client: dict[str, Any] = {}
    if storage.region:
        client["region_name"] = storage.region
    return {
        "anon": storage.anonymous,
        "endpoint_url": storage.endpoint_url,
        "client_kwargs": client,
        "config_kwargs": {
            "connect_timeout": min(10.0, storage.request_timeout_s),
            "read_timeout": storage.request_timeout_s,
            "retries": {"total_max_attempts": 1},  # s3fs and `retried` repeat
        },
        "use_listings_cache": False,
    }


def _s3_code(error: BaseException) -> str | None:
    response: Mapping[str, Any] = getattr(error.__cause__, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


def _entry(key: str, info: Mapping[str, Any]) -> Entry:
    modified = info.get("LastModified") or info.get("mtime") or info.get("last_modified") or 0.0
    if isinstance(modified, int | float):
        modified = datetime.fromtimestamp(modified, UTC)
    etag = info.get("ETag") or info.get("etag") or f"{info.get('mtime', '')}-{info.get('size', '')}"
    return Entry(key=key, size=int(info.get("size") or 0), etag=str(etag).strip('"'), modified=modified)


def _is_local(fs: Any) -> bool:
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def _is_temporary(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return base.startswith((".tmp-", ".probe-"))


def _temporary_beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent / f".tmp-{uuid.uuid4().hex}"


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _create_local(path: Path, data: bytes) -> bool:
    temporary = _temporary_beside(path)
    try:
        _write_synced(temporary, data)
        # A hard link either makes the whole file appear under its name or fails because the name is taken.
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _replace_local(path: Path, data: bytes) -> None:
    temporary = _temporary_beside(path)
    try:
        _write_synced(temporary, data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
