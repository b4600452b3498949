"""Workers that die one after another: how many a run puts up with follows from its fleet and from what gets done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.config import parse_job
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.events import Event, Lost
from pipeline.driver.labelling import CRASHES_IN_A_ROW, Labelling, RunAborted
from pipeline.driver.seeing.metrics import RunMetrics
from pipeline.tasks import Progress
from tests.pipeline.make_data import EMPTY_PLAN

WORKERS = 64


class FleetOf:
    """Stands for a fleet whose every worker dies on its task; `images` are finished between two deaths."""

    def __init__(self, workers: int, images: int) -> None:
        self.ready_workers = self.wanted_workers = workers
        self._images, self._done = images, 0
        self.crashes = 0

    def waiting(self) -> str:
        return ""

    def progress(self) -> Progress:
        self._done += self._images
        return Progress(images=self._done)


def die(fleet: FleetOf, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's loop hears of so many deaths, each of a worker with a large shard."""
    monkeypatch.setattr(Labelling, "_join", lambda *_: None)
    job = parse_job({"images": "a", "clicks": "b", "output": "c"}, "job")
    heartbeat: Any = type("Silent", (), {"update": lambda *_: None})()
    dispatcher = Dispatcher([(shard, 4096) for shard in range(times)])
    plan = EMPTY_PLAN
    any_fleet: Any = fleet
    labelling = Labelling(job, plan, dispatcher, any_fleet, heartbeat, RunMetrics("labels"), lambda snapshot: None)
    labelling._take_in([])
    for _ in range(times):
        task = dispatcher.next([], 0.0)
        assert task is not None
        events: Sequence[Event] = [Lost("crash", "signal 11", task, [])]
        fleet.crashes += 1
        labelling._take_in(events)


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_nothing_but_crashes_ends_the_run_later_with_more_workers(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    fleet = FleetOf(workers, images=0)
    with pytest.raises(RunAborted, match="workers in a row died and no image was finished: signal 11"):
        die(fleet, CRASHES_IN_A_ROW * workers + 1, monkeypatch)
    assert fleet.crashes == CRASHES_IN_A_ROW * workers + 1


def test_crashes_among_images_that_are_finished_end_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    die(FleetOf(WORKERS, images=1), 3 * CRASHES_IN_A_ROW * WORKERS, monkeypatch)
