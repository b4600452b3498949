"""Counting a run: from its manifests, and of the shards that have none from the parts' columns."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.frozen_parts import AttemptParts, FrozenParts, LabelledImage, Peekable, check_against_plan
from pipeline.manifests.manifest import COLUMNS, block_of, manifest_key, manifest_rows, present, row_of
from pipeline.parts import Row, read_part
from pipeline.storage.read_ahead import in_order
from pipeline.storage.store import Store

EXAMPLES = 3

log = logging.getLogger("m2n2.run")


@dataclass(frozen=True)
class Counted:
    """The objects of a run that have their row; of these the failed ones by reason, with some messages of each."""

    objects: int
    failed: dict[str, int]
    examples: dict[str, list[str]]


def count_objects(parts: FrozenParts, against_plan: bool = False) -> Counted:
    """Count the objects, each as its newest attempt left it.

    Args:
        against_plan: compare every part without a manifest with its shard's plan, object by object.

    Raises:
        ForeignPart: a part that does not account for exactly its shard's objects.
        PlanDamaged: a shard's plan is gone or is not the one that was sealed.
    """
    failed, examples = Counter[str](), dict[str, list[str]]()
    for _, row in newest_failures(parts, against_plan):
        reason = row["error"]["reason"]
        failed[reason] += 1
        if len(shown := examples.setdefault(reason, [])) < EXAMPLES:
            shown.append(row["error"]["message"])
    first = parts.attempts[0]
    objects = int(first.plan.shards.objects_s[np.fromiter(first.sizes, np.int64)].sum(dtype=np.int64))
    return Counted(objects, dict(failed.most_common()), examples)


def newest_failures(parts: FrozenParts, against_plan: bool = False) -> Iterator[tuple[int, Row]]:
    """The objects that failed and in no later attempt got a mask: shard of the first attempt, and a row of LISTED.

    They come in the plan's order, and beside what `parts` holds no more than a few manifests are in memory. Raises as
    `count_objects` does.
    """
    first, *later = (_shards(parts.store, attempt, against_plan) for attempt in parts.attempts)
    newer = [Peekable(_images(shards)) for shards in later]
    for shard in first:
        for image in _images([shard]):
            by_object = {row["object"]: row for row in image.rows}
            for stream in newer:
                by_object |= {row["object"]: row for row in stream.take(image.rows[0]["image"])}
            for row in by_object.values():
                if row["error"]:
                    yield shard["shard"], row


def _shards(store: Store, attempt: AttemptParts, against_plan: bool) -> Iterator[Row]:
    """Of every shard that has its part and something listed in it the columns shard and listed of MANIFEST."""
    for rows in in_order(partial(_read_unit, store, attempt, against_plan), _units(store, attempt)):
        yield from rows


def _units(store: Store, attempt: AttemptParts) -> Iterator[tuple[int | None, Sequence[int]]]:
    """What is read at once: the manifest of a block for its shards that have a part, or (None) one shard's part."""
    there = present(store, attempt.plan) if attempt.manifests is None else attempt.manifests
    for block, members in groupby(attempt.sizes, key=block_of):
        if block in there:
            yield block, list(members)
        else:
            yield from ((None, [shard]) for shard in members)


def _read_unit(
    store: Store, attempt: AttemptParts, against_plan: bool, unit: tuple[int | None, Sequence[int]]
) -> list[Row]:
    block, shards = unit
    if block is not None:
        fetched = (attempt.manifests or {}).get(block)
        table = manifest_rows(store, attempt.plan, block, ["shard", "size", "listed"], fetched)
        table = table.filter(pc.is_in(table["shard"], pa.array(shards, pa.int32())))
        if table["size"].to_pylist() == [attempt.sizes[shard] for shard in shards]:
            listing = pc.greater(pc.list_value_length(table["listed"]), 0)
            rows: list[Row] = table.filter(listing).select(["shard", "listed"]).to_pylist()
            return rows
        log.warning("%s: parts are not those that it lists", store.url(manifest_key(attempt.plan, block)))
    return [_row_of_columns(store, attempt, shard, against_plan) for shard in shards]


def _row_of_columns(store: Store, attempt: AttemptParts, shard: int, against_plan: bool) -> Row:
    table = read_part(store, attempt.plan, shard, COLUMNS, attempt.sizes[shard])
    if against_plan:
        check_against_plan(store, attempt.plan, shard, table)
    return row_of(store, attempt.plan, shard, table)


def _images(shards: Iterable[Row]) -> Iterator[LabelledImage]:
    for shard in shards:
        for _, rows in groupby(shard["listed"], key=lambda row: str(row["image"])):
            yield LabelledImage(0, list(rows))
