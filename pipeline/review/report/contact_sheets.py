"""Contact sheets: the objects with the lowest scores, some drawn at random, some for every reason and every failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, cast

from pipeline.config import Limits
from pipeline.containers.source import ImageSource
from pipeline.describe import describe
from pipeline.failure import BadImage
from pipeline.parts import Row
from pipeline.review.objects import IMAGES_AT_ONCE
from pipeline.review.planned_clicks import Clicks
from pipeline.review.queue import MENDABLE, REASONS, ReviewQueue
from pipeline.review.report.thumbnails import Rle, thumbnail
from pipeline.review.source import Source
from pipeline.storage.retry import StoreUnavailable
from pipeline.worker.images import decode_image, decoded_bytes, fetch_image

CARDS, CARDS_A_REASON, CARDS_A_FAILURE = 24, 8, 4
FETCHED_AT_ONCE, DECODED_AT_ONCE = 8, 2
AT_RANDOM = "md5(image || '/' || object), image, object"  # the same objects every time, whatever their place
TITLES = {
    "overlap": "Overlapping masks",
    "near_duplicate": "Near-duplicates",
    "lost_click": "Masks without their own clicks",
    "area_outlier": "Unusual areas for the category",
    "changed": "Changed by the last night",
}

Key = tuple[str, str]


@dataclass(frozen=True)
class Images:
    """Where the images are, and how they are read: as the worker did."""

    source: ImageSource
    limits: Limits
    orientation: Literal["stored", "displayed"]


@dataclass(frozen=True)
class Card:
    """One object. `picture` is a data address, or None where there is none, for the reason `why`."""

    row: Mapping[str, Any]
    picture: str | None
    why: str | None
    message: str | None


@dataclass(frozen=True)
class Sheet:
    """Some of the `objects` that it is about; `kind` is "lowest", "random", a reason, or a failure."""

    title: str
    kind: str
    objects: int
    cards: Sequence[Card]


@dataclass
class _Shown:
    """What a card needs besides the queue's row."""

    rle: Rle | None = None
    other: Rle | None = None
    message: str | None = None
    clicks: Clicks = ()


def contact_sheets(source: Source, queue: ReviewQueue, images: Images | None) -> tuple[list[Sheet], list[Sheet]]:
    """The sheets of masks, and those of failures, the most frequent first; an image that cannot be had is said.

    Args:
        images: None where nobody knows where they are; then there are no pictures.
    """
    masks, failures = list(_mask_sheets(queue)), list(_failure_sheets(queue))
    rows = {_key(row): row for _, _, _, rows in masks + failures for row in rows}
    shown = _read(source, rows)
    pictures = _pictures(rows, shown, images)

    def sheet(title: str, kind: str, objects: int, members: Sequence[Row]) -> Sheet:
        cards = [Card(row, *pictures[_key(row)], shown[_key(row)].message) for row in members]
        return Sheet(title, kind, objects, cards)

    return [sheet(*each) for each in masks], [sheet(*each) for each in failures]


def _mask_sheets(queue: ReviewQueue) -> Iterator[tuple[str, str, int, list[Row]]]:
    yield "Lowest scores", "lowest", *_chosen(queue, "score IS NOT NULL", "score, image, object", CARDS)
    yield "Drawn at random", "random", *_chosen(queue, "score IS NOT NULL", AT_RANDOM, CARDS)
    for reason, title in TITLES.items():
        assert reason in REASONS
        found, rows = _chosen(queue, f"list_contains(reasons, '{reason}')", "rank", CARDS_A_REASON)
        if rows:
            yield title, reason, found, rows


def _failure_sheets(queue: ReviewQueue) -> Iterator[tuple[str, str, int, list[Row]]]:
    failures = queue.select("SELECT failure, count(*) AS number FROM queue WHERE failure IS NOT NULL GROUP BY 1")
    for each in sorted(failures, key=lambda row: (-row["number"], row["failure"])):
        reason = each["failure"]
        yield reason, reason, *_chosen(queue, f"failure = '{reason}'", AT_RANDOM, CARDS_A_FAILURE)


def _chosen(queue: ReviewQueue, condition: str, order: str, number: int) -> tuple[int, list[Row]]:
    found = queue.select(f"SELECT count(*) AS found FROM queue WHERE {condition}")[0]["found"]
    return found, queue.select(f"SELECT * FROM queue WHERE {condition} ORDER BY {order} LIMIT {number}")


def _key(row: Mapping[str, Any]) -> Key:
    return row["image"], row["object"]


def _other(row: Mapping[str, Any]) -> str | None:
    name = row["duplicate_of"] or row["overlap_with"] or row["lost_to"]
    return None if name is None else str(name)


def _read(source: Source, rows: Mapping[Key, Row]) -> dict[Key, _Shown]:
    """Masks, messages and clicks of the chosen objects, in one pass over the labels."""
    shown = {key: _Shown() for key in rows}
    names, found = {image for image, _ in rows}, []
    with closing(cast(Any, source.labels.images(["rle"]))) as images:
        for image in images:
            if image.rows[0]["image"] in names:
                found.append(image)
                if len(found) == len(names):
                    break
    for first in range(0, len(found), IMAGES_AT_ONCE):
        batch = found[first : first + IMAGES_AT_ONCE]
        clicks = source.clicks(batch)
        for image in batch:
            masks = {row["object"]: row["rle"] for row in image.rows}
            for each in image.rows:
                key = _key(each)
                if key in shown:
                    message = each["error"] and each["error"]["message"]
                    shown[key] = _Shown(each["rle"], masks.get(_other(rows[key])), message, clicks.get(key, ()))
    return shown


def _pictures(
    rows: Mapping[Key, Row], shown: Mapping[Key, _Shown], images: Images | None
) -> dict[Key, tuple[str | None, str | None]]:
    """Of every object its picture, or why there is none; every image is fetched once."""
    if images is None:
        return dict.fromkeys(rows, (None, "where the images are is not known: --images"))
    # What storage refused or what ended a worker is not asked for again.
    wanted = sorted(key for key, row in rows.items() if row["failure"] is None or row["failure"] in MENDABLE)
    pictures: dict[Key, tuple[str | None, str | None]] = {
        key: (None, None if key in shown else "not among the labels") for key in rows
    }
    by_image = [list(members) for _, members in groupby(wanted, key=lambda key: key[0])]
    camera = _Camera(images, shown)
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as threads:
        for drawn in threads.map(camera.draw, by_image):
            pictures |= drawn
    return pictures


class _Camera:
    """Fetches images and draws their objects, in threads; few images are in memory at a time."""

    def __init__(self, images: Images, shown: Mapping[Key, _Shown]) -> None:
        self._images, self._shown = images, shown
        self._decoding = threading.BoundedSemaphore(DECODED_AT_ONCE)
        self._unavailable: str | None = None

    def draw(self, objects: Sequence[Key]) -> dict[Key, tuple[str | None, str | None]]:
        """Pictures of objects of one image."""
        if self._unavailable:
            return dict.fromkeys(objects, (None, self._unavailable))
        source, limits = self._images.source, self._images.limits
        image = objects[0][0]
        try:
            data = fetch_image(source, image, limits)
            with self._decoding:
                decoded_bytes(data, source.url(image), limits)
                pixels = decode_image(data, source.url(image), self._images.orientation)
                return {key: (self._drawn(pixels, self._shown[key]), None) for key in objects}
        except BadImage as error:
            return dict.fromkeys(objects, (None, error.failure.message))
        except StoreUnavailable as error:
            self._unavailable = describe(error)  # the next would wait as long
            return dict.fromkeys(objects, (None, self._unavailable))

    def _drawn(self, pixels: Any, each: _Shown) -> str:
        return thumbnail(pixels, each.rle, each.other, each.clicks)
