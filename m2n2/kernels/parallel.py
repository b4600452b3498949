"""One pool of threads for the CPU stages.

The kernels release the interpreter's lock and work on a strip of rows or on one map each. A pool of our own is used
instead of numba's parallel loops, because those may not be entered from several Python threads at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

_making = threading.Lock()  # while its threads settle their number, another thread would read a wrong one
_inside = threading.local()  # a thread of the pool that waited for the pool might wait for ever

DEVICE_BLOCK_VALUES = 1 << 25  # values of one block of rows on a GPU

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_parallel(work: Callable[[Task], Result], tasks: Iterable[Task]) -> list[Result]:
    """`[work(task) for task in tasks]` on all cores; where `work` calls it again, that runs in its own thread."""
    tasks = list(tasks)
    if len(tasks) < 2 or getattr(_inside, "pool", False):
        return [work(task) for task in tasks]
    with _making:
        pool = _pool()
    return list(pool.map(work, tasks))


def strips(rows: int, rows_each: int) -> list[tuple[int, int]]:
    """`(first, last)` row ranges that cover `rows`; they do not depend on the number of threads."""
    return [(first, min(first + rows_each, rows)) for first in range(0, rows, rows_each)]


def device_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Blocks of a matrix's rows, small enough to be copied in float32 beside the matrix on a GPU."""
    return (slice(first, last) for first, last in strips(rows, max(1, DEVICE_BLOCK_VALUES // columns)))


def threads() -> int:
    """How many tasks run at once."""
    # As many as torch was given, so that OMP_NUM_THREADS (which Ray sets for each actor) holds for both.
    return max(1, torch.get_num_threads())


@cache
def _pool() -> ThreadPoolExecutor:
    count = threads()
    all_here = threading.Barrier(count)
    pool = ThreadPoolExecutor(count, thread_name_prefix="m2n2", initializer=_enter_pool)
    list(pool.map(lambda _: all_here.wait(), range(count)))
    torch.set_num_threads(count)  # torch remembers the last number for threads that are yet to come
    return pool


def _enter_pool() -> None:
    _inside.pool = True
    torch.get_num_threads()  # the question makes torch settle a new thread's number, which it does once
    torch.set_num_threads(1)  # or its operations in each of these would start as many threads again


def _begin_anew() -> None:
    """A forked process has the pool, but none of its threads, and the lock as it was."""
    global _making
    _making = threading.Lock()
    _pool.cache_clear()


os.register_at_fork(after_in_child=_begin_anew)
