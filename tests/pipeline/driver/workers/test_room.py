"""How many CPUs a worker gets where its job leaves that to the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.config import DEFAULT_CPUS, Workers, parse_job
from pipeline.driver.progress import HEARTBEAT_KEY
from pipeline.driver.run import run
from pipeline.driver.workers import room
from pipeline.driver.workers.room import cpus_beside_gpu, settle_cpus
from pipeline.plan import find_or_make_plan
from pipeline.storage.store import Store
from pipeline.worker.cores import Cores, Need
from tests.pipeline.make_data import put_dataset

AUTO = Workers(cpus="auto")
CORES = Cores(1.0, 8.0, 0.3, "auto", (Need("A100 80 GB", 10.0, 4), Need("H100 SXM", 20.0, 7), Need("L4", 5.0, 3)))
HEAD = {"CPU": 2.0}


def node(card: str, cpus: float, gpus: float = 1) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus, f"accelerator_type:{card}": 1.0}


@pytest.mark.parametrize(("nodes", "workers", "cpus"), [
    ([HEAD, node("A100", 16)], AUTO, 4),
    ([HEAD, node("H100", 128, 8)], AUTO, 7),
    ([HEAD, node("H100", 32, 8)], AUTO, 4),
    ([HEAD, node("A100", 16), node("H100", 32)], AUTO, 7),
    ([HEAD, node("A100", 16), node("H100", 6)], AUTO, 6),
    ([node("A100", 6)], Workers(cpus="auto", gpus=0.5), 3),
    ([node("A100", 0)], AUTO, DEFAULT_CPUS),
    ([node("A100", 16), node("H100", 0.5)], AUTO, 4),
    ([node("A100", 16, 2), node("H100", 1)], Workers(cpus="auto", gpus=2), 4),
    ([node("A100", 30, 10)], Workers(cpus="auto", gpus=1), 3),
])  # fmt: skip
def test_a_worker_gets_what_its_card_needs_and_no_more_than_every_node_has(
    nodes: list[Mapping[str, float]], workers: Workers, cpus: float
) -> None:
    assert cpus_beside_gpu(workers, CORES, nodes)[0] == cpus


def test_a_share_is_not_less_than_it_is_for_being_reckoned_in_binary() -> None:
    many = Cores(1.0, 8.0, 0.3, "auto", (Need("A100 80 GB", 10.0, 40),))
    assert 100 * 0.29 < 29
    assert cpus_beside_gpu(Workers(cpus="auto", gpus=0.29), many, [node("A100", 100)])[0] == 29


def test_where_nothing_is_known_it_is_the_default_and_says_so() -> None:
    known = [node("A100", 16)]
    for cores, nodes, unknown in (
        (None, known, ": this backbone or device is not known, or none of the images looked at could be read"),
        (CORES, [node("T4", 16)], " for the cluster's GPUs (T4)"),
        (CORES, [HEAD], " for the cluster's GPUs (none whose kind is known)"),
    ):
        assert cpus_beside_gpu(AUTO, cores, nodes) == (DEFAULT_CPUS, f"the default: nothing was reckoned{unknown}")


def test_the_cluster_is_asked_and_one_line_says_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m2n2.run")
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": node("H100", 128)}])
    document = put_dataset(Store(str(tmp_path)), images=2)
    plan = find_or_make_plan(parse_job(document, "job"))
    job = parse_job(document | {"backbone": {"name": "sd2"}, "workers": {"cpus": "auto"}}, "job")
    settled = settle_cpus(job, plan).workers
    assert settled == Workers(cpus=settled.cores)
    assert settled.cores > DEFAULT_CPUS
    (line,) = caplog.messages
    assert line.startswith(f"workers.cpus auto: {settled.cores:g}, H100 SXM needs {settled.cores:g} for ")
    stated = parse_job(document, "job")
    assert settle_cpus(stated, plan) is stated


@pytest.mark.usefixtures("local_ray")
def test_workers_are_made_with_the_number_and_the_heartbeat_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "cpus_beside_gpu", lambda workers, cores, nodes: (2.0, "there are no GPUs here"))
    store = Store(str(tmp_path))
    assert run(parse_job(put_dataset(store, images=4) | {"workers": {"gpus": 0, "cpus": "auto"}}, "job")).exit_code == 0
    beat = json.loads(store.read(f"labels/{HEARTBEAT_KEY}"))
    assert (beat["worker_cpus"], beat["wanted"]) == (2.0, 1)
