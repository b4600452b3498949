"""Doubts over a run: counted across drivers, said with numbers, and settled by the job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Job, parse_job
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.doubts import Doubts, read_doubts, warnings, why_doubtful, write_doubts
from pipeline.driver.events import Done
from pipeline.driver.labelling import Labelling, RunAborted
from pipeline.driver.progress import Heartbeat
from pipeline.driver.seeing.metrics import RunMetrics
from pipeline.storage.store import Store
from pipeline.tasks import Doubt, Progress, Task, TaskReport
from tests.pipeline.make_data import EMPTY_PLAN


def job(**changes: Any) -> Job:
    return parse_job({"images": "/photos", "clicks": "/c.parquet", "output": "/labels"} | changes, "job")


def test_counts_add_up_and_survive_a_restart(tmp_path: Path) -> None:
    store, doubts = Store(str(tmp_path)), Doubts()
    for number in range(3):
        doubts = doubts.plus(TaskReport(Task(number), 4, 8, {}, 1.0, None, {"exif_orientation": 1}, looked_at=4))
    assert doubts == Doubts(12, {"exif_orientation": 3})
    write_doubts(store, "abc", doubts)
    assert read_doubts(store, "abc") == doubts
    assert read_doubts(store, "another plan") == read_doubts(Store(str(tmp_path / "empty")), "abc") == Doubts()


def test_turned_photos_end_a_run_above_the_limit_and_say_which_key_settles_it() -> None:
    many, few = Doubts(1000, {"exif_orientation": 51}), Doubts(1000, {"exif_orientation": 50})
    message = why_doubtful(many, job())
    assert message is not None
    assert message.startswith("51 of 1000 images have an EXIF orientation by which viewers turn them")
    assert "set `orientation: stored`" in message
    assert message.endswith("allowed: 5.0% (limits.max_suspect_share)")
    assert why_doubtful(few, job()) is None
    assert len(warnings(few, job())) == 1
    assert why_doubtful(many, job(limits={"max_suspect_share": 0.1})) is None


def test_a_job_that_says_the_orientation_settles_it() -> None:
    many = Doubts(1000, {"exif_orientation": 900})
    for stated in (job(orientation="stored"), job(orientation="stored").model_copy(update={"output": "/elsewhere"})):
        assert why_doubtful(many, stated) is None
        assert warnings(many, stated) == []
    assert why_doubtful(many, job().model_copy(update={"output": "/elsewhere"})) is not None, "the default says nothing"


def test_clicks_all_in_one_quarter_are_a_warning_with_numbers() -> None:
    (line,) = warnings(Doubts(100, {"upper_left_quarter": 98}), job())
    assert line.startswith(
        "all clicks of 98 of 100 images lie in the upper left quarter: were they made on smaller copies"
    )
    assert why_doubtful(Doubts(100, {"upper_left_quarter": 98}), job()) is None
    assert (
        warnings(Doubts(100, {"upper_left_quarter": 60}), job())
        == warnings(Doubts(9, {"upper_left_quarter": 9}), job())
        == []
    )


class FleetThatFinds:
    """Stands for a fleet whose every shard of ten images has `turned` that a viewer would turn."""

    ready_workers = wanted_workers = 1

    def waiting(self) -> str:
        return ""

    def progress(self) -> Progress:
        return Progress()


def test_the_run_stops_while_it_fetches_and_the_next_driver_goes_on_counting(tmp_path: Path) -> None:
    limits = {"min_objects_before_abort": 50}
    doubtful = job(output=str(tmp_path), limits=limits)
    plan = replace(EMPTY_PLAN, fingerprint="abc")

    def label(of: Job, shards: int, turned: int) -> None:
        any_fleet: Any = FleetThatFinds()
        with Heartbeat(of.output_store, "abc", 1) as heartbeat:
            dispatcher = Dispatcher([(shard, 10) for shard in range(99)])
            labelling = Labelling(
                of, plan, dispatcher, any_fleet, heartbeat, RunMetrics("labels"), lambda snapshot: None
            )
            for _ in range(shards):
                task = dispatcher.next([], 0.0)
                assert task is not None
                doubts: dict[Doubt, int] = {"exif_orientation": turned}
                labelling._take_in([Done(TaskReport(task, 10, 10, {}, 1.0, None, doubts, looked_at=10))])
                labelling._check_limits()

    label(doubtful, shards=4, turned=1)  # too few objects to judge
    with pytest.raises(RunAborted, match="9 of 90 images have an EXIF orientation"):
        label(doubtful, shards=5, turned=1)
    label(job(output=str(tmp_path), limits=limits, orientation="stored"), shards=5, turned=10)
    assert read_doubts(doubtful.output_store, "abc") == Doubts(140, {"exif_orientation": 59})
