"""What the tests of plans begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return put_dataset(Store(str(tmp_path)), images=5)
