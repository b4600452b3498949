"""Clicks and boxes of one image that belong to one object, out of tools that keep each as a shape of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.clicks import Box
from pipeline.importing.objects import BadRecord, Click, ImportedObject


@dataclass
class _Parts:
    place: str
    category: str | None
    clicks: list[Click] = field(default_factory=list)
    box: Box | None = None


class Gathered:
    """The objects of one image in the making: pieces of the same object join, in the order in which they came."""

    def __init__(self, image: str, size: tuple[float, float] | None = None) -> None:
        self._image, self._size = image, size
        self._objects: dict[str, _Parts] = {}

    def add(
        self, place: str, name: str, category: str | None, clicks: list[Click] | None = None, box: Box | None = None
    ) -> None:
        """Add a piece. Raises BadRecord where it contradicts the object's other pieces."""
        parts = self._objects.setdefault(name, _Parts(place, category))
        if parts.category != category:
            raise BadRecord(place, f"category of object {name!r}", category, f"{parts.category!r}, as before")
        if box is not None and parts.box not in (None, box):
            raise BadRecord(place, f"box of object {name!r}", box, f"one box an object; {parts.box} stands before")
        parts.clicks += clicks or []
        parts.box = box or parts.box

    def objects(self) -> Iterator[ImportedObject]:
        """All of them."""
        for name, parts in self._objects.items():
            yield ImportedObject(parts.place, self._image, name, parts.category, parts.clicks, parts.box, self._size)
