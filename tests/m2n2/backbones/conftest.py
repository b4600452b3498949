"""Photos that several tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    return [np.load(DATA / f"{name}_24.npz")["image"] for name in ("coffee", "astronaut", "chelsea")]
