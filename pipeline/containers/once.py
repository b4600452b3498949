"""What is made once for all threads that want it at the same time, and remembered up to a size."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

from m2n2.kernels.bounded_cache import BoundedCache

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Once(Generic[Key, Value]):
    """Values by key. Safe to use from several threads."""

    def __init__(self, make: Callable[[Key], tuple[Value, int]], limit_bytes: int) -> None:
        """`make` gives a value and how many bytes it takes; those used last are remembered up to `limit_bytes`."""
        self._make = make
        self._known: BoundedCache[Key, Value] = BoundedCache(limit_bytes)
        self._making: dict[Key, Future[Value]] = {}
        self._lock = Lock()

    def get(self, key: Key) -> Value:
        """The value; what making it raises comes to all who wait for it, and is not remembered."""
        with self._lock:
            if (known := self._known.get(key)) is not None:
                return known
            mine = key not in self._making
            making = self._making.setdefault(key, Future())
        if mine:
            try:
                value, size = self._make(key)
                self._known.put(key, value, size)
                making.set_result(value)
            except BaseException as error:
                making.set_exception(error)
            finally:
                with self._lock:
                    del self._making[key]
        return making.result()
