"""How many workers a run can have: what the job asks for, or what the cluster has room for as nodes come and go."""

from __future__ import annotations

import math
import time
from collections.abc import Collection

from pipeline.config import Job
from pipeline.driver.workers.nodes import Nodes, NoWorkers
from pipeline.driver.workers.room import Room, find_room, free
from pipeline.driver.workers.waiting import Starting, why_unschedulable, why_waiting
from pipeline.driver.workers.worker import Worker

COUNT_AGAIN_EVERY_S = 10.0


class Capacity:
    """Of the cluster for one job, without the nodes that are given up."""

    def __init__(self, job: Job, nodes: Nodes) -> None:
        self._job, self._nodes = job, nodes
        self._room, self._counted_s = Room(), -math.inf
        self._room_seen_s = time.monotonic()

    def look_around(self) -> None:
        """Count again now and then. Raises NoWorkers where no node has been large enough for too long.

        That is, for one worker within `limits.schedule_timeout_s`.
        """
        if time.monotonic() - self._counted_s > COUNT_AGAIN_EVERY_S:
            self._count()
        limit_s = self._job.limits.schedule_timeout_s
        if time.monotonic() - self._room_seen_s <= limit_s:
            return
        self._count()
        if (for_s := time.monotonic() - self._room_seen_s) > limit_s:
            raise NoWorkers(why_unschedulable(self._job.workers, self._room, for_s))

    def none_left(self) -> bool:
        """Whether all nodes that could hold a worker are given up; counted again before that is said."""
        if not self._nodes.none_left(self._room.nodes):
            return False
        self._count()
        return self._nodes.none_left(self._room.nodes)

    def workers(self, there: Collection[Worker]) -> int:
        """How many the job asks for, or how many there is room for beside those that are there."""
        if self._job.workers.count != "auto":
            return self._job.workers.count
        # Workers that run on a node where no other starts go on; the room there is not counted.
        given_up = self._nodes.given_up
        going_on = sum(worker.node in given_up for worker in there) if given_up else 0
        # One even where there is no room yet: its request is what makes an autoscaler add a node.
        return max(1, self._room.workers + going_on)

    def why_waiting(self, workers: Collection[Worker]) -> str:
        """As `waiting.why_waiting`, of workers none of which is ready."""
        now = time.monotonic()
        starting = [Starting(now - worker.since_s, worker.place is not None) for worker in workers]
        return why_waiting(starting, self._job.workers, self._room, free() if starting else "")

    def _count(self) -> None:
        now = time.monotonic()
        self._room, self._counted_s = find_room(self._job.workers, self._nodes.given_up), now
        if self._room.nodes:
            self._room_seen_s = now
