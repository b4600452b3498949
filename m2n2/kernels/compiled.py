"""How the kernels are compiled: without the interpreter's lock, kept on disk, and no more of it than is called.

The first call of all waits for it. So what only allocates, or only passes arrays on, stays in Python around the
kernels: numba compiles each way of making an array, and a function again in every one that calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Kernel], Kernel]:
    """`numba.njit` with what all kernels share; `options` are its own."""
    make: Any = njit  # whose stubs do not know every option
    # Nobody calls the kernels from C: without the door for that the first call waits a tenth less.
    decorate: Callable[[Kernel], Kernel] = make(nogil=True, cache=True, no_cfunc_wrapper=True, **options)
    return decorate
