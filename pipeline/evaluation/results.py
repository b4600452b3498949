"""What is kept of an evaluation: a file an image, written once, and the table of all objects made from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from m2n2.evaluation import Click, Session, clicks_to_reach
from m2n2.evaluation.measures import CLICKS_SHOWN, TARGETS, drops, iou_after
from pipeline.storage.parquet import parquet_bytes, read_parquet
from pipeline.storage.store import Store

OBJECTS = "objects.parquet"
SESSION = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("x", pa.list_(pa.int32())),
        ("y", pa.list_(pa.int32())),
        ("label", pa.list_(pa.bool_())),
        ("iou", pa.list_(pa.float64())),
        ("seconds", pa.list_(pa.float64())),
    ]
)
Name = tuple[str, str]  # an object's image and its name in it


def result_key(image: str) -> str:
    """The key of an image's result."""
    return f"results/{hashlib.sha256(image.encode()).hexdigest()[:16]}.parquet"


def write_result(store: Store, image: str, sessions: Mapping[str, Session]) -> None:
    """Put an image's sessions in place, unless somebody has done so before."""
    rows = [
        {
            "image": image,
            "object": name,
            "x": [click.x for click in session.clicks],
            "y": [click.y for click in session.clicks],
            "label": [click.label for click in session.clicks],
            "iou": list(session.ious),
            "seconds": list(session.seconds),
        }
        for name, session in sessions.items()
    ]
    store.put_new(result_key(image), parquet_bytes(pa.Table.from_pylist(rows, schema=SESSION)))


def read_results(store: Store, images: Iterable[str]) -> dict[Name, Session]:
    """The sessions of these images, in their order. Raises FileNotFoundError, DamagedObject."""
    found = {}
    for image in images:
        key = result_key(image)
        table = read_parquet(store.read(key), store.url(key), SESSION.names)
        for row in table.to_pylist():
            clicks = tuple(Click(*each) for each in zip(row["x"], row["y"], row["label"], strict=True))
            found[row["image"], row["object"]] = Session(clicks, tuple(row["iou"]), tuple(row["seconds"]))
    return found


def write_objects(store: Store, sessions: Mapping[Name, Session], cap: int) -> None:
    """The table of all objects: clicks to each target (null: not reached), IoU after so many clicks, drops, curve."""
    rows = [{"image": image, "object": name} | measures(session, cap) for (image, name), session in sessions.items()]
    store.put(OBJECTS, parquet_bytes(pa.Table.from_pylist(rows)))


def measures(session: Session, cap: int) -> dict[str, Any]:
    """One object's numbers."""
    clicks = {f"clicks{target * 100:.0f}": clicks_to_reach(session.ious, target, cap) for target in TARGETS}
    ious = {f"iou{n}": iou_after(session.ious, n) for n in CLICKS_SHOWN if n <= cap}
    return clicks | ious | {"drops": drops(session.ious), "iou": list(session.ious), "seconds": list(session.seconds)}


def read_objects(store: Store) -> Sequence[Mapping[str, Any]]:
    """The rows that `write_objects` wrote. Raises FileNotFoundError, DamagedObject."""
    rows: list[dict[str, Any]] = read_parquet(store.read(OBJECTS), store.url(OBJECTS)).to_pylist()
    return rows
