"""A run's parts as they were listed at one moment: what every pass over a run reads, also while more parts arrive.

Identifiers come from the plan: an image's is its place among all planned images, an object's its place among all
planned objects, both counted from 1. So they are the same at every moment of a run and after every retry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

import pyarrow as pa

from pipeline.failure import Failure
from pipeline.parts import ForeignPart, Row, by_shard, error_of, part_key, read_part
from pipeline.plan import Plan, read_names, shards_up_to
from pipeline.provenance import read_provenance
from pipeline.shards.part_sizes import PartSizes
from pipeline.storage.read_ahead import in_order
from pipeline.storage.store import Store

# Version 0.1 wrote masks without a pixel as masks.
EMPTY: Row = {"rle": None, "bbox": None, "area": None, "score": None} | {
    "error": error_of(Failure("empty_mask", "no pixel of the image is on the object"))
}
PROVENANCE = "provenance"


@dataclass(frozen=True)
class LabelledImage:
    """One image: its identifier, and of each of its objects the newest row with the object's identifier as `id`."""

    id: int
    rows: list[Row]


@dataclass(frozen=True)
class AttemptParts:
    """One attempt: its plan, of each of its shards that had a part the part's size in bytes, and when the last came.

    Attributes:
        manifests: the files of its manifests by their number, where all were fetched already; a hundred bytes a shard
            and what its failures take.
    """

    plan: Plan
    sizes: PartSizes
    newest: datetime | None = None
    manifests: Mapping[int, bytes] | None = None

    @property
    def missing(self) -> list[str]:
        """Keys of the parts that were not there."""
        return [part_key(self.plan.root, shard) for shard in self.sizes.missing()]


@dataclass(frozen=True)
class FrozenParts:
    """The parts of all attempts at one moment. Parts never change, so what is read through this never does either."""

    store: Store
    attempts: Sequence[AttemptParts]

    @property
    def digest(self) -> str:
        """sha256 of the list: of every part its attempt, shard and size, and of every plan its fingerprint."""
        digest = hashlib.sha256()
        for text in self._as_json():
            digest.update(text.encode())
        return digest.hexdigest()

    def _as_json(self) -> Iterator[str]:
        """The list, a part at a time: as objects, a million of them take 150 MB."""
        yield "["
        for number, each in enumerate(self.attempts):
            yield f"{', ' if number else ''}[{json.dumps(each.plan.root)}, {json.dumps(each.plan.fingerprint)}, ["
            for place, (shard, size) in enumerate(each.sizes.items()):
                yield f"{', ' if place else ''}[{shard}, {size}]"
            yield "]]"
        yield "]"

    @property
    def missing(self) -> list[str]:
        """Keys of the parts that were not there: the run was complete if there are none."""
        return [key for each in self.attempts for key in each.missing]


def freeze_parts(store: Store, attempts: Sequence[Plan]) -> FrozenParts:
    """List the parts of these attempts (from `all_attempts`), once.

    Raises:
        ForeignPart: a part of a shard that no plan has.
    """
    return FrozenParts(store, tuple(_listed(store, plan) for plan in attempts))


def newest_rows(parts: FrozenParts, columns: Sequence[str] | None = None) -> Iterator[LabelledImage]:
    """Every image that has rows, in the plan's order, with each object's row from its newest attempt.

    All attempts are sorted by image, so they are merged as they are read and memory does not grow with the run.

    Args:
        columns: what is needed besides image, object, area and error; None: every column. "provenance" gives each row
            its Provenance.

    Raises:
        ForeignPart: a part that does not account for its shard's objects.
    """
    if columns is not None:
        columns = list(dict.fromkeys(["image", "object", "area", "error", *columns]))
    first, *later = (_images(parts.store, attempt, columns) for attempt in parts.attempts)
    newer = [Peekable(stream) for stream in later]
    for image in first:
        by_object = {row["object"]: row for row in image.rows}
        for stream in newer:
            for row in stream.take(image.rows[0]["image"]):
                by_object[row["object"]] = row | {"id": by_object[row["object"]]["id"]}
        yield LabelledImage(image.id, list(by_object.values()))


def parts_within(parts: FrozenParts, shards: range) -> FrozenParts:
    """The parts of these shards of the first attempt, and of each later one those that may have their images.

    Raises PlanDamaged.
    """
    first, *later = parts.attempts
    begin = read_names(parts.store, first.plan, shards[0])["image"][0].as_py()
    end = read_names(parts.store, first.plan, shards[-1])["image"][-1].as_py()
    return replace(
        parts,
        attempts=(
            replace(first, sizes=first.sizes.within(shards.start, shards.stop)),
            *(_between(parts.store, attempt, begin, end) for attempt in later),
        ),
    )


def check_against_plan(store: Store, plan: Plan, shard: int, table: pa.Table) -> None:
    """Raise ForeignPart where a part's `image` and `object` are not those of the shard's plan, in its order."""
    planned = read_names(store, plan, shard)
    if not all(table[name].equals(planned[name]) for name in planned.schema.names):
        raise foreign_part(store, plan, shard, table.num_rows)


def without_empty(row: Row) -> Row:
    """The row; one of version 0.1 whose mask has no pixel as the failure that it is."""
    return row | EMPTY if row["area"] == 0 else row


def _listed(store: Store, plan: Plan) -> AttemptParts:
    sizes = PartSizes(len(plan.shards))
    foreign: list[int] = []
    newest: datetime | None = None
    for shard, entry in by_shard(store.listing(f"{plan.root}parts")):
        if shard >= len(plan.shards):
            foreign.append(shard)
            continue
        sizes.add(shard, entry.size)
        newest = entry.modified if newest is None else max(newest, entry.modified)
    if foreign:
        key = store.url(part_key(plan.root, min(foreign)))
        raise ForeignPart(f"{key}: is of no shard of the plan, which has {len(plan.shards)}")
    return AttemptParts(plan, sizes, newest)


def _between(store: Store, attempt: AttemptParts, begin: str, end: str) -> AttemptParts:
    """An attempt's parts from the one that may have the image `begin` up to the one that may have `end`."""
    first, stop = max(0, shards_up_to(store, attempt.plan, begin) - 1), shards_up_to(store, attempt.plan, end)
    return replace(attempt, sizes=attempt.sizes.within(first, stop))


def _images(store: Store, attempt: AttemptParts, columns: Sequence[str] | None) -> Iterator[LabelledImage]:
    plan = attempt.plan
    stored = columns and [name for name in columns if name != PROVENANCE]
    tables = in_order(lambda shard: read_part(store, plan, shard, stored, attempt.sizes[shard]), attempt.sizes)
    for shard, table in zip(attempt.sizes, tables, strict=True):
        rows: list[Row] = table.to_pylist()
        first_object = int(plan.shards.objects_before[shard]) + 1
        if columns and PROVENANCE in columns:
            _add_provenance(rows, table.schema.metadata, plan)
        rows = [without_empty(row) | {"id": number} for number, row in enumerate(rows, first_object)]
        images = [list(members) for _, members in groupby(rows, key=lambda row: str(row["image"]))]
        if (len(images), len(rows)) != (plan.shards[shard].images, plan.shards[shard].objects):
            raise foreign_part(store, plan, shard, len(rows))
        for number, members in enumerate(images, start=int(plan.shards.images_before[shard]) + 1):
            yield LabelledImage(number, members)


def _add_provenance(rows: Sequence[Row], metadata: Mapping[bytes, bytes] | None, plan: Plan) -> None:
    of_part = read_provenance(metadata, lambda: plan)
    for row in rows:
        row[PROVENANCE] = of_part


def foreign_part(store: Store, plan: Plan, shard: int, rows: int) -> ForeignPart:
    """A part with so many rows that are not its shard's objects."""
    planned = plan.shards[shard].objects
    key = store.url(part_key(plan.root, shard))
    return ForeignPart(f"{key}: has {rows} rows that are not the {planned} objects of shard {shard}")


class Peekable:
    """A later attempt's images, each given up only when asked for."""

    def __init__(self, stream: Iterator[LabelledImage]) -> None:
        self._stream = stream
        self._next = next(stream, None)

    def take(self, image: str) -> list[Row]:
        """The rows of an image, none where it is not in this attempt; images are asked for in their order."""
        while self._next is not None and self._next.rows[0]["image"] < image:
            self._next = next(self._stream, None)  # of an image whose first part is lost
        if self._next is None or self._next.rows[0]["image"] != image:
            return []
        rows = self._next.rows
        self._next = next(self._stream, None)
        return rows
