"""The actor's class without its actor: what a job's keys change about how it labels, and what they may not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import parse_job
from pipeline.parts import read_part
from pipeline.plan import find_or_make_plan
from pipeline.storage.store import Store
from pipeline.tasks import Task
from pipeline.worker.labeler import Labeler
from tests.pipeline.make_data import click_rows, encode, parquet, picture

IMAGES = 6


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


def test_images_in_batches_get_the_masks_of_single_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "m2n2.labeler")
    alone = labelled(tmp_path / "alone", 1)
    assert len(alone) == 2 * IMAGES
    assert not caplog.records
    assert labelled(tmp_path / "four", 4) == alone
    assert "backbone.batch 4: 4 images a call on cpu" in caplog.text
    assert labelled(tmp_path / "auto", "auto") == alone
    assert "backbone.batch auto: 1 images a call on cpu, no more: how much memory is free" in caplog.text
