"""What a person has accepted: so many failed objects in an output or a library are no longer a bad ending.

Acceptances are records that are created once; nobody has to remember which command was started with which option.
"""

from __future__ import annotations

import json

from pipeline.records import create_record
from pipeline.storage.store import Store

FOLDER = "accepted"


def accept_failures(store: Store, failed: int, objects: int) -> None:
    """Record that `failed` of `objects` objects may stay without a mask."""
    create_record(store, f"{FOLDER}/", {"failed": failed, "objects": objects})


def accepted_failures(store: Store) -> int:
    """How many failed objects have been accepted: the largest number of all records; 0 where there is none."""
    records = [json.loads(store.read(entry.key)) for entry in store.listing(FOLDER)]
    return max((int(record["failed"]) for record in records), default=0)
