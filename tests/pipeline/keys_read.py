"""What a store is asked for, written down."""

from __future__ import annotations

import pytest

from pipeline.storage.store import Store


def keys_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of objects that are read whole from now on."""
    keys: list[str] = []
    read = Store.read

    def noting(store: Store, key: str) -> bytes:
        keys.append(key)
        return read(store, key)

    monkeypatch.setattr(Store, "read", noting)
    return keys
