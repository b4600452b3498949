"""A proxy before the S3 server that does harm to requests whose first line matches a pattern.

It knows just enough of HTTP/1.1 to see where a request's head ends and its body begins.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

CHUNK_BYTES = 65_536

Harm = Literal["stall the body", "cut the body", "swallow the answer", "answer 500"]
ALWAYS = 1_000_000
ERROR = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>internal</Message></Error>"
ANSWER_500 = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nConnection: close\r\n"


@dataclass
class Trouble:
    """What becomes of some requests.

    Attributes:
        pattern: of a request's first line, such as `PUT .*/parts/`.
        harm: the body stalls after a byte for good, or the connection is closed after a byte; or all of it passes, and
            the connection is closed instead of passing the answer; or the answer is 500.
        times: how many requests it befalls.
        met: set once it has befallen one.
    """

    pattern: str
    harm: Harm
    times: int = 1
    met: threading.Event = field(default_factory=threading.Event)


class HarmfulProxy:
    """Passes everything between its own port and the server's, but for requests with a trouble: the first that fits."""

    def __init__(self, server_port: int, *troubles: Trouble) -> None:
        self._server_port, self._troubles = server_port, troubles
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[str]:
        """The address to use instead of the server's."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # shut down: the test is over
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            swallow = threading.Event()
            threading.Thread(target=self._pass_requests, args=(client, server, swallow), daemon=True).start()
            threading.Thread(target=self._pass_answers, args=(server, client, swallow), daemon=True).start()

    def _pass_requests(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        with _closing(client, server):
            trouble = None  # once there is one, everything else that comes is of the same request's body
            for data in _received(client):
                head, separator, body = b"", b"", data
                if trouble is None and (trouble := self._trouble_of(data)):
                    if trouble.harm == "answer 500":
                        trouble.met.set()
                        client.sendall(ANSWER_500 + b"Content-Length: %d\r\n\r\n%b" % (len(ERROR), ERROR))
                        return
                    head, separator, body = data.partition(b"\r\n\r\n")
                    if trouble.harm == "swallow the answer":
                        swallow.set()
                        trouble.met.set()
                if trouble is None or trouble.harm == "swallow the answer":
                    server.sendall(head + separator + body)
                    continue
                server.sendall(head + separator + body[:1])
                if body:
                    trouble.met.set()
                    if trouble.harm == "stall the body":
                        for _ in _received(client):  # until the client gives up or dies
                            continue
                    return

    def _pass_answers(self, server: socket.socket, client: socket.socket, swallow: threading.Event) -> None:
        with _closing(client, server):
            for data in _received(server):
                if swallow.is_set() and not data.startswith(b"HTTP/1.1 100"):
                    return
                client.sendall(data)

    def _trouble_of(self, data: bytes) -> Trouble | None:
        first_line = data.split(b"\r\n", 1)[0].decode("latin-1")
        with self._lock:
            for trouble in self._troubles:
                if trouble.times and re.match(trouble.pattern, first_line):
                    trouble.times -= 1
                    return trouble
        return None


def _received(connection: socket.socket) -> Iterator[bytes]:
    while data := connection.recv(CHUNK_BYTES):
        yield data


@contextmanager
def _closing(*connections: socket.socket) -> Iterator[None]:
    """Ends both connections with the block; either side may go away at any time, and the other one's thread with it."""
    with suppress(OSError):
        yield
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
