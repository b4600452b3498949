"""What importers give: objects with their clicks and box, and records that are none, as values to be counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import pyarrow as pa

from pipeline.clicks import Box
from pipeline.storage.store import Store

Units = Literal["pixels", "fraction"]
BoxClicks = Literal["centre", "outside", "grid"]
Click = tuple[float, float, bool]  # x, y in pixels of the stored image, whether on the object

FOUND_AT_MOST = 80  # characters of what was found that a message shows


class BadRecord(ValueError):
    """A record that cannot become clicks; `--skip-bad` makes a line of `rejected.jsonl` of it.

    Attributes:
        place: the file and the row or element, such as `boxes.csv, row 17`.
        field: what of the record is wrong.
        found, allowed: as they say.
    """

    def __init__(self, place: str, field: str, found: object, allowed: str) -> None:
        shown = repr(found)
        shown = shown if len(shown) <= FOUND_AT_MOST else f"{shown[:FOUND_AT_MOST]}..."
        super().__init__(f"{place}: {field}: found {shown}; allowed: {allowed}")
        self.place, self.field, self.found, self.allowed = place, field, shown, allowed


@dataclass(frozen=True)
class ImportedObject:
    """One object of another tool's file; one without clicks has a box, which gives them.

    Attributes:
        place: where it stands, as in BadRecord.
        category: None where the tool has none.
        size: width and height of the image in pixels, where the format says them.
    """

    place: str
    image: str
    object: str
    category: str | None
    clicks: Sequence[Click]
    box: Box | None = None
    size: tuple[float, float] | None = None


# A batch is of clicks that were checked already, in the columns of `pipeline/importing/click_file.py`.
Item: TypeAlias = ImportedObject | BadRecord | pa.RecordBatch


@dataclass(frozen=True)
class Source:
    """What is imported, and what is said about it.

    Attributes:
        address: of the file or folder.
        store: opens addresses.
        columns: what a table calls our columns, where that is not what we would guess: `{"x": "px_x"}`.
        units: of coordinates, where the format leaves them open; None: not said.
        images: where images are, for formats that do not say how large they are.
        lost: what the contract of clicks cannot hold, as people are told of it, and how often.
    """

    address: str
    store: Store
    columns: Mapping[str, str] = field(default_factory=dict)
    units: Units | None = None
    images: Store | None = None
    lost: Counter[str] = field(default_factory=Counter)


Importer = Callable[[Source], Iterator[Item]]
