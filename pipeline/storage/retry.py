"""Which failures of storage pass by themselves, and trying again until they have passed."""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pipeline.describe import describe, without_credentials
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.traffic import count

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
    errno.ESTALE,  # of NFS, whose server was started again
    errno.EMFILE,
    errno.ENFILE,
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
TRANSIENT_HTTP = {408, 425, 429}
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


class StoreUnavailable(ConnectionError):
    """The store did not answer, or answered with server errors, for longer than `Storage.give_up_s`."""


class KeyUnavailable(StoreUnavailable):
    """One key fails again and again while its store answers for others."""


def retried(
    request: Callable[[], Result],
    give_up_s: float,
    name: str,
    fails_alone: Callable[[float, bool], bool] = lambda failing_s, last: False,
) -> Result:
    """Run a request until it succeeds, fails for good, or has failed transiently for `give_up_s` seconds.

    Args:
        name: the address of what is asked for, for messages.
        fails_alone: asked after every failure, with the seconds since the first request and whether this was the last
            one: whether the fault is this key's and not the store's.

    Raises:
        KeyUnavailable: `fails_alone` says so.
        StoreUnavailable: `give_up_s` are over.
    """
    began = time.monotonic()
    pause_s = 0.2
    while True:
        try:
            return request()
        except Exception as error:
            if not is_transient(error):
                if plain := _in_plain_terms(error):
                    raise plain from error
                raise
            count(errors=1)
            failing_s = time.monotonic() - began
            last = failing_s + pause_s > give_up_s
            found = f"{without_credentials(name)}: {_with_code(error)}"
            if fails_alone(failing_s, last):
                raise KeyUnavailable(f"{found}; for {failing_s:.0f} s, while others were answered") from error
            if last:
                raise StoreUnavailable(f"{found}; object storage failed for {give_up_s:.0f} s") from error
            log.log(logging.WARNING if pause_s > 1 else logging.DEBUG, "storage, will try again: %s", found)
        # Full jitter: workers that failed together must not return together.
        time.sleep(random.uniform(0.5, 1.0) * pause_s)
        pause_s = min(pause_s * 2, 10.0)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later without anybody changing it."""
    if isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError):
        return False
    if s3_code(error) in TRANSIENT_S3_CODES:
        return True
    if isinstance(error, PermissionError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if any(f"{kind.__module__}.{kind.__qualname__}" in TRANSIENT_TYPES for kind in type(error).__mro__):
        return True
    if (status := http_status(error)) is not None:
        return status in TRANSIENT_HTTP or status >= 500
    return isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS


def http_status(error: BaseException) -> int | None:
    """The status of an HTTP answer that a library made an exception of, under the names that libraries give it."""
    if isinstance(error, OSError) and error.errno is not None:
        return None
    for name in ("status", "status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and 100 <= value < 600:
            return value
    return None


def s3_code(error: BaseException) -> str | None:
    """The code of an S3 server's refusal below an error of s3fs, None where there is none."""
    response: Mapping[str, Any] = getattr(error.__cause__, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


def _with_code(error: Exception) -> str:
    code = s3_code(error) or http_status(error)
    return describe(error) if code is None else f"{describe(error)} ({code})"


def _in_plain_terms(error: Exception) -> Exception | None:
    """Libraries' own refusals as Python's: no credentials is a permission, a name that cannot be is a value."""
    if (status := http_status(error)) is not None:
        kind = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError, 410: FileNotFoundError}
        return kind.get(status, OSError)(_with_code(error))
    if isinstance(error, ImportError | NotImplementedError):
        return UnusableStorage(describe(error))
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if name in ("botocore.exceptions.NoCredentialsError", "botocore.exceptions.PartialCredentialsError"):
        return PermissionError(describe(error))
    if name == "botocore.exceptions.ParamValidationError":
        return ValueError(describe(error))
    # The rest of them is of the environment: a profile that is not there, a region or an endpoint that is none.
    return UnusableStorage(describe(error)) if name.startswith("botocore.") or _is_endpoint(error) else None


def _is_endpoint(error: Exception) -> bool:
    return isinstance(error, ValueError) and "Invalid endpoint" in str(error)
