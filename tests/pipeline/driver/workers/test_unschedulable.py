"""A worker that no node can hold: the run ends within `limits.schedule_timeout_s` and names what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import Workers, parse_job
from pipeline.driver.workers import capacity
from pipeline.driver.workers.fleet import Fleet
from pipeline.driver.workers.nodes import NoWorkers
from pipeline.driver.workers.room import Room, find_room
from pipeline.driver.workers.waiting import why_unschedulable
from pipeline.driver.workers.worker import Worker
from tests.pipeline.make_data import EMPTY_PLAN

JOB = parse_job({"images": "a", "clicks": "b", "output": "c", "workers": {"count": 4, "gpus": 1, "cpus": 7}}, "job")
HEAD = {"NodeID": "head", "Alive": True, "Resources": {"CPU": 8.0}}
GPU = {"NodeID": "gpu-07", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}


class Cluster:
    """Its nodes, and a clock that only moves when it is told to; workers are asked for and never placed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, Any]) -> None:
        self.nodes, self.now_s = list(nodes), 0.0
        monkeypatch.setattr("ray.nodes", lambda: self.nodes)
        monkeypatch.setattr(capacity.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(Fleet, "_start", lambda fleet: Worker(None, since_s=self.now_s))
        self.fleet = Fleet(JOB, EMPTY_PLAN)

    def keep_until(self, end_s: float) -> None:
        """The driver's loop, every ten seconds."""
        while self.now_s < end_s:
            self.now_s += 10
            self.fleet.keep(tasks_waiting=4)


def test_a_cluster_that_never_gets_a_gpu_ends_the_run_within_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, HEAD)
    with pytest.raises(NoWorkers, match=r"missing GPUs \(a worker asks for 1, the largest node has 0\)"):
        cluster.keep_until(7200)
    assert JOB.limits.schedule_timeout_s < cluster.now_s <= JOB.limits.schedule_timeout_s + 20


def test_a_node_that_an_autoscaler_adds_in_time_is_waited_for_however_busy_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(monkeypatch, HEAD)
    cluster.keep_until(890)
    cluster.nodes.append(GPU)
    cluster.keep_until(6000)


def test_a_spot_node_that_is_lost_may_be_replaced_in_as_much_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, HEAD, GPU)
    cluster.keep_until(5000)
    cluster.nodes.remove(GPU)
    cluster.keep_until(5800)
    with pytest.raises(NoWorkers, match="no worker can be scheduled"):
        cluster.keep_until(7200)


@pytest.mark.parametrize(("asked", "missing"), [
    (Workers(gpus=0, cpus=64), "CPUs (a worker asks for 64, the largest node has 8);"),
    (Workers(gpus=2, cpus=64), "GPUs (a worker asks for 2, the largest node has 1) and CPUs (a worker asks for 64,"),
    (Workers(gpus=1, cpus=8), "one node that has 1 GPUs and 8 CPUs together;"),
])  # fmt: skip
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, asked: Workers, missing: str) -> None:
    small = {**GPU, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    monkeypatch.setattr("ray.nodes", lambda: [HEAD, small])
    room = find_room(asked, without=())
    assert not room.nodes
    assert f"missing {missing}" in why_unschedulable(asked, room, 901)


def test_a_cluster_without_any_node_is_told_as_well() -> None:
    assert "missing GPUs (a worker asks for 1, the largest node has 0)" in why_unschedulable(JOB.workers, Room(), 901)
