"""Records of what a person did: created once below an output or a library, with when and where, and never changed."""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline.storage.store import Store


def create_record(store: Store, prefix: str, about: Mapping[str, object]) -> None:
    """Create `PREFIX` + date and a random part, with `about`, the time (UTC, ISO 8601) and this machine's name."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    document = {**about, "at": now, "host": platform.node()}
    store.put_new(f"{prefix}{now[:10]}-{uuid.uuid4().hex[:8]}.json", json.dumps(document, indent=1).encode())
