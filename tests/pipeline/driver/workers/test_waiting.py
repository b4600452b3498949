"""What people read while no worker is ready."""

from __future__ import annotations

import pytest

from pipeline.config import Workers
from pipeline.driver.workers.room import Room
from pipeline.driver.workers.waiting import Starting, why_waiting

ON_GPU = Workers(gpus=1, cpus=4)
CPUS_ONLY = Room(nodes=frozenset(), workers=0, total={"CPU": 32.0, "GPU": 0.0}, count=2)
WITH_GPUS = Room(nodes=frozenset({"gpu-07"}), workers=2, total={"CPU": 32.0, "GPU": 2.0}, count=3)
ASKED = [Starting(74.6, loads=False), Starting(12.0, loads=False)]


def test_a_cluster_without_a_gpu_is_named_with_what_is_asked_what_there_is_and_since_when() -> None:
    assert why_waiting(ASKED, ON_GPU, CPUS_ONLY, "0 GPUs and 30 CPUs") == (
        "no node has room for a worker, for 75 s: each asks for 1 GPUs and 4 CPUs; "
        "the cluster has 0 GPUs and 32 CPUs on 2 nodes, of which 0 GPUs and 30 CPUs are free"
    )


def test_where_a_node_could_hold_a_worker_nobody_says_that_there_is_no_room() -> None:
    said = why_waiting(ASKED, ON_GPU, WITH_GPUS, "0 GPUs and 2 CPUs")
    assert said.startswith("Ray has started 0 of 2 workers, for 75 s: each asks for 1 GPUs and 4 CPUs; ")
    assert "room" not in said


@pytest.mark.parametrize(("starting", "said"), [
    ([Starting(3.0, loads=True), *ASKED], "1 worker loads the model, for 3 s"),
    ([Starting(3.0, loads=True), Starting(8.0, loads=True)], "2 workers load the model, for 8 s"),
    ([], ""),
])  # fmt: skip
def test_workers_that_load_are_what_is_waited_for(starting: list[Starting], said: str) -> None:
    assert why_waiting(starting, ON_GPU, WITH_GPUS, "") == said


def test_a_job_without_gpus_is_not_told_of_gpus_that_it_asks_for() -> None:
    assert "each asks for 2 CPUs;" in why_waiting(ASKED, Workers(gpus=0, cpus=2), CPUS_ONLY, "nothing")
