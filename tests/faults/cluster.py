"""Ray nodes that are processes of this machine, to be killed one by one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import psutil

from tests.faults.processes import clean_environment, workers_among
from tests.s3_server import free_ports

START_S = 120.0
NO_SPARE_WORKERS = {"RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0"}  # a second of CPU each
STARTS = 4  # Ray gives a node 30 s to come up, hard-wired; a machine that others use may need longer
SESSION_TOKEN = "a-token-for-tests-" + "1" * 32  # Ray takes none that is short


@dataclass
class Node:
    """One node: `ray start --block` and everything that it started."""

    process: subprocess.Popen[bytes]
    log: Path

    def family(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        return workers_among(self.family())

    def kill(self) -> None:
        """As a machine that loses power: all of its processes at once."""
        if self.process.poll() is not None:
            return
        # Stopped first, so that none of them sees another one die and has time to say goodbye.
        family = self.family()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for each in family:
                if each.is_running():
                    each.send_signal(number)
        self.process.wait()


@dataclass
class Cluster:
    """A head, and further nodes, with room for as many workers as they have CPUs."""

    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="m2n2-ray-")))
    address: str = ""
    nodes: list[Node] = field(default_factory=list)

    def start(self, cpus: int) -> None:
        """Start the head."""
        port, client_port = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        head = ["--head", f"--port={port}", f"--ray-client-server-port={client_port}", f"--temp-dir={self.directory}"]
        self._start_node([*head, "--include-dashboard=false", "--no-monitor", f"--num-cpus={cpus}"], "head")

    def add_node(self, cpus: int = 1, **variables: str) -> Node:
        """One more, with `variables` in its environment."""
        arguments = [f"--address={self.address}", f"--num-cpus={cpus}"]
        return self._start_node(arguments, f"node-{len(self.nodes)}", variables)

    def workers(self) -> list[psutil.Process]:
        return [worker for node in self.nodes if node.process.poll() is None for worker in node.workers()]

    def environment(self) -> dict[str, str]:
        """What a driver needs to be let in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": SESSION_TOKEN}

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.directory, ignore_errors=True)  # Ray's agents may still write their last lines there

    def _start_node(self, arguments: list[str], name: str, variables: Mapping[str, str] = MappingProxyType({})) -> Node:
        log = self.directory / f"{name}.log"
        for _ in range(STARTS):
            process = self._start(arguments, log, variables)
            if _is_up(process, log):
                break
            _kill_session_of(process)
        else:
            raise AssertionError(log.read_text())
        self.nodes.append(Node(process, log))
        return self.nodes[-1]

    def _start(self, arguments: list[str], log: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        common = ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats", "--block"]
        ports = ["--min-worker-port=0", "--max-worker-port=0", "--include-log-monitor=false"]
        with log.open("wb") as file:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / "ray"), "start", *arguments, *common, *ports],
                env=clean_environment(self.environment() | NO_SPARE_WORKERS | dict(variables)),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )


def _is_up(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Wait until the node is up, or has given up."""
    give_up_at = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < give_up_at:
        if b"--block" in log.read_bytes():  # what Ray says last
            return True
        time.sleep(0.2)
    return False


def _kill_session_of(process: subprocess.Popen[bytes]) -> None:
    """A node that gave up leaves what it had started behind."""
    for each in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(each.pid) == process.pid:
                each.kill()
    process.wait()
