"""Which failures of storage pass by themselves, and trying again until they have passed."""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pipeline.describe import describe

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


class StoreUnavailable(ConnectionError):
    """The store did not answer, or answered with server errors, for longer than `Storage.give_up_s`."""


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
    if s3_code(error) in TRANSIENT_S3_CODES:
        return True
    if isinstance(error, PermissionError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if any(f"{kind.__module__}.{kind.__qualname__}" in TRANSIENT_TYPES for kind in type(error).__mro__):
        return True
    return isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS


def s3_code(error: BaseException) -> str | None:
    """The code of an S3 server's refusal below an error of s3fs, None where there is none."""
    response: Mapping[str, Any] = getattr(error.__cause__, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


def _in_plain_terms(error: Exception) -> Exception | None:
    """botocore's own refusals as Python's: no credentials is a permission, a name that cannot be is a value."""
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if name in ("botocore.exceptions.NoCredentialsError", "botocore.exceptions.PartialCredentialsError"):
        return PermissionError(describe(error))
    return ValueError(describe(error)) if name == "botocore.exceptions.ParamValidationError" else None
