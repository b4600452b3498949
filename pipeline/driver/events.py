"""What happens to tasks and workers, as the driver's loop hears of it from the fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.tasks import Place, Task, TaskReport

Cause = Literal["crash", "stuck", "device", "node"]


@dataclass(frozen=True)
class Done:
    """A task is finished."""

    report: TaskReport


@dataclass(frozen=True)
class Unavailable:
    """A task was given up because storage does not answer."""

    task: Task
    message: str


@dataclass(frozen=True)
class Lost:
    """A worker is gone, with what it was running and what it had not begun; `place` is where it was, if it said so."""

    cause: Cause
    message: str
    running: Task | None
    others: Sequence[Task]
    place: Place | None = None


Event = Done | Unavailable | Lost
