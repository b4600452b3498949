"""What a run left about itself besides masks: how it ended, when its parts arrived, where its time went, from what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.attempts import all_attempts
from pipeline.config import Limits
from pipeline.driver.seeing.stages import read_stages
from pipeline.parts import by_shard
from pipeline.plan import Plan
from pipeline.storage.store import Store


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run.

    Attributes:
        ending: its run.json; empty before the run has ended once.
        attempts: its plans, the first attempt first.
        arrivals: of every part, when it was written (seconds of the storage's clock) and how many images it has.
        stages: seconds by stage, all workers' added up; empty where they were not measured.
        diff: a night's diff.json; empty where the run is none.
    """

    store: Store
    ending: Mapping[str, Any] = field(default_factory=dict)
    attempts: Sequence[Plan] = ()
    arrivals: Sequence[tuple[float, int]] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    diff: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decided the masks, as the plan has it; empty where there is none."""
        return self.attempts[0].identity if self.attempts else {}

    @property
    def images(self) -> str | None:
        """The address of the images; None where nobody says."""
        address = self.ending.get("job", {}).get("images") or self.identity.get("images")
        return str(address) if address else None

    @property
    def orientation(self) -> str:
        """On which pixels the clicks were made."""
        return str(self.identity.get("orientation", "stored"))

    @property
    def limits(self) -> Limits:
        """The limits within which its images were fetched and decoded."""
        names = ("max_image_bytes", "max_image_pixels")
        return Limits(**{name: self.identity[name] for name in names if name in self.identity})


def read_run_facts(run: Store, night: Store | None) -> RunFacts:
    """What stands below `run`, and the diff of `night`."""
    attempts = all_attempts(run)
    return RunFacts(
        store=run,
        ending=_json(run, "run.json"),
        attempts=attempts,
        arrivals=sorted(arrival for plan in attempts for arrival in _arrivals(run, plan)),
        stages=read_stages(run, attempts[0].fingerprint) if attempts else {},
        diff=_json(night, "diff.json") if night else {},
    )


def _arrivals(run: Store, plan: Plan) -> list[tuple[float, int]]:
    images = {shard.index: shard.images for shard in plan.shards}
    found = by_shard(run.listing(f"{plan.root}parts"))
    return [(entry.modified.timestamp(), images.get(shard, 0)) for shard, entry in found]


def _json(store: Store, key: str) -> Mapping[str, Any]:
    try:
        document: Mapping[str, Any] = json.loads(store.read(key))
    except FileNotFoundError:
        return {}
    return document
