"""The clicks: one row is one click, with `image`, `object`, `x`, `y`, and optionally `label`, `category` and a box.

A box is of the object, the same in all rows that have one; a row may have a box and no click.

What makes a file unreadable as clicks (a column missing or of another type, a row without image or object) stops the
run before it starts. What is wrong with one object becomes that object's failure and touches no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.failure import Failure

CLICK = pa.struct(
    [("x", pa.float64()), ("y", pa.float64()), ("label", pa.bool_()), ("file", pa.int32()), ("row", pa.int64())]
)
ALLOWED = {
    "image": "string",
    "object": "string or integer",
    "x": "float or integer",
    "y": "float or integer",
    "label": "bool or integer 0/1",
    "category": "string",
    "box_x0": "float or integer",
    "box_y0": "float or integer",
    "box_x1": "float or integer",
    "box_y1": "float or integer",
}
BOX = ("box_x0", "box_y0", "box_x1", "box_y1")  # edges of the object's box, from the image's top left corner
Box = tuple[float, float, float, float]
OPTIONAL = ("label", "category", *BOX)
# As we write click files; those of others may have other types, see ALLOWED.
WRITTEN = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("label", pa.bool_()),
        ("category", pa.string()),
    ]
)
WRITTEN_WITH_BOXES = pa.schema([*WRITTEN, *((name, pa.float64()) for name in BOX)])


class InvalidClicks(ValueError):
    """Click files that cannot be read as clicks: the message names file, row and column, found and allowed."""


@dataclass(frozen=True)
class ObjectClicks:
    """One object's clicks in their order. Each click is a dict of x, y, label, file (index) and row (from 0).

    Attributes:
        box: its edges x0, y0, x1, y1 in pixels from the image's top left corner; the mask stays within it or nearly so.
    """

    image: str
    object: str
    category: str
    clicks: Sequence[dict[str, Any]]
    failure: Failure | None
    box: Box | None = None
