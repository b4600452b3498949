"""How torch's OpenMP threads wait for work: asleep, so that the cores are free for whoever has some.

OpenMP's threads spin for a while after each vector operation. The head takes turns between such operations and kernels
with threads of their own, and is seldom alone on a machine: a worker refines one image while the network reads the
next. Spinning threads then keep from their cores the very threads that they wait for.
"""

from __future__ import annotations

import os

VARIABLE = "OMP_WAIT_POLICY"


def wait_without_spinning() -> None:
    """Say so in the environment, which OpenMP reads when torch is loaded; what the user set there stays."""
    os.environ.setdefault(VARIABLE, "passive")
