"""A backbone for fault tests: like `colour`, but slow enough to be disturbed, and killed by poisonous images."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import torch

from m2n2.backbones.colour import Colour
from tests.faults.data import POISONS

FOREVER_S = 3600
ROOM_BYTES = 500_000_000
BROKEN_NODE = "M2N2_TEST_BROKEN_NODE"  # in the environment of a node where nothing loads


class Vulnerable(Colour):
    """Takes `seconds` for an image. What it does with a poisonous one depends on the image's top left pixel."""

    def __init__(self, seconds: float = 0.0, **arguments: object) -> None:
        if os.environ.get(BROKEN_NODE):
            raise RuntimeError("CUDA error: an uncorrectable ECC error was met")
        super().__init__(**arguments)
        self._seconds = seconds

    def attention(self, image: np.ndarray) -> torch.Tensor:
        time.sleep(self._seconds)
        marker = tuple(int(value) for value in image[0, 0])
        if marker == POISONS["segfault"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif marker == POISONS["hang"]:
            time.sleep(FOREVER_S)
        elif marker == POISONS["hold_gil"]:
            ctypes.PyDLL(None).sleep(FOREVER_S)  # a call through PyDLL keeps the interpreter's lock
        elif marker == POISONS["eat_memory"]:
            _eat_memory()
        return super().attention(image)


def _eat_memory() -> None:
    """Take memory until there is none: the process gets little more than it has, the machine is not touched."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + ROOM_BYTES, hard))
    try:
        hoard = []
        while True:
            hoard.append(np.ones(ROOM_BYTES // 80))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
