"""Many requests at once, their answers in order: a store answers each after a while, and many in the same while."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

REQUESTS_AT_ONCE = 32


def in_order(
    request: Callable[[Item], Result], items: Iterable[Item], at_once: int = REQUESTS_AT_ONCE
) -> Iterator[Result]:
    """`request` of each item, in the items' order; no more than `at_once` are under way or wait to be taken.

    Raises:
        What the first request that fails raises, when it is its turn.
    """
    threads = ThreadPoolExecutor(at_once, thread_name_prefix="read-ahead")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(threads.submit(request, item))
            if len(waiting) >= at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
