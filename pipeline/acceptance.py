"""What a person has accepted: so many failed objects in an output or a library are no longer a bad ending.

Acceptances are records that are created once; nobody has to remember which command was started with which option.
"""

from __future__ import annotations

import json
import platform
import uuid
from datetime import UTC, datetime

from pipeline.storage.store import Store

FOLDER = "accepted"


def accept_failures(store: Store, failed: int, objects: int) -> None:
    """Record that `failed` of `objects` objects may stay without a mask."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    document = {"failed": failed, "objects": objects, "at": now, "host": platform.node()}
    key = f"{FOLDER}/{now[:10]}-{uuid.uuid4().hex[:8]}.json"
    store.put_new(key, json.dumps(document, indent=1).encode())


def accepted_failures(store: Store) -> int:
    """How many failed objects have been accepted: the largest number of all records; 0 where there is none."""
    records = [json.loads(store.read(entry.key)) for entry in store.listing(FOLDER)]
    return max((int(record["failed"]) for record in records), default=0)
