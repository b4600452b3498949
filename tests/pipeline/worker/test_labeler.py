"""The actor's class without its actor: what a job's keys change about how it labels, and what they may not."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config import parse_job
from pipeline.parts import read_part
from pipeline.plan import find_or_make_plan
from pipeline.storage.store import Store
from pipeline.tasks import Task
from pipeline.worker.labeler import Labeler
from pipeline.worker.work import WorkUnderWay
from tests.pipeline.make_data import click_rows, encode, parquet, picture

IMAGES = 6


JOB = {
    "images": "a",
    "clicks": "b",
    "output": "c",
    "workers": {"count": 1, "gpus": 0, "cpus": 2},
    "limits": {"image_timeout_s": 60},
}


def labelled(folder: Path, batch: int | str) -> list[dict[str, Any]]:
    """The rows of a part, but for the seconds that they took and the run that they are of."""
    store = Store(str(folder))
    for number in range(IMAGES):
        store.put(f"photos/{number}.png", encode(picture(96 + 4 * number, 72)))
    rows = [row for number in range(IMAGES) for row in click_rows(f"{number}.png")]
    store.put("clicks.parquet", parquet(rows))
    document = {
        "images": store.url("photos/"),
        "clicks": store.url("clicks.parquet"),
        "output": store.url("labels/"),
        "backbone": {"name": "colour", "grid": 12, "batch": batch},
        "workers": {"count": 1, "gpus": 0, "cpus": 2},
    }
    job = parse_job(document, "test")
    plan = find_or_make_plan(job)
    worker = Labeler(job, plan.reference)
    worker.load([])
    assert worker.label(Task(0), plan.shards[0]).failed == {}
    assert worker.progress().running is None
    return [row | {"seconds": 0.0, "provenance": ""} for row in read_part(job.output_store, plan, 0).to_pylist()]


def test_how_far_it_is_is_told_when_it_is_time_and_at_once_where_an_image_is_over_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr("pipeline.worker.labeler.time", SimpleNamespace(monotonic=lambda: now_s, sleep=sleep))
    any_plan: Any = None
    worker = Labeler(parse_job(JOB, "test"), any_plan)
    worker._work = WorkUnderWay(clock=lambda: now_s)
    worker.progress(within_s=40.0)
    assert now_s == pytest.approx(40.0)
    with worker._work.image_of(Task(3)):
        assert worker.progress(within_s=1000.0).slowest == Task(3)
    assert 100.0 < now_s <= 101.0, "and not after 1,040 s"


def test_images_in_batches_get_the_masks_of_single_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "m2n2.labeler")
    alone = labelled(tmp_path / "alone", 1)
    assert len(alone) == 2 * IMAGES
    assert not caplog.records
    assert labelled(tmp_path / "four", 4) == alone
    assert "backbone.batch 4: 4 images a call on cpu" in caplog.text
    assert labelled(tmp_path / "auto", "auto") == alone
    assert "backbone.batch auto: 1 images a call on cpu, no more: how much memory is free" in caplog.text
