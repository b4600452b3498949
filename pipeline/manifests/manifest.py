"""Compacted manifests: what a thousand parts hold, in one small object, so that nobody has to read them all again.

`manifests/shards-00000-01000.parquet` is created once, as soon as the thousand parts are there: a row a shard with the
part's key, size and sha256, how many objects it has, and those of them that failed. Counting a run, `m2n2 status` and
`--retry-failed` read the manifests, and only of shards without one the part's columns. An output without manifests is
read just so, only longer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.frozen_parts import FrozenParts, check_against_plan, foreign_part, without_empty
from pipeline.parts import ERROR, ForeignPart, Row, check_plan, part_key
from pipeline.plan import Plan
from pipeline.storage.parquet import parquet_bytes, read_parquet
from pipeline.storage.read_ahead import in_order
from pipeline.storage.store import Entry, Store

SHARDS_A_MANIFEST = 1000
LISTED = pa.struct([("image", pa.string()), ("object", pa.string()), ("error", ERROR)])
MANIFEST = pa.schema(
    [
        ("shard", pa.int32()),
        ("part", pa.string()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("objects", pa.int32()),
        # Of a first attempt the objects that failed, of a later one all: they take the place of what failed before.
        ("listed", pa.list_(LISTED)),
    ]
)
COLUMNS = ("image", "object", "area", "error")


def write_manifests(parts: FrozenParts) -> None:
    """Create every manifest that is not there and whose parts are. Raises as `count_objects` against the plan does."""
    for attempt in parts.attempts:
        there = present(parts.store, attempt.plan)
        for block in blocks(attempt.plan):
            if block not in there and all(shard in attempt.sizes for shard in shards_of(attempt.plan, block)):
                write_manifest(parts.store, attempt.plan, block)


def write_manifest(store: Store, plan: Plan, block: int) -> None:
    """Read the parts of a thousand shards, check them against their plan, and create their manifest.

    Raises:
        FileNotFoundError: a part is not there.
        ForeignPart, PlanDamaged: as `count_objects` against the plan does.
    """
    put_manifest(store, plan, block, list(in_order(partial(_row_of_part, store, plan), shards_of(plan, block))))


def put_manifest(store: Store, plan: Plan, block: int, rows: Sequence[Row]) -> None:
    """Create a manifest of rows that have been checked; one that is there stays."""
    table = pa.Table.from_pylist(rows, schema=MANIFEST.with_metadata(_metadata(plan)))
    store.put_new(manifest_key(plan, block), parquet_bytes(table))


def manifest_key(plan: Plan, block: int) -> str:
    """The key of the manifest of the shards from `block` times SHARDS_A_MANIFEST on."""
    shards = shards_of(plan, block)
    return f"{plan.root}manifests/shards-{shards.start:05d}-{shards.stop:05d}.parquet"


def manifest_rows(store: Store, plan: Plan, block: int, columns: Sequence[str], data: bytes | None = None) -> pa.Table:
    """Some columns of a manifest, a row a shard. Raises ForeignPart where it was written for another plan.

    Args:
        data: its file, where that was fetched already.
    """
    key = manifest_key(plan, block)
    table = read_parquet(store.read(key) if data is None else data, store.url(key), columns)
    found = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
    if any(found.get(name) != value for name, value in _metadata(plan).items()):
        raise ForeignPart(f"{store.url(key)}: belongs to another plan than {plan.fingerprint}")
    return table


def _row_of_part(store: Store, plan: Plan, shard: int) -> Row:
    key = part_key(plan.root, shard)
    data = store.read(key)
    table = read_parquet(data, store.url(key), COLUMNS)
    check_plan(store, plan, shard, table)
    check_against_plan(store, plan, shard, table)
    return row_of(store, plan, shard, table) | {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def row_of(store: Store, plan: Plan, shard: int, table: pa.Table) -> Row:
    """What a manifest says of a part with the columns COLUMNS, besides size and sha256. Raises ForeignPart."""
    planned = plan.shards[shard]
    images = table["image"].unique()
    if (len(images), table.num_rows) != (planned.images, planned.objects):
        raise foreign_part(store, plan, shard, table.num_rows)
    # Version 0.1 wrote masks without a pixel as masks.
    failed = pc.or_(table["error"].is_valid(), pc.fill_null(pc.equal(table["area"], 0), False))
    rows = map(without_empty, (table if plan.root else table.filter(failed)).to_pylist())
    listed = [{"image": row["image"], "object": row["object"], "error": row["error"]} for row in rows]
    return {"shard": shard, "part": part_key(plan.root, shard), "objects": table.num_rows, "listed": listed}


def present(store: Store, plan: Plan) -> dict[int, Entry]:
    """A plan's manifests that are there, by number."""
    listed = {entry.key: entry for entry in store.listing(f"{plan.root}manifests")}
    return {block: listed[key] for block in blocks(plan) if (key := manifest_key(plan, block)) in listed}


def blocks(plan: Plan) -> range:
    """The numbers of a plan's manifests."""
    return range(-(-len(plan.shards) // SHARDS_A_MANIFEST))


def block_of(shard: int) -> int:
    """The number of the manifest that a shard stands in."""
    return shard // SHARDS_A_MANIFEST


def shards_of(plan: Plan, block: int) -> range:
    """The shards of a manifest."""
    return range(block * SHARDS_A_MANIFEST, min((block + 1) * SHARDS_A_MANIFEST, len(plan.shards)))


def _metadata(plan: Plan) -> dict[str, str]:
    return {"fingerprint": plan.fingerprint, "shards": plan.shards_digest}
