"""Rates: measured from a run's own snapshots, found again for the same setup only."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Job, parse_job
from pipeline.driver.progress import Snapshot
from pipeline.forecast.rates import RATE_KEY, RateMeter, keep_rate, latest_rate
from pipeline.tasks import Progress


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("M2N2_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def job_of(tmp_path: Path, **changes: Any) -> Job:
    document = {"images": "a", "clicks": "b", "output": str(tmp_path / "runs" / "1"), "workers": {"gpus": 0}}
    return parse_job(document | {"backbone": {"name": "colour"}} | changes, "job")


def watch(meter: RateMeter, clock: Clock, done: list[int], workers: int = 2, every_s: float = 10.0) -> None:
    """Snapshots of one attempt, `every_s` apart, with so many images done."""
    for images in done:
        meter(Snapshot(100, 100, 0, 10, 10, workers=workers, progress=Progress(images=images)))
        clock.now += every_s


def test_it_is_images_by_worker_seconds_from_the_first_image_on(tmp_path: Path, clock: Clock) -> None:
    meter = RateMeter()
    watch(meter, clock, [0, 0, 0, 5, 10, 15])  # 30 s until workers were ready and had done 5
    rate = meter.measured(job_of(tmp_path))
    assert rate is not None
    assert (rate.images, rate.worker_seconds, rate.images_per_s) == (10, 40.0, 0.25)
    watch(meter, clock, [0, 4, 8], workers=1)  # another attempt begins from 0
    again = meter.measured(job_of(tmp_path))
    assert again is not None
    assert (again.images, again.worker_seconds) == (14, 50.0)


@pytest.mark.parametrize("done", [[], [0, 0], [0, 100], [0, 1, 2]])
def test_too_little_is_no_rate(tmp_path: Path, clock: Clock, done: list[int]) -> None:
    meter = RateMeter()
    watch(meter, clock, done)
    assert meter.measured(job_of(tmp_path)) is None
    keep_rate(job_of(tmp_path), meter)
    assert latest_rate(job_of(tmp_path)) is None
    assert not any(tmp_path.iterdir()), "nothing was measured, nothing is written"


def test_it_is_found_in_its_output_from_anywhere_and_by_other_runs_on_this_machine(
    tmp_path: Path, clock: Clock, cache: Path
) -> None:
    meter, job = RateMeter(), job_of(tmp_path)
    watch(meter, clock, [1, 11])
    keep_rate(job, meter)
    rate = latest_rate(job)
    assert rate is not None
    assert rate.output == job.output
    assert latest_rate(job_of(tmp_path, output=str(tmp_path / "runs" / "2"))) == rate
    for path in (cache / "rates").iterdir():
        path.unlink()
    assert latest_rate(job) == rate
    assert latest_rate(job_of(tmp_path, output=str(tmp_path / "runs" / "2"))) is None


def test_the_newest_counts(tmp_path: Path, clock: Clock) -> None:
    meter, job = RateMeter(), job_of(tmp_path)
    watch(meter, clock, [1, 11])
    keep_rate(job, meter)
    rate = latest_rate(job)
    assert rate is not None
    newer = replace(rate, at="2999-01-01", output="newer")
    job.output_store.put(RATE_KEY, json.dumps(asdict(newer)).encode())
    assert latest_rate(job) == newer


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": {"name": "dinov2"}},
        {"backbone": {"name": "colour", "grid": 32}},
        {"backbone": {"name": "colour", "dtype": "float16"}},
        {"workers": {"gpus": 1}},
        {"workers": {"gpus": 0, "cpus": 8}},
    ],
)
def test_it_holds_for_its_own_setup_only(tmp_path: Path, clock: Clock, changes: dict[str, Any]) -> None:
    meter = RateMeter()
    watch(meter, clock, [1, 11])
    keep_rate(job_of(tmp_path), meter)
    assert latest_rate(job_of(tmp_path, **changes)) is None
    assert latest_rate(job_of(tmp_path, settings={"temperature": 0.5})) is not None
