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
    """A worker is gone, with what it was running and what it had not begun.

    Attributes:
        place: where it was, if it said so.
        traceback: of the exception that ended it, or what Ray says of its end; empty where the driver ended it.
    """

    cause: Cause
    message: str
    running: Task | None
    others: Sequence[Task]
    place: Place | None = None
    traceback: str = ""


Event = Done | Unavailable | Lost
