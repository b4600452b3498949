"""Exports at random moments of a run, another process committing its parts: no wrong identifier, no false 0."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.cli import main
from pipeline.config import parse_job
from pipeline.parts import finished_shards
from pipeline.plan import Plan, find_or_make_plan
from pipeline.storage.store import Store
from tests.pipeline.make_data import click_rows, parquet
from tests.pipeline.make_parts import make_parts
from tests.pipeline.read_coco import placed

IMAGES, SHARD_IMAGES, PART_S = 120, 2, 0.004


@pytest.mark.slow  # a few minutes: a process is started for each of 50 races
@pytest.mark.timeout(1800)
def test_fifty_exports_at_random_moments(tmp_path: Path) -> None:
    chance, wrong, codes = random.Random(11), 0, []
    whole = exported(a_run(tmp_path / "whole", committed=True)[0], tmp_path)[1]
    for number in range(50):
        output, plan = a_run(tmp_path / f"race-{number}", committed=False)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.export.export_race", output, str(PART_S)]
        ) as committing:
            wait_for_parts(output, plan, chance.randrange(len(plan.shards)), committing)
            code, found = exported(output, tmp_path)
            assert committing.wait() == 0
        wrong += sum(whole.get(key) != value for key, value in found.items())
        codes.append(code)
        missing = len(found) < len(whole)
        assert code == (1 if missing else 0), f"race {number}: {len(found)} of {len(whole)} and exit code {code}"
        shutil.rmtree(output)
    assert wrong == 0
    assert codes.count(1) > 10, "the races were not races: nearly every export met a finished run"


def a_run(directory: Path, committed: bool) -> tuple[str, Plan]:
    """A planned run, the same every time; its output, and its plan."""
    store = Store(str(directory))
    rows = [row for number in range(IMAGES) for row in click_rows(f"{number:04d}.png")]
    rows.append(click_rows("0119.png")[0] | {"object": "late", "category": "aardvark"})
    store.put("clicks.parquet", parquet(rows))
    document = {"images": store.url("photos/"), "clicks": store.url("clicks.parquet"), "output": store.url("labels")}
    job = parse_job({**document, "backbone": {"name": "colour"}, "shard_images": SHARD_IMAGES}, "job")
    plan = find_or_make_plan(job)
    if committed:
        make_parts(job.output_store, plan)
    return job.output, plan


def wait_for_parts(output: str, plan: Plan, number: int, committing: subprocess.Popen[bytes]) -> None:
    while len(finished_shards(Store(output), plan)) < number:
        assert committing.poll() in (None, 0), "the process that commits the parts failed"
        time.sleep(0.002)


def exported(output: str, tmp_path: Path) -> tuple[int, dict[str, object]]:
    """The exit code of an export, and everything in it by name."""
    target = tmp_path / "race.json"
    code = main(["export", output, "--to", str(target)])
    return code, placed(target.read_bytes())
