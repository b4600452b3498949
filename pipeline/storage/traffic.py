"""How much this process has read from storage, and how often storage failed: counted for whoever watches the run."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Traffic:
    """Since the process began: bytes of what was read, and requests that failed in a way that passes by itself."""

    bytes_read: int = 0
    errors: int = 0


_counting = threading.Lock()
_so_far = Traffic()


def count(bytes_read: int = 0, errors: int = 0) -> None:
    """Add to what was counted, from any thread."""
    global _so_far
    with _counting:
        _so_far = Traffic(_so_far.bytes_read + bytes_read, _so_far.errors + errors)


def traffic() -> Traffic:
    """What was counted so far."""
    return _so_far
