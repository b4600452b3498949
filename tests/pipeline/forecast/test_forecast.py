"""What a run would do: counted from the clicks, sampled from the images, with nothing written anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Job, parse_job
from pipeline.failure import Failure
from pipeline.forecast.forecast import forecast
from pipeline.forecast.rates import Rate
from pipeline.parts import commit_part, error_row
from pipeline.plan import find_or_make_plan, read_shard
from pipeline.storage.store import Store
from tests.pipeline.make_data import click_rows, parquet, put_dataset


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2N2_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """Five photos with two objects each; one is missing, one has a click outside, one object has no foreground."""
    store = Store(str(tmp_path / "data"))
    document = put_dataset(store, images=5)
    (tmp_path / "data" / "photos" / "0003.png").unlink()
    outside, beside = click_rows("0004.png")
    rows = [outside | {"x": 500.0, "object": "far"}, beside | {"label": False, "object": "beside"}]
    store.put("clicks/c.parquet", parquet([*rows, rows[1] | {"x": 1.0}]))
    return document


def job_of(document: dict[str, Any], **changes: Any) -> Job:
    return parse_job(document | changes, "job")


def files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


def test_everything_is_counted_and_nothing_written(document: dict[str, Any], tmp_path: Path) -> None:
    before = files(tmp_path)
    found = forecast(job_of(document), sample=32)
    assert files(tmp_path) == before
    counts = found.counts
    assert (counts.images, counts.objects, counts.clicks) == (5, 12, 13)
    assert counts.clicks_an_object == (1, 1.08, 2)
    assert (counts.categories, counts.failed) == ({"red": 6, "blue": 6}, {"no_foreground": 1})
    assert (found.images_a_shard, found.standing.shards, found.standing.images_left) == (2, 3, 5)
    sample = found.sample
    assert (sample.images, sample.width, sample.height) == (5, (96, 96, 96), (72, 72, 72))
    assert (sample.failed_images, sample.clicks_outside) == ({"image_missing": 1}, 1)
    assert "0003.png: there is no such object" in sample.examples[0]
    assert "c.parquet, row 0: columns x, y: found (500, 30) in image '0004.png'" in sample.examples[1]
    assert (found.rate, found.seconds, found.gpu_hours) == (None, None, None), "nobody guesses"


def test_a_sample_is_spread_over_all_images(document: dict[str, Any]) -> None:
    found = forecast(job_of(document), sample=2)
    assert (found.counts.images, found.sample.images, found.sample.failed_images) == (5, 2, {})
    assert forecast(job_of(document), sample=0).sample.width is None


def test_what_stands_in_the_output_is_not_done_again(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(document, workers={"count": 2, "gpus": 0.5, "cpus": 1})
    plan, store = find_or_make_plan(job), job.output_store
    images = read_shard(store, plan, 0)
    rows = [error_row(each, Failure("internal", "told to")) for image in images for each in image.objects]
    commit_part(store, plan, 0, images, rows)
    rate = Rate({}, images=10, worker_seconds=20.0, output="earlier", host="here", at="2026-01-01")
    monkeypatch.setattr("pipeline.forecast.forecast.latest_rate", lambda job: rate)
    found = forecast(job, sample=1)
    assert (found.standing.shards_done, found.standing.shards, found.standing.images_left) == (1, 3, 3)
    assert (found.seconds, found.gpu_hours) == (3 * 2 / 2, 3 * 2 * 0.5 / 3600)
    other = forecast(job_of(document, orientation="displayed"), sample=1)
    assert other.standing.differences == ["orientation: the plan has 'stored', the job has 'displayed'"]
