"""A run's parts as they were listed at one moment: what every pass over a run reads, also while more parts arrive.

Identifiers come from the plan: an image's is its place among all planned images, an object's its place among all
planned objects, both counted from 1. So they are the same at every moment of a run and after every retry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

from pipeline.failure import Failure
from pipeline.parts import PART_NAME, ForeignPart, Row, error_of, part_key, read_part
from pipeline.plan import Plan, read_shard
from pipeline.provenance import read_provenance
from pipeline.storage.store import Store

# Version 0.1 wrote masks without a pixel as masks.
EMPTY: Row = {"rle": None, "bbox": None, "area": None, "score": None} | {
    "error": error_of(Failure("empty_mask", "no pixel of the image is on the object"))
}
STORED_AS = {"provenance": "clicks_digest"}


@dataclass(frozen=True)
class LabelledImage:
    """One image: its identifier, and of each of its objects the newest row with the object's identifier as `id`."""

    id: int
    rows: list[Row]


@dataclass(frozen=True)
class AttemptParts:
    """One attempt: its plan, and of each of its shards that had a part the part's size in bytes."""

    plan: Plan
    sizes: Mapping[int, int]

    @property
    def missing(self) -> list[str]:
        """Keys of the parts that were not there."""
        return [part_key(self.plan.root, each.index) for each in self.plan.shards if each.index not in self.sizes]


@dataclass(frozen=True)
class FrozenParts:
    """The parts of all attempts at one moment. Parts never change, so what is read through this never does either."""

    store: Store
    attempts: Sequence[AttemptParts]

    @property
    def digest(self) -> str:
        """sha256 of the list: of every part its attempt, shard and size, and of every plan its fingerprint."""
        listed = [[each.plan.root, each.plan.fingerprint, sorted(each.sizes.items())] for each in self.attempts]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    @property
    def missing(self) -> list[str]:
        """Keys of the parts that were not there: the run was complete if there are none."""
        return [key for each in self.attempts for key in each.missing]


def freeze_parts(store: Store, attempts: Sequence[Plan]) -> FrozenParts:
    """List the parts of these attempts (from `all_attempts`), once.

    Raises:
        ForeignPart: a part of a shard that no plan has.
    """
    return FrozenParts(store, tuple(AttemptParts(plan, _listed(store, plan)) for plan in attempts))


def newest_rows(
    parts: FrozenParts, columns: Sequence[str] | None = None, against_plan: bool = False
) -> Iterator[LabelledImage]:
    """Every image that has rows, in the plan's order, with each object's row from its newest attempt.

    All attempts are sorted by image, so they are merged as they are read and memory does not grow with the run.

    Args:
        columns: what is needed besides image, object, area and error; None: every column. "provenance" gives each row
            its Provenance.
        against_plan: compare every part with its shard's plan, object by object.

    Raises:
        ForeignPart: a part that does not account for exactly its shard's objects.
        PlanDamaged: a shard's plan is gone or is not the one that was sealed.
    """
    if columns is not None:
        columns = list(dict.fromkeys(["image", "object", "area", "error", *columns]))
    first, *later = (_images(parts.store, attempt, columns, against_plan) for attempt in parts.attempts)
    newer = [_Peekable(stream) for stream in later]
    for image in first:
        by_object = {row["object"]: row for row in image.rows}
        for stream in newer:
            for row in stream.take(image.rows[0]["image"]):
                by_object[row["object"]] = row | {"id": by_object[row["object"]]["id"]}
        yield LabelledImage(image.id, list(by_object.values()))


def _listed(store: Store, plan: Plan) -> dict[int, int]:
    found = ((PART_NAME.search(entry.key), entry) for entry in store.listing(f"{plan.root}parts"))
    sizes = {int(name[1]): entry.size for name, entry in found if name}
    planned = {shard.index for shard in plan.shards}
    if foreign := sorted(sizes.keys() - planned):
        key = store.url(part_key(plan.root, foreign[0]))
        raise ForeignPart(f"{key}: is of no shard of the plan, which has {len(planned)}")
    return sizes


def _images(
    store: Store, attempt: AttemptParts, columns: Sequence[str] | None, against_plan: bool
) -> Iterator[LabelledImage]:
    plan = attempt.plan
    images_before = list(accumulate((shard.images for shard in plan.shards), initial=0))
    objects_before = list(accumulate((shard.objects for shard in plan.shards), initial=0))
    for shard in sorted(attempt.sizes):
        table = read_part(store, plan, shard, columns and [STORED_AS.get(name, name) for name in columns])
        rows: list[Row] = table.to_pylist()
        if columns and "provenance" in columns:
            _add_provenance(rows, table.schema.metadata, plan)
        if against_plan:
            _check_against_plan(store, plan, shard, rows)
        for number, row in enumerate(rows, start=objects_before[shard] + 1):
            row["id"] = number
            if row["area"] == 0:
                row.update(EMPTY)
        images = [list(members) for _, members in groupby(rows, key=lambda row: str(row["image"]))]
        if (len(images), len(rows)) != (plan.shards[shard].images, plan.shards[shard].objects):
            raise _foreign(store, plan, shard, len(rows))
        for number, members in enumerate(images, start=images_before[shard] + 1):
            yield LabelledImage(number, members)


def _add_provenance(rows: Sequence[Row], metadata: Mapping[bytes, bytes] | None, plan: Plan) -> None:
    of_part = read_provenance(metadata, lambda: plan)
    for row in rows:
        row["provenance"] = replace(of_part, clicks=row.pop("clicks_digest", None))


def _check_against_plan(store: Store, plan: Plan, shard: int, rows: Sequence[Row]) -> None:
    planned = [(each.image, each.object) for image in read_shard(store, plan, shard) for each in image.objects]
    if [(row["image"], row["object"]) for row in rows] != planned:
        raise _foreign(store, plan, shard, len(rows))


def _foreign(store: Store, plan: Plan, shard: int, rows: int) -> ForeignPart:
    planned = plan.shards[shard].objects
    key = store.url(part_key(plan.root, shard))
    return ForeignPart(f"{key}: has {rows} rows that are not the {planned} objects of shard {shard}")


class _Peekable:
    """A later attempt's images, each given up only when asked for."""

    def __init__(self, stream: Iterator[LabelledImage]) -> None:
        self._stream = stream
        self._next = next(stream, None)

    def take(self, image: str) -> list[Row]:
        while self._next is not None and self._next.rows[0]["image"] < image:
            self._next = next(self._stream, None)  # of an image whose first part is lost
        if self._next is None or self._next.rows[0]["image"] != image:
            return []
        rows = self._next.rows
        self._next = next(self._stream, None)
        return rows
