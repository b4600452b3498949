"""The Triton kernels in Triton's interpreter, on the CPU, against the oracle and products written out in float64.

Triton decides when a kernel is defined whether it is interpreted: hence a process of their own, one for all kernels.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def test_interpreted_they_mean_what_the_torch_forms_mean() -> None:
    pytest.importorskip("triton", reason="Triton comes with torch's CUDA build, or with the extra `test`")
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.m2n2.kernels.gpu.interpreted"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith(" cases\n")
