"""Ray nodes that are processes of this machine, to be killed one by one."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import psutil

from tests.faults.processes import clean_environment, workers_among
from tests.s3_server import free_ports

START_S = 120.0


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
    """A head without room for workers, and nodes with room for `cpus` workers each."""

    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="m2n2-ray-")))
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    address: str = ""
    nodes: list[Node] = field(default_factory=list)

    def start(self, nodes: int, cpus: int = 1) -> None:
        port, client_port = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        head = ["--head", f"--port={port}", f"--ray-client-server-port={client_port}", f"--temp-dir={self.directory}"]
        self._start_node([*head, "--include-dashboard=false", "--num-cpus=0"], "head")
        for _ in range(nodes):
            self.add_node(cpus)

    def add_node(self, cpus: int = 1, **variables: str) -> Node:
        """One more, with `variables` in its environment."""
        arguments = [f"--address={self.address}", f"--num-cpus={cpus}"]
        return self._start_node(arguments, f"node-{len(self.nodes)}", variables)

    def workers(self) -> list[psutil.Process]:
        return [worker for node in self.nodes if node.process.poll() is None for worker in node.workers()]

    def environment(self) -> dict[str, str]:
        """What a driver needs to be let in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.directory, ignore_errors=True)  # Ray's agents may still write their last lines there

    def _start_node(self, arguments: list[str], name: str, variables: Mapping[str, str] = MappingProxyType({})) -> Node:
        log = self.directory / f"{name}.log"
        common = ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats", "--block"]
        ports = ["--min-worker-port=0", "--max-worker-port=0"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / "ray"), "start", *arguments, *common, *ports],
                env=clean_environment(self.environment() | dict(variables)),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.nodes.append(Node(process, log))
        give_up_at = time.monotonic() + START_S
        while b"--block" not in log.read_bytes():  # what Ray says last, once the node is up
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.2)
        return self.nodes[-1]
