"""A node where workers do not start is left alone; the run ends when no node is left."""

from __future__ import annotations

import logging

import pytest

from m2n2.errors import InvalidWeights
from pipeline.driver.workers.nodes import FAILURES_ALLOWED, Nodes, NoWorkers
from pipeline.tasks import Place

BAD, GOOD = Place("id-bad", "gpu-07", 1), Place("id-good", "gpu-08", 2)


def fail(nodes: Nodes, place: Place | None, times: int = FAILURES_ALLOWED) -> None:
    for _ in range(times):
        nodes.failed(place, "RuntimeError: CUDA error")


def test_a_node_is_given_up_after_some_failures_in_a_row_and_named(caplog: pytest.LogCaptureFixture) -> None:
    nodes = Nodes()
    fail(nodes, BAD, FAILURES_ALLOWED - 1)
    fail(nodes, GOOD, 1)
    assert nodes.given_up == frozenset()
    with caplog.at_level(logging.ERROR):
        fail(nodes, BAD, 1)
    assert nodes.given_up == {"id-bad"}
    assert (
        "node not used any more host=gpu-07 failed starts=3 failed devices=0: RuntimeError: CUDA error" in caplog.text
    )
    assert not nodes.none_left({"id-bad", "id-good"})
    assert nodes.none_left({"id-bad"})
    assert not nodes.none_left(set()), "where no node is yet, one may come"


def test_a_worker_that_becomes_ready_clears_its_node() -> None:
    nodes = Nodes()
    fail(nodes, BAD, FAILURES_ALLOWED - 1)
    nodes.worked(BAD)
    fail(nodes, BAD, FAILURES_ALLOWED - 1)
    assert nodes.given_up == frozenset()


def test_a_refusal_is_final_at_once_and_ends_the_run_as_what_it_is() -> None:
    nodes = Nodes()
    nodes.failed(BAD, "InvalidWeights: damaged", InvalidWeights("damaged"))
    assert nodes.given_up == {"id-bad"}
    with pytest.raises(InvalidWeights, match=r"^gpu-07: damaged$"):
        nodes.fail()
    fail(nodes, GOOD)
    with pytest.raises(NoWorkers, match=r"gpu-07, 1 times in a row: InvalidWeights.*; gpu-08, 3 times in a row: Runt"):
        nodes.fail()


def test_workers_that_die_before_they_say_where_they_are_count_too() -> None:
    nodes = Nodes()
    fail(nodes, None)
    assert nodes.none_left({"id-good"})
    assert nodes.given_up == frozenset(), "no node can be named for them"
    nodes.worked(GOOD)
    assert not nodes.none_left({"id-good"})


def test_devices_that_fail_between_good_starts_give_a_node_up() -> None:
    nodes = Nodes()
    for _ in range(FAILURES_ALLOWED):
        assert nodes.given_up == frozenset()
        nodes.worked(BAD)  # the next worker loads its model there, and is ready
        nodes.device_failed(BAD, "DeviceFailed: CUDA error: uncorrectable ECC error")
    assert nodes.given_up == {"id-bad"}
    nodes.finished(BAD)  # by a worker that was there already: no new one starts there all the same
    assert nodes.given_up == {"id-bad"}
    with pytest.raises(NoWorkers, match="gpu-07, 3 times in a row: DeviceFailed: CUDA error"):
        nodes.fail()


def test_a_device_that_finishes_a_task_clears_its_node() -> None:
    nodes = Nodes()
    for _ in range(3 * FAILURES_ALLOWED):
        nodes.device_failed(BAD, "DeviceFailed: CUDA error")
        nodes.finished(BAD)
    assert nodes.given_up == frozenset()
