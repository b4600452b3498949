"""Clicks of another tool's file as Parquet: streamed, checked record by record, published when all of it is good."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clicks import InvalidClicks
from pipeline.importing.box_clicks import clicks_of_box
from pipeline.importing.click_file import REJECTED, ClickFile
from pipeline.importing.formats.coco import read_boxes, read_keypoints, read_masks
from pipeline.importing.formats.cvat import read_cvat
from pipeline.importing.formats.label_studio import read_label_studio
from pipeline.importing.formats.table_boxes import read_table_of_boxes
from pipeline.importing.formats.table_clicks import read_csv, read_json_lines, read_tsv
from pipeline.importing.formats.via import read_via
from pipeline.importing.formats.yolo import read_yolo
from pipeline.importing.objects import BadRecord, BoxClicks, Click, ImportedObject, Importer, Item, Source
from pipeline.storage.store import Store

FormatName = Literal[
    "csv",
    "tsv",
    "jsonl",
    "boxes",
    "coco-keypoints",
    "coco-boxes",
    "coco-masks",
    "labelstudio",
    "cvat",
    "via",
    "yolo",
]
FORMATS: Mapping[FormatName, Importer] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_json_lines,
    "boxes": read_table_of_boxes,
    "coco-keypoints": read_keypoints,
    "coco-boxes": read_boxes,
    "coco-masks": read_masks,
    "labelstudio": read_label_studio,
    "cvat": read_cvat,
    "via": read_via,
    "yolo": read_yolo,
}
assert tuple(FORMATS) == get_args(FormatName)


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        clicks: rows of the file that was written.
        objects: of it; None for tables, whose rows are not joined here.
        rejected: records that `rejected.jsonl` has.
        lost: what the contract of clicks cannot hold, with how often.
    """

    clicks: int
    objects: int | None
    rejected: int
    lost: Mapping[str, int]


def import_clicks(
    source: Source, form: FormatName, target: Store, key: str, box_clicks: BoxClicks, skip_bad: bool
) -> Imported:
    """Write `key` of `target` from the source; nothing appears there unless all of it could be read.

    Args:
        box_clicks: what becomes of a box without clicks.
        skip_bad: put records that cannot become clicks in `rejected.jsonl` beside `key`.

    Raises:
        InvalidClicks: the source is no file of this format, a record is bad and not to be skipped, none is good, or
            coordinates look like fractions and nobody said what they are. The message names the place.
        StoreUnavailable: storage does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="m2n2-import-") as directory:
        with ClickFile(Path(directory)) as file:
            counts = _Counts(source.units is None)
            for item in _readable(source, FORMATS[form](source)):
                if isinstance(item, pa.RecordBatch):
                    counts.add_batch(item)
                    file.add_batch(item)
                    continue
                try:
                    if isinstance(item, BadRecord):
                        raise item
                    clicks = counts.add(item, box_clicks)
                except BadRecord as bad:
                    if not skip_bad:
                        raise InvalidClicks(f"{bad}; to leave such records out: --skip-bad") from None
                    counts.rejected += 1
                    file.reject(bad)
                else:
                    file.add(item, clicks)
            counts.refuse_if_wrong(source.address)
            file.finish()
        target.put_file(key, file.clicks)
        if counts.rejected:
            folder, slash, _ = key.rpartition("/")
            target.put_file(f"{folder}{slash}{REJECTED}", file.rejected)
    return Imported(counts.clicks, counts.objects or None, counts.rejected, dict(source.lost))


class _Counts:
    """What was read so far, as far as it decides whether it is to be believed."""

    def __init__(self, suspect_fractions: bool) -> None:
        self.clicks = self.objects = self.rejected = 0
        self._suspect_fractions = suspect_fractions
        self._beyond_1 = self._between_pixels = False
        self._taken: set[int] = set()

    def add(self, each: ImportedObject, box_clicks: BoxClicks) -> list[Click]:
        """The object's clicks. Raises BadRecord where there are none, or its image has one of this name already."""
        clicks = list(each.clicks)
        if not clicks and each.box is not None:
            clicks = clicks_of_box(each, each.box, box_clicks)
        coordinates = [*(each.box or ()), *(side for click in clicks for side in click[:2])]
        if not all(map(math.isfinite, coordinates)):  # of finite numbers that are too large together
            raise BadRecord(each.place, "coordinates", coordinates, "finite numbers")
        if not any(label for _, _, label in clicks):
            raise BadRecord(each.place, "clicks", clicks, "at least one on the object, or a box")
        # 8 bytes of digest an object, about 60 in memory.
        name = hashlib.blake2b(f"{each.image}\0{each.object}".encode(), digest_size=8).digest()
        if (number := int.from_bytes(name, "little")) in self._taken:
            raise BadRecord(each.place, "object", each.object, f"one of this name in image {each.image!r}")
        self._taken.add(number)
        self.objects += 1
        self.clicks += len(clicks)
        for x, y in ((x, y) for x, y, _ in each.clicks) if each.box is None else (each.box[:2], each.box[2:]):
            self._look_at(x, y)
        return clicks

    def add_batch(self, batch: pa.RecordBatch) -> None:
        self.clicks += batch.num_rows
        for x, y in (("x", "y"), ("box_x1", "box_y1")):
            for column in (batch.column(x), batch.column(y)):
                self._beyond_1 |= bool(pc.any(pc.or_(pc.greater(column, 1), pc.less(column, 0))).as_py())
                self._between_pixels |= bool(pc.any(pc.not_equal(column, pc.floor(column))).as_py())

    def refuse_if_wrong(self, address: str) -> None:
        """Raises InvalidClicks."""
        if not self.clicks:
            raise InvalidClicks(f"{address}: found no clicks and {self.rejected} bad records; at least one is needed")
        if self._suspect_fractions and self._between_pixels and not self._beyond_1:
            raise InvalidClicks(
                f"{address}: all coordinates lie within 0..1, as fractions of the image's width and height do; "
                "allowed: --units fraction, or --units pixels where they are pixels indeed"
            )

    def _look_at(self, x: float, y: float) -> None:
        self._beyond_1 |= not (0 <= x <= 1 and 0 <= y <= 1)
        self._between_pixels |= x != int(x) or y != int(y)


def _readable(source: Source, items: Iterator[Item]) -> Iterator[Item]:
    """The items, with what storage says of a source that is not there in plain terms."""
    try:
        yield from items
    except FileNotFoundError:
        raise InvalidClicks(f"{source.address}: there is no such file") from None
