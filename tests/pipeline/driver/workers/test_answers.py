"""Answers come in one queue, of finished tasks first."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

from pipeline.driver.workers.answers import Answers
from pipeline.driver.workers.worker import Worker
from pipeline.tasks import Task

REFERENCE = SimpleNamespace(future=Future)


def test_a_task_that_was_finished_before_its_worker_died_is_taken_in_before_the_death() -> None:
    answers, worker = Answers(), Worker(None, 0.0)
    polling, call = answers.expect(worker, REFERENCE), answers.expect(worker, REFERENCE)
    worker.tasks[call] = Task(0)
    polling.set_exception(RuntimeError("the actor died"))
    call.set_result("done")
    assert answers.take(0) == [(worker, call), (worker, polling)]
    assert answers.take(0) == []


def test_of_a_worker_that_is_unreachable_only_one_answer_matters() -> None:
    answers, worker = Answers(), Worker(None, 0.0)
    worker.polling = answers.expect(worker, REFERENCE)
    assert worker.waits_for(worker.polling)
    worker.probing = answers.expect(worker, REFERENCE)
    assert worker.waits_for(worker.probing)
    assert not worker.waits_for(worker.polling)
    worker.ended = True
    assert not worker.waits_for(worker.probing)
