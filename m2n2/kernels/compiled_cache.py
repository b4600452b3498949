"""Where numba keeps what it compiled: a folder of this process's own where it finds no other."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import m2n2.kernels

VARIABLE = "NUMBA_CACHE_DIR"


def keep_compiled_somewhere() -> None:
    """Give numba a temporary folder where neither this package's nor the user's own can be written.

    It would refuse to load the kernels there ("cannot cache function"). Processes that this one starts use the folder
    too. Nobody else's folder will do: what is found in one is run.
    """
    if os.environ.get(VARIABLE) or any(map(_can_be_written, _numbas_own())):
        return
    folder = tempfile.mkdtemp(prefix="m2n2-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder
    if "numba" in sys.modules:
        sys.modules["numba"].config.reload_config()


def _numbas_own() -> list[Path]:
    beside = Path(m2n2.kernels.__file__).parents[1] / "__pycache__"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [beside, Path(cache).expanduser() / "numba"]


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
