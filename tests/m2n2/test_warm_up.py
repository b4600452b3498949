"""After the warm-up an image compiles nothing, so that its time is its own."""

from __future__ import annotations

import subprocess
import sys

from m2n2 import Settings
from m2n2.warm_up import warm_up

CODE = """
import sys
import numpy as np, torch
from numba.core.dispatcher import Dispatcher
from m2n2 import Prompt, Scene, Settings
from m2n2.warm_up import warm_up

def compiled():
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("m2n2")]
    kernels = {value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)}
    return {kernel.py_func.__qualname__: len(kernel.signatures) for kernel in kernels}

warm_up(Settings())
before = compiled()
rng = np.random.default_rng(0)
attention = torch.from_numpy(rng.random((16, 16, 16, 16), np.float32))
attention /= attention.sum((2, 3), keepdim=True)
scene = Scene(rng.integers(0, 255, (72, 96, 3), np.uint8), attention, Settings())
scene.segment([Prompt([(30.0, 30.0), (60.5, 40.0)], [True, False]), Prompt([(66.0, 44.0)], [True])])
assert len(before) > 5 and sum(before.values()) > 5, before
assert compiled() == before, (before, compiled())
"""


def test_an_image_after_it_compiles_nothing() -> None:
    ended = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_settings_that_read_keys_are_warmed_up_with_keys() -> None:
    warm_up(Settings.refined())
