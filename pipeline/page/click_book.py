"""The clicks of a page: a Parquet file of the clicks contract, and what was clicked since it was written.

Every change is a record of the append log `.NAME.log` beside the file before anybody is told that it is saved. A
record holds objects as they are after the change, so reading one twice does no harm: the Parquet file is written
anew now and then, and whatever was clicked since, or while it was written, is laid over it when it is opened next.
Rows and columns that the page does not touch stay as they are, also where another program wrote them meanwhile.
"""

from __future__ import annotations

import io
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.clicks import WRITTEN
from pipeline.inputs.click_rows import CANONICAL, read_clicks
from pipeline.page.append_log import AppendLog, Record, sync_folder
from pipeline.storage.atomic_file import replace_file
from pipeline.storage.store import Store

INDEXED = ("image", "object", "category", "x", "y", "label")
SAVED: Record = {"saved": True}

log = logging.getLogger("m2n2.ui")

Click = tuple[float, float, bool]  # x, y in pixels of the image, and whether it is on the object


@dataclass(frozen=True)
class PageObject:
    """One object of an image as the page shows it; without clicks it is none."""

    name: str
    category: str
    clicks: tuple[Click, ...]


class InvalidChange(ValueError):
    """A change that is none: says what was found and what is allowed."""


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

        Raises:
            InvalidChange: it is none.
            OSError: it cannot be written; then nothing has changed.
        """
        changed = {name: _checked_object(name, each) for name, each in objects.items()}
        with self._lock:
            self._log.append({"image": image, "objects": {name: _plain(each) for name, each in changed.items()}})
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
            sink = io.BytesIO()
            pq.write_table(self._table(), sink, compression="zstd")
            replace_file(self.path, sink.getvalue())
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
                objects = {name: _checked_object(name, each) for name, each in record["objects"].items()}
                self._edits.setdefault(record["image"], {}).update(objects)
                self._unsaved += 1

    def _table(self) -> pa.Table:
        """The file's rows but for the objects that were changed, then these."""
        rows = [
            {"image": image, "object": each.name, "x": x, "y": y, "label": label, "category": each.category}
            for image, objects in self._edits.items()
            for each in objects.values()
            for x, y, label in each.clicks
        ]
        kept = self._base.without({(image, name) for image, objects in self._edits.items() for name in objects})
        added = pa.Table.from_pylist(rows, schema=WRITTEN)
        columns = {
            name: added[name].cast(kept.schema.field(name).type) if name in kept.schema.names else added[name]
            for name in WRITTEN.names
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
        for name in WRITTEN.names:
            if name in table.schema.names and name != "label":
                column = table.schema.get_field_index(name)
                table = table.set_column(column, name, table[name].cast(WRITTEN.field(name).type))
        return cls(table, canonical)

    def objects(self, image: str) -> Iterator[PageObject]:
        rows = self._rows.get(image)
        if rows is None:
            return
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self._canonical.take(rows).to_pylist():
            found.setdefault(row["object"], []).append(row)
        for name, members in found.items():
            clicks = [(row["x"], row["y"], bool(row["label"])) for row in members if _is_click(row)]
            yield PageObject(name, members[0]["category"], tuple(dict.fromkeys(clicks)))

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


def _checked_object(name: str, given: Mapping[str, Any]) -> PageObject:
    category, clicks = given.get("category"), given.get("clicks")
    if not name or not isinstance(category, str) or not category:
        raise InvalidChange(f"object {name!r}, category: found {category!r}; allowed: a name for both")
    if not isinstance(clicks, list):
        raise InvalidChange(f"object {name!r}, clicks: found {clicks!r}; allowed: a list of [x, y, label]")
    return PageObject(name, category, tuple(dict.fromkeys(_checked_click(name, each) for each in clicks)))


def _checked_click(name: str, given: Any) -> Click:
    shaped = isinstance(given, list) and len(given) == 3
    if not shaped or not all(isinstance(each, int | float) for each in given) or given[2] not in (0, 1):
        raise InvalidChange(f"object {name!r}: found click {given!r}; allowed: [x, y, label], label 0 or 1")
    x, y = float(given[0]), float(given[1])
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InvalidChange(f"object {name!r}: found click {given!r}; allowed: finite numbers")
    return x, y, bool(given[2])


def _plain(given: PageObject) -> dict[str, Any]:
    return {"category": given.category, "clicks": [[x, y, int(label)] for x, y, label in given.clicks]}


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
