"""The box of an object: the same in all rows that have one; without a click on the object it gives its centre."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.clicks import Box
from pipeline.failure import Failure

VALUE = "{'file': file, 'row': row, 'x0': box_x0, 'y0': box_y0, 'x1': box_x1, 'y1': box_y1}"
ANY = "(box_x0 IS NOT NULL OR box_y0 IS NOT NULL OR box_x1 IS NOT NULL OR box_y1 IS NOT NULL)"
GOOD = (
    "coalesce(isfinite(box_x0) AND isfinite(box_y0) AND isfinite(box_x1) AND isfinite(box_y1) "
    "AND box_x0 < box_x1 AND box_y0 < box_y1, false)"
)
# Columns of a query that groups clicks by object.
BOX_COLUMNS = f"""
    min({VALUE}) FILTER ({ANY}) AS box,
    min({VALUE}) FILTER ({ANY} AND NOT {GOOD}) AS bad_box,
    arg_min({VALUE}, [box_x0, box_y0, box_x1, box_y1]) FILTER ({GOOD}) AS one_box,
    arg_max({VALUE}, [box_x0, box_y0, box_x1, box_y1]) FILTER ({GOOD}) AS other_box"""
NO_BOX_COLUMNS = "NULL AS box, NULL AS bad_box, NULL AS one_box, NULL AS other_box"


def box_of(value: dict[str, Any]) -> Box:
    """The edges x0, y0, x1, y1."""
    return value["x0"], value["y0"], value["x1"], value["y1"]


def box_failure(row: dict[str, Any], at: Callable[[dict[str, Any]], str]) -> Failure | None:
    """Why an object's box cannot be used, or None; `at` names the place of a row."""
    columns = "columns box_x0, box_y0, box_x1, box_y1"
    if bad := row["bad_box"]:
        allowed = "finite numbers, x0 < x1 and y0 < y1, or none of them"
        return Failure("bad_box", f"{at(bad)}: {columns}: found {list(box_of(bad))}; allowed: {allowed}")
    one, other = row["one_box"], row["other_box"]
    if one and box_of(one) != box_of(other):
        found = f"{list(box_of(one))} and {list(box_of(other))} for object {row['object']!r}"
        return Failure("two_boxes", f"{at(one)} and {at(other)}: {columns}: found {found}; allowed: one")
    return None


def with_centre(clicks: Sequence[dict[str, Any]], box: Box, place: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The clicks, before them the box's centre where none is on the object."""
    if any(click["label"] for click in clicks):
        return clicks
    # A click names a pixel's middle, a box the edges between pixels: hence the half.
    x, y = (box[0] + box[2]) / 2 - 0.5, (box[1] + box[3]) / 2 - 0.5
    return [{"x": x, "y": y, "label": True, "file": place["file"], "row": place["row"]}, *clicks]
