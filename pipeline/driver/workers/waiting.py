"""Why no worker is ready yet, or never will be, for people: what is asked, what there is, since when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import Workers
from pipeline.driver.workers.room import Room


@dataclass(frozen=True)
class Starting:
    """A worker that is not ready.

    Attributes:
        for_s: seconds since it was asked for, or since it began to load.
        loads: whether it has its process and loads the model; else Ray has not started it.
    """

    for_s: float
    loads: bool


def why_waiting(starting: Sequence[Starting], asked: Workers, room: Room, free: str) -> str:
    """One sentence without a full stop; empty where nobody is waited for.

    Ray does not say whether it looks for room or starts a process. So "no room" is said only of a cluster in which no
    node could ever hold a worker.

    Args:
        starting: workers that were asked for and are not ready.
        asked: what each asks for.
        room: what the cluster has.
        free: what of it nobody uses, in words.
    """
    if not starting:
        return ""
    if loading_for_s := [worker.for_s for worker in starting if worker.loads]:
        load = "1 worker loads" if len(loading_for_s) == 1 else f"{len(loading_for_s)} workers load"
        return f"{load} the model, for {max(loading_for_s):.0f} s"
    waited_s = max(worker.for_s for worker in starting)
    found = f"each asks for {_wanted(asked)}; the cluster has {room}, of which {free} are free"
    if not room.nodes:
        return f"no node has room for a worker, for {waited_s:.0f} s: {found}"
    return f"Ray has started 0 of {len(starting)} workers, for {waited_s:.0f} s: {found}"


def why_unschedulable(asked: Workers, room: Room, for_s: float) -> str:
    """What is missing where no node could ever hold a worker, in one line.

    Args:
        asked: what each worker asks for.
        room: what the cluster has, none of which is large enough.
        for_s: for how long that has been so.
    """
    largest = room.largest or {}
    kinds = (("GPU", "GPUs", asked.gpus), ("CPU", "CPUs", asked.cores))
    short = [
        f"{plural} (a worker asks for {wanted:g}, the largest node has {largest.get(kind, 0.0):g})"
        for kind, plural, wanted in kinds
        if wanted > largest.get(kind, 0.0)
    ]
    missing = " and ".join(short) or f"one node that has {_wanted(asked)} together"
    return (
        f"no worker can be scheduled, for {for_s:.0f} s (limits.schedule_timeout_s): missing {missing}; the cluster "
        f"has {room}. Ask for less (workers.gpus, workers.cpus), or find out why no such node or pod comes"
    )


def _wanted(asked: Workers) -> str:
    return f"{asked.gpus:g} GPUs and {asked.cores:g} CPUs" if asked.gpus else f"{asked.cores:g} CPUs"
