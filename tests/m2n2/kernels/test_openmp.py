"""How long OpenMP's threads spin, by what it says itself when torch is loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("users", "imports", "spins"),
    [
        (None, "import m2n2, torch", False),
        ("active", "import m2n2, torch", True),
        (None, "import torch", True),  # or the test would tell nothing
        (None, "import pipeline.worker.labeler, torch", False),  # as Ray's worker makes its actor
    ],
)
def test_threads_wait_asleep_unless_the_user_says_otherwise(users: str | None, imports: str, spins: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "verbose"} | ({"OMP_WAIT_POLICY": users} if users else {})
    ended = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, check=True, env=environment)
    counts = [int(each) for each in re.findall(r"GOMP_SPINCOUNT = '(\d+)'", ended.stderr)]
    assert counts
    assert all((count > 0) == spins for count in counts)
