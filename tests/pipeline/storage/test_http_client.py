"""Images over HTTP: a server answers itself, or sends on to hosts that the job allows, and to no others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.config import Limits, parse_job
from pipeline.failure import BadImage
from pipeline.storage.filesystem import Storage
from pipeline.storage.http_client import RedirectRefused
from pipeline.storage.store import Store
from pipeline.worker.images import fetch_image


class Server(BaseHTTPRequestHandler):
    """`/a.jpg` is here, `/moved.jpg` sends to it, `/away.jpg` to localhost, `/there.jpg` to localhost and back."""

    def do_GET(self) -> None:
        here, port = self.server.server_address[:2]
        sent_on = {
            "/moved.jpg": "/a.jpg",
            "/away.jpg": f"http://localhost:{port}/a.jpg",
            "/there.jpg": f"http://localhost:{port}/back.jpg",
            "/back.jpg": f"http://{here!s}:{port}/a.jpg",
        }
        if self.path in sent_on:
            self.send_response(302)
            self.send_header("Location", sent_on[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"bytes")

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal."""


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_what_is_there_and_what_moved_on_its_own_host_is_read(root: str) -> None:
    store = Store(root, Storage(give_up_s=5.0))
    assert store.read("a.jpg") == store.read("moved.jpg") == b"bytes"


def test_a_redirect_to_another_host_is_refused_and_said(root: str) -> None:
    store = Store(root, Storage(give_up_s=5.0))
    for key in ("away.jpg", "there.jpg"):
        with pytest.raises(RedirectRefused, match=r"127\.0\.0\.1 sends on to another host: found localhost; allowed: "):
            store.read(key)
    with pytest.raises(BadImage) as caught:
        fetch_image(store, "away.jpg", Limits())
    assert caught.value.failure.reason == "image_forbidden"
    assert "found localhost" in caught.value.failure.message


def test_hosts_that_the_job_names_may_be_sent_to(root: str) -> None:
    document = {"images": root, "clicks": "b", "output": "c", "storage": {"redirects_to": ["LocalHost"]}}
    store = parse_job(document, "job.yaml").image_store
    assert store.read("away.jpg") == store.read("there.jpg") == b"bytes"
