"""Notes that a driver leaves for the next one on the same plan, below `status/`: replaced as a whole, never shared.

A plan that was made anew finds the old one's notes there, and must not believe them: they name their plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.storage.store import Store


def write_notes(store: Store, key: str, fingerprint: str, notes: Mapping[str, Any]) -> None:
    """Replace what stands at `key`; of several drivers the last one's."""
    store.put(key, json.dumps({"fingerprint": fingerprint, **notes}).encode())


def read_notes(store: Store, key: str, fingerprint: str) -> Mapping[str, Any] | None:
    """What an earlier driver left about the plan with this fingerprint; None where there is nothing."""
    try:
        notes: dict[str, Any] = json.loads(store.read(key))
    except FileNotFoundError:
        return None
    return notes if notes["fingerprint"] == fingerprint else None
