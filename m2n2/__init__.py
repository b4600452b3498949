"""M2N2: instance masks from clicks by Stable Diffusion's self-attention, read as a Markov chain.

`Scene` is loaded when it is first used, so that what only needs `Settings` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from m2n2.kernels.compiled_cache import keep_compiled_somewhere
from m2n2.kernels.openmp import wait_without_spinning
from m2n2.prompt import Prompt
from m2n2.settings import Settings

if TYPE_CHECKING:
    from m2n2.scene import Mask, Scene

__all__ = ["Mask", "Prompt", "Scene", "Settings", "__version__"]

# The one place: pyproject.toml takes it from here, and code that travels to a cluster without being installed has it.
__version__ = "0.2.0.dev0"

# Both before numba and torch are loaded.
keep_compiled_somewhere()
wait_without_spinning()


def __getattr__(name: str) -> Any:
    if name in ("Scene", "Mask"):
        from m2n2 import scene

        return getattr(scene, name)
    raise AttributeError(f"module 'm2n2' has no attribute {name!r}")
