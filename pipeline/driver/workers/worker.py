"""A worker as the driver knows it: where it is, what it was given, and what it was asked and has not answered yet."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import ray

from pipeline.tasks import Place, Progress, Task
from pipeline.worker.labeler import Labeler

# Ray's own restarts would hand a shard out again behind the driver's back: dead workers are replaced by the fleet.
OPTIONS: dict[str, Any] = {
    "max_restarts": 0,
    "max_task_retries": 0,
    "concurrency_groups": {"device": 2, "control": 2},
}
LabelerActor: Any = ray.remote(**OPTIONS)(Labeler)

Call = Future[Any]


@dataclass(eq=False)
class Worker:
    """One actor.

    Attributes:
        since_s: when it was asked for, began to load, or was last heard of before it was unreachable.
        placing, loading, polling, probing: calls that it has not answered.
        answer_by_s: when `polling` is answered at the latest, if the worker answers at all.
        tasks: by the call that does it, in the order in which they were given.
        unreachable: tasks of which it is not known what became.
    """

    actor: Any
    since_s: float
    placing: Call | None = None
    loading: Call | None = None
    polling: Call | None = None
    probing: Call | None = None
    answer_by_s: float = 0.0
    place: Place | None = None
    ready: bool = False
    tasks: dict[Call, Task] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    unreachable: list[Task] = field(default_factory=list)
    ended: bool = False

    @property
    def node(self) -> str:
        """Id of the node that it is on; empty before it has a place."""
        return self.place.node_id if self.place else ""

    @property
    def device(self) -> str:
        """What tells its device from all others; empty before it has a place."""
        return self.place.device if self.place else ""

    @property
    def needed(self) -> bool:
        """Whether it has tasks, of which it may not be known what became of them."""
        return bool(self.tasks or self.unreachable)

    def waits_for(self, call: Call) -> bool:
        """Whether the answer still matters: one that is unreachable is only asked whether it is there again."""
        return not self.ended and (self.probing is None or call is self.probing)
