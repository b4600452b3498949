"""The clicks: one row is one click, with `image`, `object`, `x`, `y`, and optionally `label` and `category`.

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
}
OPTIONAL = ("label", "category")


class InvalidClicks(ValueError):
    """Click files that cannot be read as clicks: the message names file, row and column, found and allowed."""


@dataclass(frozen=True)
class ObjectClicks:
    """One object's clicks in their order. Each click is a dict of x, y, label, file (index) and row (from 0)."""

    image: str
    object: str
    category: str
    clicks: Sequence[dict[str, Any]]
    failure: Failure | None
