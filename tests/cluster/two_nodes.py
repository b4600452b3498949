"""A real Ray cluster of two nodes on this machine: `ray start` twice, on free ports, in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import requests

from tests.s3_server import credentials, free_ports

TOKEN = "a-token-for-tests-" + "0" * 32
START_TIMEOUT_S = 120.0


class TwoNodes:
    """A head without worker slots (0 CPUs) and a worker node; everybody who speaks to them needs the token."""

    def __init__(self, worker_cpus: int = 2) -> None:
        # Ray's sockets have long names: the directory's must be short.
        self.directory = Path(tempfile.mkdtemp(prefix="rn-", dir="/tmp"))
        gcs, dashboard, client, head_agent, worker_agent = free_ports(5)
        self.gcs_address = f"127.0.0.1:{gcs}"
        self.dashboard_url = f"http://127.0.0.1:{dashboard}"
        self._log = (self.directory / "nodes.log").open("ab")
        shared = ["--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]
        head = ["--head", f"--port={gcs}", "--num-cpus=0", "--num-gpus=0", f"--ray-client-server-port={client}"]
        head += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
        head += [f"--dashboard-agent-listen-port={head_agent}", f"--temp-dir={self.directory}"]
        worker = [f"--address={self.gcs_address}", f"--num-cpus={worker_cpus}", "--num-gpus=0"]
        worker += [f"--dashboard-agent-listen-port={worker_agent}"]
        self._processes = [self._start([*shared, *head])]
        try:
            self._wait_for_dashboard()
            self._processes.append(self._start([*shared, *worker]))
        except BaseException:
            self.stop()
            raise

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs that speaks to the cluster or is part of it."""
        return {
            **os.environ,
            **credentials(),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the dashboard needs."""
        return {"Authorization": f"Bearer {TOKEN}"}

    def stop(self) -> None:
        """End what was started here, and nothing else."""
        mine = [psutil.Process(process.pid) for process in self._processes if process.poll() is None]
        mine += [child for process in mine for child in process.children(recursive=True)]
        for process in mine:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(mine, timeout=20)
        for process in self._processes:
            process.wait()
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).parent / "ray"), "start", *arguments]
        environment = self.environment
        environment.pop("RAY_ADDRESS", None)
        return subprocess.Popen(
            command, stdout=self._log, stderr=self._log, env=environment, cwd=self.directory, start_new_session=True
        )

    def _wait_for_dashboard(self) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                requests.get(f"{self.dashboard_url}/api/jobs/", headers=self.headers, timeout=10).raise_for_status()
                return
            except requests.RequestException:
                if time.monotonic() > give_up_at or self._processes[0].poll() is not None:
                    raise RuntimeError((self.directory / "nodes.log").read_text()[-3000:]) from None
                time.sleep(0.5)
