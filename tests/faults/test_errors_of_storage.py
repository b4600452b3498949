"""What storage's libraries raise: which of it passes by itself, what becomes of the rest, and what nobody may read."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import botocore.exceptions as boto
import pytest
from fsspec.exceptions import FSTimeoutError
from urllib3.exceptions import IncompleteRead

from pipeline.config import InvalidJob, Limits, parse_job
from pipeline.describe import describe
from pipeline.failure import BadImage
from pipeline.storage.filesystem import Storage
from pipeline.storage.retry import StoreUnavailable, is_transient
from pipeline.storage.store import Store
from pipeline.worker.images import fetch_image
from tests.faults.conftest import a_store
from tests.s3_server import S3Server

URL = "http://storage.example:9000/bucket/key"


@pytest.mark.parametrize(
    "error",
    [
        boto.EndpointConnectionError(endpoint_url=URL, error="refused"),
        boto.ConnectTimeoutError(endpoint_url=URL),
        boto.ReadTimeoutError(endpoint_url=URL),
        boto.ConnectionClosedError(endpoint_url=URL),
        boto.HTTPClientError(error="anything below"),
        boto.ResponseStreamingError(error="cut"),
        boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        aiohttp.ClientPayloadError("not all of the body"),
        aiohttp.ServerDisconnectedError(),
        IncompleteRead(1, 2),
        http.client.IncompleteRead(b"1"),
        FSTimeoutError(),
        socket.gaierror(-3, "Temporary failure in name resolution"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_lost_and_slow_connections_pass(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        boto.NoCredentialsError(),
        boto.ParamValidationError(report="bucket"),
        boto.ProfileNotFound(profile="x"),
        KeyError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_somebody_must_change_does_not_pass(error: Exception) -> None:
    assert not is_transient(error)


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word: a server that is frozen."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:  # shut down: the test is over
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


def test_a_frozen_server_is_unavailable() -> None:
    with silent_server() as endpoint_url:
        store = Store("s3://bucket/x", Storage(endpoint_url, anonymous=True, give_up_s=0.5, request_timeout_s=0.3))
        with pytest.raises(StoreUnavailable):
            store.read("k")
        with pytest.raises(StoreUnavailable):
            store.put_new("k", b"x")


def test_click_files_are_read_in_spans_that_are_retried(s3: S3Server) -> None:
    store = a_store(s3, "spans")
    content = bytes(range(256)) * 40_000
    store.put("big", content)
    with store.open_seekable("big") as opened:
        assert opened.seek(-10, 2) == len(content) - 10
        assert opened.read() == content[-10:]
        opened.seek(5_000_000)
        assert opened.read(7) == content[5_000_000:5_000_007]
        opened.seek(0)
        assert opened.read() == content


@pytest.mark.parametrize("key", ["x" * 2000, "empty"])
def test_an_image_that_storage_cannot_give_is_a_bad_image(s3: S3Server, key: str) -> None:
    store = a_store(s3, "odd")
    store.put("empty", b"")
    if key == "empty":
        assert fetch_image(store, key, Limits()) == b""
        return
    with pytest.raises(BadImage) as caught:
        fetch_image(store, key, Limits())
    assert caught.value.failure.reason in ("image_missing", "image_unreadable")


@pytest.mark.parametrize(
    "changed",
    [
        {"images": "https://joe:hunter2@host/photos"},
        {"images": "https://joe:hunter2/3@host/photos"},
        {"images": "https://joe:hun@ter:hunter2@host/photos"},
        {"clicks": ["s3://joe:hunter2@bucket/clicks.parquet"]},
        {"output": "https://host/labels?X-Amz-Credential=hunter2"},
        {"storage": {"endpoint_url": "https://joe:hunter2@host"}},
        {"backbone": {"weights": "s3://joe:hunter2@bucket/weights"}},
    ],
)
def test_a_job_with_credentials_in_an_address_is_refused_without_repeating_them(changed: dict[str, Any]) -> None:
    job = {"images": "s3://b/photos", "clicks": "s3://b/c.parquet", "output": "s3://b/labels"}
    with pytest.raises(InvalidJob, match="credentials come from the environment") as caught:
        parse_job(job | changed, "job.yaml")
    assert "hunter2" not in str(caught.value)


def test_errors_are_told_without_credentials() -> None:
    for secret in (
        "https://joe:hunter2@host/x",
        "https://joe:a/hunter2@host/x",
        "https://h/x?a=1&X-Amz-Signature=hunter2",
        "token=hunter2&b=1",
    ):
        text = describe(OSError(f"GET {secret} failed"))
        assert "hunter2" not in text
        assert text.startswith("OSError: GET ")
        assert text.endswith(" failed")
