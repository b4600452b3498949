"""Attempts: the first plan, and one more for every retry of failed objects. Nothing is ever deleted.

An attempt has a plan and parts of its own, below `attempts/N/`; of each object the newest attempt's row counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, groupby

from pipeline.parts import Row, failures, finished_shards, read_part
from pipeline.plan import ImageClicks, Plan, load_plan, read_shard, write_plan
from pipeline.storage.store import Store


def all_attempts(store: Store) -> list[Plan]:
    """The sealed plans of an output, first attempt first; empty where there is no run."""
    plans: list[Plan] = []
    for number in count(1):
        plan = load_plan(store, _root(number))
        if plan is None:
            return plans
        plans.append(plan)
    raise AssertionError("unreachable: count() never ends")


def plan_retry(store: Store, attempts: Sequence[Plan], wanted: Callable[[Row], bool], shard_images: int) -> Plan | None:
    """A new attempt for the failed objects that `wanted` accepts; None where there are none.

    Every earlier attempt must have all its parts.
    """
    images = _failed_images(store, attempts, wanted)
    first = next(images, None)
    if first is None:
        return None
    number = len(attempts) + 1
    identity = {**attempts[0].identity, "attempt": number}
    return write_plan(store, _root(number), identity, attempts[0].files, chain([first], images), shard_images)


def newest_rows(store: Store, attempts: Sequence[Plan], columns: Sequence[str] | None = None) -> Iterator[list[Row]]:
    """The rows of every image, image after image in sorted order, each object's from its newest attempt.

    All attempts are sorted by image, so they are merged as they are read and memory does not grow with the run.
    """
    newer = [_Peekable(_images(store, plan, columns)) for plan in attempts[1:]]
    for image, rows in _images(store, attempts[0], columns):
        by_object = {row["object"]: row for row in rows}
        for stream in newer:
            for row in stream.take(image):
                by_object[row["object"]] = row
        yield list(by_object.values())


def is_complete(store: Store, plan: Plan) -> bool:
    """Whether every shard of the plan has its part."""
    return finished_shards(store, plan) >= {shard.index for shard in plan.shards}


def _failed_images(store: Store, attempts: Sequence[Plan], wanted: Callable[[Row], bool]) -> Iterator[ImageClicks]:
    """Images with the failed objects to try again, out of the first attempt's plan, shard after shard."""
    still_failed = {
        (row["image"], row["object"])
        for rows in newest_rows(store, attempts, ["image", "object", "error"])
        for row in rows
        if row["error"] and wanted(row["error"])
    }
    first = attempts[0]
    shards = sorted({row["shard"] for row in failures(store, first, (shard.index for shard in first.shards))})
    for shard in shards:
        for image in read_shard(store, first, shard):
            objects = tuple(each for each in image.objects if (each.image, each.object) in still_failed)
            if objects:
                yield ImageClicks(image.image, objects)


def _images(store: Store, plan: Plan, columns: Sequence[str] | None) -> Iterator[tuple[str, list[Row]]]:
    for shard in sorted(finished_shards(store, plan)):
        rows = read_part(store, plan, shard, columns).to_pylist()
        for image, members in groupby(rows, key=lambda row: str(row["image"])):
            yield image, list(members)


class _Peekable:
    """A stream of images that gives up an image's rows only when asked for that image."""

    def __init__(self, stream: Iterator[tuple[str, list[Row]]]) -> None:
        self._stream = stream
        self._next = next(stream, None)

    def take(self, image: str) -> list[Row]:
        if self._next is None or self._next[0] != image:
            return []
        rows = self._next[1]
        self._next = next(self._stream, None)
        return rows


def _root(number: int) -> str:
    return "" if number == 1 else f"attempts/{number}/"
