"""What people said of masks: `review/decisions-*.parquet` below a run or a library, created once, never changed.

A decision is of one mask, named by a digest of its pixels: of one that a later run or night has made anew, nothing is
decided yet. Of several decisions about a mask the newest one holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import pyarrow as pa

from pipeline.storage.parquet import DamagedObject, parquet_bytes, read_parquet
from pipeline.storage.store import Store

FOLDER, PREFIX = "review", "decisions-"
Verdict = Literal["accept", "reject", "undecided"]
DECISION = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("mask", pa.string()),  # null where the object has none
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("decided", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True)
class Decision:
    """What somebody said of an object's mask, and when; `mask` is its digest, None where there is no mask.

    `undecided` takes back what was said before.
    """

    image: str
    object: str
    mask: str | None
    verdict: Verdict
    reason: str | None
    decided: datetime


class Decisions:
    """The newest decision about every object."""

    def __init__(self, decisions: Sequence[Decision] = ()) -> None:
        self._newest: dict[tuple[str, str], Decision] = {}
        for decision in decisions:
            self.add(decision)

    def add(self, decision: Decision) -> None:
        """Take in a decision, in any order."""
        known = self._newest.get((decision.image, decision.object))
        if known is None or known.decided <= decision.decided:
            self._newest[decision.image, decision.object] = decision

    def about(self, image: str, name: str, mask: str | None) -> Decision | None:
        """What was decided about this very mask of an object; None where nothing was, or it was taken back."""
        decision = self._newest.get((image, name))
        if decision is None or decision.mask != mask or decision.verdict == "undecided":
            return None
        return decision


def mask_digest(rle: Mapping[str, Any]) -> str:
    """What names a mask: of COCO's run lengths, `size` and `counts` as compressed text."""
    return hashlib.sha256(f"{list(rle['size'])} {rle['counts']}".encode()).hexdigest()[:32]


def read_decisions(store: Store) -> Decisions:
    """All decisions below a run or a library. Raises DamagedObject."""
    found = Decisions()
    for entry in store.listing(FOLDER):
        if entry.key.startswith(f"{FOLDER}/{PREFIX}") and entry.key.endswith(".parquet"):
            for row in _rows(read_parquet(store.read(entry.key), store.url(entry.key)), store.url(entry.key)):
                found.add(Decision(**row))
    return found


def write_decisions(store: Store, decisions: Sequence[Decision]) -> str:
    """Create a file of these decisions; the same ones twice are one file. Returns its address."""
    rows = [asdict(each) for each in decisions]
    first = min(each.decided for each in decisions).strftime("%Y-%m-%dT%H%M%S")
    name = hashlib.sha256(repr(decisions).encode()).hexdigest()[:12]
    key = f"{FOLDER}/{PREFIX}{first}-{name}.parquet"
    store.put_new(key, parquet_bytes(pa.Table.from_pylist(rows, schema=DECISION)))
    return store.url(key)


def _rows(table: pa.Table, address: str) -> list[dict[str, Any]]:
    if missing := [name for name in DECISION.names if name not in table.schema.names]:
        raise DamagedObject(
            f"{address}: column {missing[0]} is missing; found columns: {', '.join(table.schema.names)}"
        )
    rows: list[dict[str, Any]] = table.select(DECISION.names).to_pylist()
    for number, row in enumerate(rows):
        if row["verdict"] not in get_args(Verdict):
            allowed = ", ".join(get_args(Verdict))
            raise DamagedObject(f"{address}, row {number}: verdict: found {row['verdict']!r}; allowed: {allowed}")
    return rows
