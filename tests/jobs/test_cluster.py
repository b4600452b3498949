"""An address of a Ray cluster is looked at before Ray would wait for it by the minute."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import ray

from jobs import cluster
from jobs.cluster import NoCluster, check_address, connected
from pipeline.config import InvalidJob, parse_job
from tests.faults.cluster import Cluster
from tests.s3_server import free_ports


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """A server that answers whatever it is told with these bytes, closes at once (empty), or keeps silent (None)."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if answer != b"":
                self.request.recv(100)
            if answer is None:
                over.wait(30)
            else:
                self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server, ExitStack() as stack:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        stack.callback(server.shutdown)
        stack.callback(over.set)
        yield f"127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", InvalidJob, "speaks HTTP; allowed: HOST:PORT of a Ray head"),
        (b"-ERR unknown command\r\n", NoCluster, "what listens there does not speak gRPC"),
        (b"", NoCluster, "no Ray answers at"),
        (None, NoCluster, "no Ray answers at .*timed out"),
    ],
)
def test_who_listens_and_is_not_ray_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | None, error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_S", 0.2)
    with listening(answer) as address, pytest.raises(error, match=f"^RAY_ADDRESS: .*{message}"):
        check_address(address, "RAY_ADDRESS")


def test_nobody_listens() -> None:
    with pytest.raises(NoCluster, match=r"^--address: no Ray answers at 127"):
        check_address(f"127.0.0.1:{free_ports(1)[0]}", "--address")


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "the head", "127.0.0.1", "127.0.0.1:port", "a/b:1"])
def test_what_is_no_address_is_refused_without_a_look(address: str) -> None:
    with pytest.raises(InvalidJob, match=r"allowed: HOST:PORT of a Ray head"):
        check_address(address, "--address")


def test_a_ray_of_our_own_that_could_never_hold_a_worker_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    started, ended = [], []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", lambda **options: started.append(options))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    job = parse_job({"images": "a", "clicks": "b", "output": "c", "workers": {"gpus": 64}}, "job")
    message = r"^workers\.gpus: found 64; allowed: at most 0, what this machine has \(on a machine without a GPU: "
    with pytest.raises(InvalidJob, match=message), connected(job, None):
        raise AssertionError("the run began")
    assert len(started) == len(ended) == 1


@pytest.mark.parametrize(("slow_starts", "comes_up"), [(2, True), (3, False)])
def test_a_ray_of_our_own_that_comes_up_too_slowly_is_started_again_and_given_up_in_one_line(
    monkeypatch: pytest.MonkeyPatch, slow_starts: int, comes_up: bool
) -> None:
    started: list[object] = []

    def start(**options: object) -> None:
        started.append(options)
        if len(started) <= slow_starts:
            raise Exception("The current node timed out during startup. This could happen because")  # as Ray does

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    job = parse_job({"images": "a", "clicks": "b", "output": "c", "workers": {"gpus": 0}}, "job")
    if comes_up:
        with connected(job, None):
            assert len(started) == slow_starts + 1
    else:
        with pytest.raises(NoCluster, match="did not come up on this machine, 3 times"), connected(job, None):
            raise AssertionError("the run began")


def test_a_ray_head_is_let_through(cluster: Cluster) -> None:
    check_address(cluster.address, "--address")
