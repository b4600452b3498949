"""What a driver has found out about images that kill their worker, kept in the output for the driver after it.

Without it every restart would lose as many workers again as it took to find these images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.driver.plan_notes import read_notes, write_notes
from pipeline.failure import Failure
from pipeline.storage.store import Store
from pipeline.tasks import Task

SUSPICIONS_KEY = "status/crashes.json"


@dataclass(frozen=True)
class Suspicions:
    """Tasks that a worker died on, how often, and the images (by position in their shard) that are found guilty."""

    crashes: Mapping[Task, int] = field(default_factory=dict)
    poisonous: Mapping[int, Mapping[int, Failure]] = field(default_factory=dict)


def write_suspicions(store: Store, fingerprint: str, suspicions: Suspicions) -> None:
    """Replace what stands there; of several drivers the last one's counts."""
    notes = {
        "crashes": [[task.shard, task.first, task.stop, number] for task, number in suspicions.crashes.items()],
        "poisonous": [
            [shard, position, failure.reason, failure.message]
            for shard, images in suspicions.poisonous.items()
            for position, failure in images.items()
        ],
    }
    write_notes(store, SUSPICIONS_KEY, fingerprint, notes)


def read_suspicions(store: Store, fingerprint: str) -> Suspicions:
    """What an earlier driver found out about the plan with this fingerprint; nothing where there was none."""
    notes = read_notes(store, SUSPICIONS_KEY, fingerprint)
    if notes is None:
        return Suspicions()
    poisonous: dict[int, dict[int, Failure]] = {}
    for shard, position, reason, message in notes["poisonous"]:
        poisonous.setdefault(shard, {})[position] = Failure(reason, message)
    crashes = {Task(shard, first, stop): number for shard, first, stop, number in notes["crashes"]}
    return Suspicions(crashes, poisonous)
