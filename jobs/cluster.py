"""The connection to Ray: a cluster that is running, or one on this machine for as long as the command runs."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray._private import services
from ray.exceptions import AuthenticationError, RpcError

from pipeline.config import InvalidJob, Job
from pipeline.describe import describe

ANSWER_S = 5.0
# RFC 9113, 3.4: the client's preface and its settings, of which there are none; the server's own have to be first.
SETTINGS_FRAME = b"\x04"
GRPC_BEGINS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + SETTINGS_FRAME + bytes(5)
STARTS, TOO_SLOW = 3, "timed out during startup"
OBJECT_STORE_BYTES = 256_000_000  # images and parts never travel through it, pieces of exports do


class NoCluster(ConnectionError):
    """No Ray answers at an address; it may be there again later."""


@contextmanager
def connected(job: Job | None, address: str | None) -> Iterator[None]:
    """Connect to `address` (default: RAY_ADDRESS, else a Ray of this machine's own); disconnect at the end.

    Args:
        job: whose workers have to find room; None: what is done takes the room that there is.

    Raises:
        InvalidJob: this machine's own Ray could never hold one of the job's workers, or the address is not Ray's.
        NoCluster: nobody answers at the address, or this machine's own Ray does not come up.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    source, address = ("--address", address) if address else ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS"))
    if address:
        check_address(address, source)
        _connect(address, source, quiet)
    else:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        _start(quiet)
    try:
        # Ray puts a handler of its own that ends the process at once: a driver has to drain.
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if job and not address:
            _check_room(job)
        yield
    finally:
        ray.shutdown()


def check_address(address: str, source: str) -> None:
    """Find out within seconds what Ray would wait for by the minute: whether a Ray head is there at all.

    Raises:
        InvalidJob: an address of another kind, such as the dashboard's.
        NoCluster: nobody answers there.
    """
    if address in ("auto", "local") or os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return
    place = address.removeprefix("ray://")
    host, separator, port = place.rpartition(":")
    if "/" in place or not separator or not port.isdigit():
        hint = " (`m2n2 submit` takes the dashboard's)" if address.startswith("http") else ""
        raise InvalidJob(f"{source}: found {address!r}; allowed: HOST:PORT of a Ray head{hint}")
    try:
        answer = _first_answer(host.strip("[]"), int(port))
    except (OSError, OverflowError) as error:
        raise NoCluster(f"{source}: no Ray answers at {address}: {describe(error)}") from error
    if answer.startswith(b"HTTP"):
        raise InvalidJob(f"{source}: {address} speaks HTTP; allowed: HOST:PORT of a Ray head, not of its dashboard")
    if answer[3:4] != SETTINGS_FRAME:
        raise NoCluster(f"{source}: no Ray answers at {address}: what listens there does not speak gRPC")


def _first_answer(host: str, port: int) -> bytes:
    """What a server says to the beginning of gRPC: its settings, where it speaks it. Empty: it closed at once."""
    with socket.create_connection((host, port), timeout=ANSWER_S) as connection:
        connection.settimeout(ANSWER_S)
        connection.sendall(GRPC_BEGINS)
        return connection.recv(9)


def _connect(address: str, source: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **options)
    except AuthenticationError as error:
        raise InvalidJob(f"{source}: the cluster at {address} refuses: {describe(error)}") from error
    except (ConnectionError, RuntimeError, TimeoutError, RpcError) as error:
        raise NoCluster(f"{source}: no Ray that this one can use answers at {address}: {describe(error)}") from error


def _start(options: dict[str, Any]) -> None:
    """A Ray of this machine's own. Ray gives it 30 s to come up; a machine that others use may need longer."""
    for _ in range(STARTS):
        try:
            with _sessions_of_their_own():
                ray.init(include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **options)
            return
        except Exception as error:  # Ray has no class of its own for it
            if TOO_SLOW not in str(error):
                raise
            ray.shutdown()
            failure = error
    raise NoCluster(f"Ray did not come up on this machine, {STARTS} times: {describe(failure)}") from failure


@contextmanager
def _sessions_of_their_own() -> Iterator[None]:
    """For as long as the block runs, Ray's processes get sessions of their own.

    Else a signal to our process group, as `timeout`, systemd, Kubernetes and a terminal send it, would end Ray while
    running shards still finish. Ray has no setting for it. Its processes die with ours all the same: the kernel tells
    them (PR_SET_PDEATHSIG).
    """
    spawning: Any = services
    original = spawning.ConsolePopen
    spawning.ConsolePopen = partial(original, start_new_session=True)
    try:
        yield
    finally:
        spawning.ConsolePopen = original


def _check_room(job: Job) -> None:
    room = ray.cluster_resources()
    for key, resource, wanted in (("gpus", "GPU", job.workers.gpus), ("cpus", "CPU", job.workers.cores)):
        found = room.get(resource, 0.0)
        if wanted > found:
            raise InvalidJob(
                f"workers.{key}: found {wanted:g}; allowed: at most {found:g}, what this machine has "
                f"(on a machine without a GPU: workers.gpus=0)"
            )
