"""A cache of arrays that forgets what was used longest ago; safe to use from several threads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """Keeps the entries used last, up to `limit_bytes` in all (and the newest in any case)."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        """The entry, now the one used last, or None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Key, value: Value, size_bytes: int) -> None:
        """Enter or replace, and forget what was used longest ago until the limit holds."""
        with self._lock:
            if key in self._entries:
                self._used_bytes -= self._entries.pop(key)[1]
            self._entries[key] = (value, size_bytes)
            self._used_bytes += size_bytes
            while self._used_bytes > self._limit_bytes and len(self._entries) > 1:
                self._used_bytes -= self._entries.popitem(last=False)[1][1]

    @property
    def used_bytes(self) -> int:
        """What the entries take, as `put` was told."""
        with self._lock:
            return self._used_bytes
