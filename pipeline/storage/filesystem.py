"""How object storage is reached: fsspec's file systems, made once a process when they are first needed."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import fsspec

from pipeline.storage.http_client import http_client
from pipeline.storage.refusals import UnusableStorage


@dataclass(frozen=True)
class Storage:
    """How to reach object storage. Credentials come from the environment, never from here.

    Attributes:
        endpoint_url: an S3-compatible server; None means the provider's own.
        region: S3 region; None leaves it to the environment.
        anonymous: read public buckets without credentials.
        give_up_s: seconds of retries, with growing pauses, before a request counts as failed.
        request_timeout_s: seconds until one request that is not answered is sent again.
        redirects_to: hosts that `http(s)://` addresses may be redirected to, besides their own.
    """

    endpoint_url: str | None = None
    region: str | None = None
    anonymous: bool = False
    give_up_s: float = 300.0
    request_timeout_s: float = 30.0
    redirects_to: tuple[str, ...] = ()


@lru_cache(maxsize=16)
def filesystem(protocol: str, storage: Storage, asks_once: bool = False) -> Any:
    """The process's fsspec file system for a protocol, made when first needed.

    Args:
        asks_once: s3fs repeats no request by itself. It repeats a read five times five times: of a server that says
            nothing that tells nobody for 25 times `request_timeout_s`, whatever `give_up_s` is.
    """
    if problem := unknown_protocol(protocol):
        raise UnusableStorage(problem)
    try:
        if protocol in ("s3", "s3a"):
            _retry_connections()
        made = fsspec.filesystem(protocol, skip_instance_cache=True, **fsspec_options(f"{protocol}://", storage))
        if asks_once and speaks(made, "s3"):
            made.retries = 1
        return made
    except ImportError as error:
        found = f"addresses {protocol}:// need a package that is not installed on {platform.node()}"
        raise UnusableStorage(f"{found}: {' '.join(str(error).split())}") from error


def speaks(fs: Any, protocol: str) -> bool:
    """Whether a file system of fsspec is the one of this protocol."""
    return protocol in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def unknown_protocol(protocol: str) -> str | None:
    """Why nobody here speaks a protocol, or None; whether its package is installed is not asked."""
    if protocol in fsspec.available_protocols() or protocol in fsspec.registry:  # there a program adds its own
        return None
    lower = f"; allowed: {protocol.lower()}://" if protocol.lower() in fsspec.available_protocols() else ""
    return f"found protocol {protocol}://, which nobody here speaks{lower or '; allowed: a path, s3://, gs://, ...'}"


def _retry_connections() -> None:
    """s3fs repeats a request by itself for some errors; a refused or lost connection is not among them by default."""
    import s3fs.core

    refused = s3fs.core.botocore.exceptions.ConnectionError
    if refused not in s3fs.core.S3_RETRYABLE_ERRORS:
        s3fs.core.add_retryable_error(refused)


def fsspec_options(url: str, storage: Storage) -> dict[str, Any]:
    """What fsspec needs to open an address."""
    if url.startswith(("http://", "https://")):
        return {"get_client": partial(http_client, storage.redirects_to)}
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
        "max_concurrency": 2,  # pieces of a large file that are in memory at once, each of 50 MB
    }
