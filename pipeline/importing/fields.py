"""Single values out of records that somebody else wrote: what they must be, and what to say where they are not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.clicks import Box
from pipeline.importing.objects import BadRecord

LABELS = {
    **dict.fromkeys(("1", "true", "foreground", "positive"), True),
    **dict.fromkeys(("0", "false", "background", "negative"), False),
}
LABELS_ALLOWED = "1, true, foreground, positive; 0, false, background, negative"


def mapping(value: Any, name: str, place: str) -> Mapping[str, Any]:
    """A JSON object. Raises BadRecord."""
    if not isinstance(value, Mapping):
        raise BadRecord(place, name, value, "an object with keys")
    return value


def sequence(value: Any, name: str, place: str) -> Sequence[Any]:
    """A JSON array. Raises BadRecord."""
    if not isinstance(value, list | tuple):
        raise BadRecord(place, name, value, "a list")
    return value


def text(value: Any, name: str, place: str) -> str:
    """A text that is not empty and can be stored as UTF-8. Raises BadRecord."""
    if not isinstance(value, str) or not value:
        raise BadRecord(place, name, value, "a text that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRecord(place, name, value, "text that is UTF-8") from None
    return value


def identifier(value: Any, name: str, place: str) -> str:
    """A text or whole number, as text. Raises BadRecord."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadRecord(place, name, value, "a text or a whole number")
    return text(value, name, place)


def number(value: Any, name: str, place: str) -> float:
    """A finite number, also written as text. Raises BadRecord."""
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadRecord(place, name, value, "a number") from None
    if not math.isfinite(found):
        raise BadRecord(place, name, value, "a finite number")
    return found


def side(value: Any, name: str, place: str) -> float:
    """A width or height: a number above 0. Raises BadRecord."""
    found = number(value, name, place)
    if found <= 0:
        raise BadRecord(place, name, value, "a number above 0")
    return found


def edges(x0: float, y0: float, x1: float, y1: float, name: str, place: str) -> Box:
    """A box of its edges. Raises BadRecord where it has no area."""
    if not (x0 < x1 and y0 < y1):
        raise BadRecord(place, name, [x0, y0, x1, y1], "a box whose right is beyond its left and bottom below its top")
    return x0, y0, x1, y1


def corner_and_size(values: Any, name: str, place: str) -> Box:
    """A box of `[x, y, width, height]`. Raises BadRecord."""
    if len(sequence(values, name, place)) != 4:
        raise BadRecord(place, name, values, "x, y, width, height")
    x, y, width, height = (number(value, name, place) for value in values)
    return edges(x, y, x + width, y + height, name, place)


def label(value: Any, name: str, place: str) -> bool:
    """Whether a click is on the object. Raises BadRecord."""
    found = LABELS.get(str(value).strip().lower())
    if found is None:
        raise BadRecord(place, name, value, LABELS_ALLOWED)
    return found
