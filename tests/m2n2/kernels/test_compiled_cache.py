"""The package on a disk that cannot be written, for a user whose home cannot be written either."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import m2n2

IMPORT_AND_COMPILE = """
import os
import numpy as np
import m2n2
{spoil}
from m2n2.kernels.radix_sort import stable_order
print(os.environ.get("NUMBA_CACHE_DIR"))
"""


@pytest.fixture
def read_only_install(tmp_path: Path) -> Path:
    """A copy of the package beside which nothing can be kept: files stand where numba would make its folders."""
    source = Path(m2n2.__file__).parent
    copy = tmp_path / "site" / "m2n2"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("in the way")
    return copy.parent


def compile_in(site: Path, spoil: str = "") -> subprocess.CompletedProcess[str]:
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": f"{os.devnull}/cache", "PYTHONPATH": str(site)}
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"} | nowhere
    code = IMPORT_AND_COMPILE.format(spoil=spoil)
    return subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=site
    )


def test_kernels_are_compiled_into_a_temporary_folder_that_goes_with_the_process(read_only_install: Path) -> None:
    ended = compile_in(read_only_install)
    assert ended.returncode == 0, ended.stderr
    folder = Path(ended.stdout.strip())
    assert folder.name.startswith("m2n2-compiled-")
    assert not folder.exists()


def test_without_it_numba_refuses_to_load_them(read_only_install: Path) -> None:
    spoil = "del os.environ['NUMBA_CACHE_DIR']; import numba; numba.config.reload_config()"
    ended = compile_in(read_only_install, spoil)
    assert ended.returncode != 0
    assert "cannot cache function" in ended.stderr
