"""Attempts: the first plan, and one more for every retry of failed objects. Nothing is ever deleted.

An attempt has a plan and parts of its own, below `attempts/N/`; of each object the newest attempt's row counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, count

from pipeline.frozen_parts import FrozenParts, newest_rows
from pipeline.parts import Row, failures
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


def plan_retry(parts: FrozenParts, wanted: Callable[[Row], bool], shard_images: int) -> Plan | None:
    """A new attempt for the failed objects that `wanted` accepts; None where there are none.

    Args:
        parts: of all earlier attempts, none missing.
    """
    images = _failed_images(parts, wanted)
    head = next(images, None)
    if head is None:
        return None
    number, first = len(parts.attempts) + 1, parts.attempts[0].plan
    identity = {**first.identity, "attempt": number}
    return write_plan(parts.store, _root(number), identity, first.files, chain([head], images), shard_images)


def _failed_images(parts: FrozenParts, wanted: Callable[[Row], bool]) -> Iterator[ImageClicks]:
    """Images with the failed objects to try again, out of the first attempt's plan, shard after shard."""
    still_failed = {
        (row["image"], row["object"])
        for image in newest_rows(parts, ["error"])
        for row in image.rows
        if row["error"] and wanted(row["error"])
    }
    store, first = parts.store, parts.attempts[0].plan
    shards = sorted({row["shard"] for row in failures(store, first, (shard.index for shard in first.shards))})
    for shard in shards:
        for image in read_shard(store, first, shard):
            objects = tuple(each for each in image.objects if (each.image, each.object) in still_failed)
            if objects:
                yield ImageClicks(image.image, objects)


def _root(number: int) -> str:
    return "" if number == 1 else f"attempts/{number}/"
