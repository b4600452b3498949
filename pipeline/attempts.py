"""Attempts: the first plan, and one more for every retry of failed objects. Nothing is ever deleted.

An attempt has a plan and parts of its own, below `attempts/N/`; of each object the newest attempt's row counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, count, groupby
from operator import itemgetter

from pipeline.frozen_parts import FrozenParts
from pipeline.manifests.count import newest_failures
from pipeline.parts import Row
from pipeline.plan import Plan, load_plan, read_shard, write_plan
from pipeline.shards.shard_file import ImageClicks
from pipeline.storage.read_ahead import in_order
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
    failed = ((shard, row) for shard, row in newest_failures(parts) if wanted(row["error"]))
    by_shard = (
        (shard, {(row["image"], row["object"]) for _, row in rows})
        for shard, rows in groupby(failed, key=itemgetter(0))
    )

    def images_of(shard_and_failed: tuple[int, set[tuple[str, str]]]) -> list[ImageClicks]:
        shard, still_failed = shard_and_failed
        planned = read_shard(parts.store, parts.attempts[0].plan, shard)
        kept = (
            (each.image, tuple(member for member in each.objects if (each.image, member.object) in still_failed))
            for each in planned
        )
        return [ImageClicks(image, objects) for image, objects in kept if objects]

    for images in in_order(images_of, by_shard):
        yield from images


def _root(number: int) -> str:
    return "" if number == 1 else f"attempts/{number}/"
