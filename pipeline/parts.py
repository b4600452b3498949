"""What a shard leaves behind: one Parquet file with a row an object, a mask or an error, put there in one piece.

A part that exists is done; nothing else marks progress. Whoever finds the part's key taken reads it back and accepts it
only if it belongs to the same plan and accounts for exactly the same objects.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask

from m2n2.confidence.evidence import Evidence
from pipeline.clicks import ObjectClicks
from pipeline.failure import Failure
from pipeline.plan import Plan, PlanHead, PlanMismatch
from pipeline.provenance import clicks_digest, part_metadata
from pipeline.shards.part_sizes import PartSizes
from pipeline.shards.shard_file import ImageClicks
from pipeline.storage.parquet import parquet_bytes, read_columns, read_parquet
from pipeline.storage.store import Entry, Store

ERROR = pa.struct(
    [("stage", pa.string()), ("reason", pa.string()), ("message", pa.string()), ("retryable", pa.bool_())]
)
EVIDENCE = pa.struct([(each.name, pa.int32() if each.name == "clicks" else pa.float32()) for each in fields(Evidence)])
PART = pa.schema(
    [
        ("image", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("object", pa.string()),
        ("category", pa.string()),
        ("rle", pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())])),
        ("bbox", pa.list_(pa.float64(), 4)),
        ("area", pa.int64()),
        ("score", pa.float32()),
        ("clicks", pa.int32()),
        ("seconds", pa.float32()),
        ("error", ERROR),
        ("clicks_digest", pa.string()),  # see pipeline/provenance.py; version 0.1 has none
        ("evidence", EVIDENCE),  # what the score was made of; null in what version 0.1 wrote
    ]
)
PART_NAME = re.compile(r"parts/shard-(\d{5,})\.parquet$")

Row = dict[str, Any]


class ForeignPart(PlanMismatch):
    """A part that was there first does not belong to this plan, or does not account for the shard's objects."""


@dataclass(frozen=True)
class Size:
    """Width and height of an image in pixels."""

    width: int
    height: int


def mask_row(
    clicks: ObjectClicks, mask: np.ndarray, score: float, seconds: float, evidence: Evidence | None = None
) -> Row:
    """The row of an object that has its mask, (H, W) bool; `seconds` is its image's time shared among its objects."""
    height, width = mask.shape
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return _row(clicks, Size(width, height), seconds) | {
        "rle": {"size": [height, width], "counts": encoded["counts"].decode("ascii")},
        "bbox": [float(value) for value in coco_mask.toBbox(encoded)],
        "area": int(coco_mask.area(encoded)),
        "score": score,
        "evidence": asdict(evidence) if evidence else None,
    }


def error_row(clicks: ObjectClicks, failure: Failure, size: Size | None = None, seconds: float = 0.0) -> Row:
    """The row of an object that has none, with the reason."""
    return _row(clicks, size, seconds) | {"error": error_of(failure)}


def error_of(failure: Failure) -> Row:
    """The `error` of a row."""
    return {
        "stage": failure.stage,
        "reason": failure.reason,
        "message": failure.message,
        "retryable": failure.retryable,
    }


def commit_part(store: Store, plan: PlanHead, shard: int, images: Sequence[ImageClicks], rows: Sequence[Row]) -> None:
    """Put a shard's part: its rows in the plan's order, exactly once each, in one create-once PUT.

    Raises:
        ForeignPart: another part stands there that is not this shard's.
        ValueError: the rows are not exactly the shard's objects: a defect, and nothing is written.
    """
    by_object = {(row["image"], row["object"]): row for row in rows}
    digests = {(each.image, each.object): clicks_digest(each) for image in images for each in image.objects}
    wanted = list(digests)
    if len(rows) != len(wanted) or by_object.keys() != set(wanted):
        raise ValueError(f"shard {shard}: {len(rows)} rows do not account for its {len(wanted)} objects, each once")
    metadata = {"fingerprint": plan.fingerprint, "shard": str(shard), "shards": plan.shards_digest}
    table = pa.Table.from_pylist(
        [by_object[key] | {"clicks_digest": digest} for key, digest in digests.items()],
        schema=PART.with_metadata(metadata | part_metadata(plan)),
    )
    if not store.put_new(part_key(plan.root, shard), parquet_bytes(table)):
        _check_existing(store, plan, shard, wanted)


def finished_shards(store: Store, plan: Plan) -> Set[int]:
    """The plan's shards that have their part, ascending, from a fresh listing."""
    sizes = PartSizes(len(plan.shards))
    for shard, entry in by_shard(store.listing(f"{plan.root}parts")):
        if shard < len(plan.shards):
            sizes.add(shard, entry.size)
    return sizes.keys()


def by_shard(entries: Iterable[Entry]) -> Iterator[tuple[int, Entry]]:
    """The parts among what was listed, each with its shard."""
    for entry in entries:
        if name := PART_NAME.search(entry.key):
            yield int(name[1]), entry


def read_part(
    store: Store, plan: PlanHead, shard: int, columns: Sequence[str] | None = None, size: int | None = None
) -> pa.Table:
    """One part's rows. Raises ForeignPart where it was written for another plan.

    Args:
        columns: what is needed; None: every column.
        size: of the part in bytes, as it was listed; of a large one then only these columns are fetched.
    """
    key = part_key(plan.root, shard)
    if columns is not None and size is not None:
        table = read_columns(store, key, size, columns)
    else:
        table = read_parquet(store.read(key), store.url(key), columns)
    check_plan(store, plan, shard, table)
    return table


def check_plan(store: Store, plan: PlanHead, shard: int, table: pa.Table) -> None:
    """Raise ForeignPart where a part, as its metadata say, was written for another plan."""
    key = part_key(plan.root, shard)
    metadata = table.schema.metadata or {}
    found = metadata.get(b"fingerprint", b"none").decode()
    if found != plan.fingerprint:
        raise ForeignPart(f"{store.url(key)}: belongs to plan {found}, expected {plan.fingerprint}")
    # Parts of version 0.1 do not say; whether they have the shard's objects is counted at the end.
    shards = metadata.get(b"shards", plan.shards_digest.encode()).decode()
    if shards != plan.shards_digest:
        raise ForeignPart(
            f"{store.url(key)}: belongs to a plan of the same job with other shards ({shards[:8]}, expected "
            f"{plan.shards_digest[:8]}): another driver planned this output at the same time, or it was planned anew; "
            "choose another output, or remove parts/ and start again"
        )


def committed_reasons(store: Store, plan: PlanHead, shard: int) -> Counter[str | None] | None:
    """Objects of a shard's part by why they failed (None: they have a mask); None while there is no part."""
    try:
        errors = read_part(store, plan, shard, columns=["error"])["error"].to_pylist()
    except FileNotFoundError:
        return None
    return Counter(error["reason"] if error else None for error in errors)


def part_key(root: str, shard: int) -> str:
    """The key of a shard's part below the output."""
    return f"{root}parts/shard-{shard:05d}.parquet"


def _row(clicks: ObjectClicks, size: Size | None, seconds: float) -> Row:
    return {
        "image": clicks.image,
        "width": size.width if size else None,
        "height": size.height if size else None,
        "object": clicks.object,
        "category": clicks.category,
        "clicks": len(clicks.clicks),
        "seconds": seconds,
    }


def _check_existing(store: Store, plan: PlanHead, shard: int, wanted: Sequence[tuple[str, str]]) -> None:
    table = read_part(store, plan, shard, columns=["image", "object"])
    found = list(zip(table["image"].to_pylist(), table["object"].to_pylist(), strict=True))
    if found != list(wanted):
        key = store.url(part_key(plan.root, shard))
        raise ForeignPart(f"{key}: has {len(found)} rows that are not the {len(wanted)} objects of shard {shard}")
