"""A device that fails in the middle of a run: its node is counted, no image is blamed, the shard is done elsewhere."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from pipeline.config import parse_job
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.events import Lost
from pipeline.driver.labelling import Labelling
from pipeline.driver.seeing.metrics import RunMetrics
from pipeline.driver.suspicions import Suspicions
from pipeline.driver.workers.answers import Answers
from pipeline.driver.workers.fleet import Fleet
from pipeline.driver.workers.nodes import FAILURES_ALLOWED
from pipeline.driver.workers.worker import Worker
from pipeline.tasks import Place, Progress, Task
from pipeline.worker.device import DeviceFailed
from tests.pipeline.make_data import EMPTY_PLAN

JOB = parse_job({"images": "a", "clicks": "b", "output": "c"}, "job")
BROKEN = Place("id-broken", "gpu-07", 7)
ANSWERS = Answers()
FAILURE = RayTaskError("label", "traceback", DeviceFailed("CUDA error: an illegal memory access"))


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """No Ray."""
    monkeypatch.setattr("ray.kill", lambda actor: None)
    return Fleet(JOB, EMPTY_PLAN, ANSWERS)


def lose_a_device(fleet: Fleet, tasks: list[Task], stale: Task | None = None, place: Place = BROKEN) -> Lost:
    """A worker with these tasks answers to the last one; `stale` is what it said last that it was running."""
    worker = Worker(None, 0.0, place=place, ready=True, progress=Progress(running=stale))
    fleet.workers.append(worker)
    for task in tasks:
        worker.tasks[ANSWERS.expect(worker, SimpleNamespace(future=Future))] = task
    list(worker.tasks)[-1].set_exception(FAILURE)
    [event] = fleet.poll(0)
    assert isinstance(event, Lost)
    return event


def test_the_fleet_says_which_task_it_was_and_where(fleet: Fleet) -> None:
    event = lose_a_device(fleet, [Task(0), Task(1)], stale=Task(0))
    assert (event.cause, event.running, event.others, event.place) == ("device", Task(1), [Task(0)], BROKEN)
    assert "CUDA error: an illegal memory access" in event.message


def labelling_of(dispatcher: Dispatcher, fleet: Fleet) -> Labelling:
    heartbeat: Any = type("Silent", (), {"update": lambda *_: None})()
    return Labelling(JOB, EMPTY_PLAN, dispatcher, fleet, heartbeat, RunMetrics("labels"), lambda snapshot: None)


def test_a_node_whose_devices_fail_is_given_up_and_no_image_is_suspected(fleet: Fleet) -> None:
    dispatcher = Dispatcher([(shard, 2) for shard in range(FAILURES_ALLOWED)])
    labelling = labelling_of(dispatcher, fleet)
    for _ in range(FAILURES_ALLOWED):
        task = dispatcher.next([], 0.0, BROKEN.device, {BROKEN.device, "id-sound/"})
        assert task is not None
        labelling._take_in([lose_a_device(fleet, [task])])
    assert fleet.nodes.given_up == {BROKEN.node_id}
    assert dispatcher.suspicions() == Suspicions()
    again = [dispatcher.next([], 0.0, "id-sound/", {"id-sound/"}) for _ in range(FAILURES_ALLOWED)]
    assert None not in again, "all are done elsewhere, at once"


def test_one_broken_gpu_of_several_is_told_from_its_neighbours(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """The neighbour finishes tasks all the while, and does at once what the broken one was given."""
    broken, sound = (Place("id-of-both", "gpu-07", pid, gpu=gpu) for pid, gpu in ((7, "3"), (8, "4")))
    dispatcher = Dispatcher([(shard, 2) for shard in range(2 * FAILURES_ALLOWED)])
    labelling = labelling_of(dispatcher, fleet)
    devices = {broken.device, sound.device}
    for _ in range(FAILURES_ALLOWED):
        assert fleet.nodes.given_up == frozenset()
        fleet.nodes.finished(sound)
        task = dispatcher.next([], 0.0, broken.device, devices)
        assert task is not None
        labelling._take_in([lose_a_device(fleet, [task], place=broken)])
    assert fleet.nodes.given_up == {"id-of-both"}
    assert "node not used any more host=gpu-07 failed starts=0 failed devices=3: GPU 3: " in caplog.text
    done = [dispatcher.next([], 0.0, sound.device, devices) for _ in range(2 * FAILURES_ALLOWED)]
    assert None not in done
    assert dispatcher.suspicions() == Suspicions()


def test_a_second_device_that_fails_under_a_task_makes_it_a_suspect_and_spares_the_node(fleet: Fleet) -> None:
    dispatcher = Dispatcher([(0, 2)])
    labelling = labelling_of(dispatcher, fleet)
    for _ in range(FAILURES_ALLOWED):
        task = dispatcher.next([], 0.0)
        assert task is not None
        labelling._take_in([lose_a_device(fleet, [task])])
    assert fleet.nodes.given_up == frozenset()
    assert {task.stop for task in dispatcher.suspicions().crashes} == {1, 2}, "the shard is taken apart"


def test_an_error_while_a_model_loads_is_a_failed_start(fleet: Fleet) -> None:
    for _ in range(FAILURES_ALLOWED):
        assert fleet.nodes.given_up == frozenset()
        worker = Worker(None, 0.0, place=BROKEN)
        worker.loading = ANSWERS.expect(worker, SimpleNamespace(future=Future))
        fleet.workers.append(worker)
        worker.loading.set_exception(FAILURE)
        [event] = fleet.poll(0)
        assert isinstance(event, Lost)
        assert (event.cause, event.running) == ("crash", None)
    assert fleet.nodes.given_up == {BROKEN.node_id}
