"""The clicks of a page: a Parquet file of the clicks contract, and what was clicked since it was written.

Every change is a record of the append log `.NAME.log` beside the file before anybody is told that it is saved. A
record holds objects as they are after the change, so reading one twice does no harm: the Parquet file is written
anew now and then, and whatever was clicked since, or while it was written, is laid over it when it is opened next.
Rows and columns that the page does not touch stay as they are, also where another program wrote them meanwhile.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.clicks import BOX, WRITTEN, WRITTEN_WITH_BOXES
from pipeline.inputs.click_rows import CANONICAL, read_clicks
from pipeline.inputs.object_box import with_centre
from pipeline.page.append_log import AppendLog, Record, sync_folder
from pipeline.page.page_object import PageObject, box_of_row, checked_object, plain
from pipeline.storage.atomic_file import replace_file
from pipeline.storage.parquet import parquet_bytes
from pipeline.storage.store import Store

INDEXED = ("image", "object", "category", "x", "y", "label", *BOX)
SAVED: Record = {"saved": True}

log = logging.getLogger("m2n2.ui")


class ClickBook:
    """All clicks of one Parquet file on this machine; safe to use from several threads."""

    def __init__(self, path: Path, images_roots: Sequence[str]) -> None:
        """Open the file, or begin it, and go on where the last page left off.

        Args:
            images_roots: below which names of images are keys, see `pipeline.image_key`.

        Raises:
            LogInUse: another page has it open.
            InvalidClicks, DamagedLog: the file or its log cannot be read.
        """
        self.path, self._roots = path, list(images_roots)
        self._lock = RLock()
        self._log = AppendLog(path.parent / f".{path.name}.log")
        self._edits: dict[str, dict[str, PageObject]] = {}
        self._done: set[str] = set()
        self._unsaved = 0
        self._base, self._seen = _Base.of(path, self._roots), _stamp(path)
        self._replay(self._log.records)

    @property
    def unsaved(self) -> int:
        """Changes that only the log has."""
        return self._unsaved

    @property
    def categories(self) -> list[str]:
        """All categories, sorted."""
        with self._lock:
            edited = {each.category for objects in self._edits.values() for each in objects.values() if each.clicks}
            return sorted(edited | self._base.categories)

    def objects(self, image: str) -> list[PageObject]:
        """The image's objects that have clicks, in the order in which they were begun."""
        with self._lock:
            objects = {each.name: each for each in self._base.objects(image)}
            objects |= self._edits.get(image, {})
            return [each for each in objects.values() if each.clicks]

    def clicked(self) -> set[str]:
        """All images that have clicks."""
        with self._lock:
            found = {image for image in self._edits if self.objects(image)}
            return found | (self._base.images - self._edits.keys())

    def is_done(self, image: str) -> bool:
        """Whether somebody said that all of its objects have their clicks."""
        return image in self._done

    def change(self, image: str, objects: Mapping[str, Mapping[str, Any]]) -> None:
        """Give objects of an image these clicks: on the disk when this returns.

        Args:
            objects: by name, each with `category` and `clicks`, a list of [x, y, label]; without clicks it is removed.
                With `box`, a list of its four edges or None, it has this one, else the one that it had.

        Raises:
            InvalidChange: it is none.
            OSError: it cannot be written; then nothing has changed.
        """
        with self._lock:
            changed = self._checked(image, objects)
            self._log.append({"image": image, "objects": {name: plain(each) for name, each in changed.items()}})
            self._edits.setdefault(image, {}).update(changed)
            self._unsaved += 1

    def mark_done(self, image: str, done: bool) -> None:
        """Record that all objects of an image have their clicks, or that they do not. Raises OSError."""
        with self._lock:
            self._log.append({"image": image, "done": done})
            (self._done.add if done else self._done.discard)(image)

    def save(self) -> bool:
        """Write the Parquet file anew, if there is anything to write; all of it or nothing.

        Raises:
            InvalidClicks: another program made something else of the file.
            OSError: it cannot be written; the clicks are in the log.
        """
        with self._lock:
            if not self._unsaved:
                return False
            if _stamp(self.path) != self._seen:
                log.warning("%s: another program changed it; its rows stay, but for objects clicked here", self.path)
                self._base = _Base.of(self.path, self._roots)
            replace_file(self.path, parquet_bytes(self._table()))
            sync_folder(self.path.parent)
            self._seen = _stamp(self.path)
            self._log.append(SAVED)
            self._unsaved = 0
            return True

    def close(self) -> None:
        """Write what is to be written and let others have the file."""
        with self._lock:
            try:
                self.save()
                self._log.rewrite([{"image": image, "done": True} for image in sorted(self._done)])
            finally:
                self._log.close()

    def _replay(self, records: Sequence[Record]) -> None:
        saved = max((number for number, record in enumerate(records) if record == SAVED), default=-1)
        for number, record in enumerate(records):
            if "done" in record:
                (self._done.add if record["done"] else self._done.discard)(record["image"])
            elif "objects" in record and number > saved:
                image = record["image"]
                self._edits.setdefault(image, {}).update(self._checked(image, record["objects"]))
                self._unsaved += 1

    def _checked(self, image: str, objects: Mapping[str, Mapping[str, Any]]) -> dict[str, PageObject]:
        before = {each.name: each.box for each in self._base.objects(image)}
        before |= {each.name: each.box for each in self._edits.get(image, {}).values()}
        return {name: checked_object(name, {"box": before.get(name), **each}) for name, each in objects.items()}

    def _table(self) -> pa.Table:
        """The file's rows but for the objects that were changed, then these."""
        rows = [
            {"image": image, "object": each.name, "x": x, "y": y, "label": label, "category": each.category}
            | dict(zip(BOX, each.box or [None] * 4, strict=True))
            for image, objects in self._edits.items()
            for each in objects.values()
            for x, y, label in each.clicks
        ]
        kept = self._base.without({(image, name) for image, objects in self._edits.items() for name in objects})
        # A file gets columns of boxes only where there are boxes.
        has_boxes = BOX[0] in kept.schema.names or any(row[BOX[0]] is not None for row in rows)
        added = pa.Table.from_pylist(rows, schema=WRITTEN_WITH_BOXES if has_boxes else WRITTEN)
        columns = {
            name: added[name].cast(kept.schema.field(name).type) if name in kept.schema.names else added[name]
            for name in added.schema.names
        }
        return pa.concat_tables([kept, pa.table(columns)], promote_options="default")


class _Base:
    """The Parquet file as it was read: its rows as they stand, and where each image's are."""

    def __init__(self, table: pa.Table, canonical: pa.Table) -> None:
        self._table, self._canonical = table, canonical.select(INDEXED)
        codes = canonical["image"].combine_chunks().dictionary_encode()
        names = codes.dictionary.to_pylist()
        order = np.argsort(codes.indices.to_numpy(zero_copy_only=False), kind="stable")
        ends = np.cumsum(np.bincount(codes.indices.to_numpy(zero_copy_only=False), minlength=len(names)))
        self._rows = dict(zip(names, np.split(order, ends[:-1]), strict=True)) if names else {}
        self.images = set(names)
        self.categories = set(pc.unique(canonical["category"]).to_pylist())

    @classmethod
    def of(cls, path: Path, images_roots: Sequence[str]) -> _Base:
        """The file at `path`; empty where there is none. Raises InvalidClicks."""
        if not path.exists():
            return cls(WRITTEN.empty_table(), CANONICAL.empty_table())
        canonical = pa.Table.from_batches(read_clicks([str(path)], Store(""), images_roots), CANONICAL)
        with path.open("rb") as file:
            table = pq.ParquetFile(file).read(use_threads=False)
        for name in WRITTEN_WITH_BOXES.names:
            if name in table.schema.names and name != "label":
                column = table.schema.get_field_index(name)
                table = table.set_column(column, name, table[name].cast(WRITTEN_WITH_BOXES.field(name).type))
        return cls(table, canonical)

    def objects(self, image: str) -> Iterator[PageObject]:
        rows = self._rows.get(image)
        if rows is None:
            return
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self._canonical.take(rows).to_pylist():
            found.setdefault(row["object"], []).append(row)
        for name, members in found.items():
            clicks = [{name: row[name] for name in ("x", "y", "label")} for row in members if _is_click(row)]
            box = next(filter(None, map(box_of_row, members)), None)
            if box is not None:
                clicks = list(with_centre(clicks, box, {"file": 0, "row": 0}))
            points = ((each["x"], each["y"], bool(each["label"])) for each in clicks)
            yield PageObject(name, members[0]["category"], tuple(dict.fromkeys(points)), box)

    def without(self, objects: set[tuple[str, str]]) -> pa.Table:
        """All rows but those of these objects."""
        keep = np.ones(len(self._table), bool)
        for image in {image for image, _ in objects}:
            rows = self._rows.get(image, np.empty(0, np.int64))
            names = self._canonical["object"].take(pa.array(rows)).to_pylist()
            for row, name in zip(rows, names, strict=True):
                keep[row] = (image, name) not in objects
        return self._table.filter(pa.array(keep))


def _is_click(row: Mapping[str, Any]) -> bool:
    numbers = (row["x"], row["y"])
    return row["label"] in (0, 1) and all(each is not None and math.isfinite(each) for each in numbers)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
