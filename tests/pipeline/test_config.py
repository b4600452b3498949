"""The job file: every mistake is named with its key, what was found and what is allowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import InvalidJob, load_job

GOOD = "images: s3://b/photos/\nclicks: s3://b/c.parquet\noutput: s3://b/out/\n"


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return str(path)


def test_three_keys_make_a_job_and_overrides_change_any_key(tmp_path: Path) -> None:
    job = load_job(write(tmp_path, GOOD), ["backbone.grid=64", "workers.count=auto", "settings.temperature=0.7"])
    assert job.backbone.name == "sd2"
    assert job.backbone.grid == 64
    assert job.settings.temperature == 0.7
    assert job.settings.markov_threshold == 0.3


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        ("imagse: x\n", None, "job.yaml: imagse: unknown key; allowed here: allow_images_outside_root, backbone"),
        ("backbone: {nam: x}\n", None, "backbone.nam: unknown key; allowed here: batch, device, dtype, grid, name"),
        ("settings: {temprature: 1}\n", None, "settings.temprature: unknown key; allowed here: affinity, box_margin, "),
        ("settings: {temperature: 0}\n", None, "job.yaml: settings.temperature: found 0.0; allowed: a number above 0"),
        ("storage: {key: abc}\n", None, "storage.key: unknown key; allowed here: anonymous, endpoint_url"),
        ("workers: {count: 0}\n", None, "workers.count: found 0; Input should be greater than or equal to 1"),
        ("workers: {cpus: many}\n", None, "workers.cpus: found 'many'"),
        ("shard_images: many\n", None, "shard_images: found 'many'"),
        ("export: [cocoa]\n", None, "export.0: found 'cocoa'; Input should be 'coco', 'coco-results'"),
        ("", "backbone.grid", "override 'backbone.grid': expected key=value"),
        ("", "images.deep=1", "override 'images.deep=1': images is a value"),
        ("", "backbone.grid=[", "override 'backbone.grid=\\[': the value is not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, override: str | None, message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        load_job(write(tmp_path, GOOD + text), [override] if override else [])


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob) as caught:
        load_job(write(tmp_path, "images: a\nworkers: {gpus: -1}\nbackbone: {grid: x}\n"))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "clicks",
        "output",
        "backbone.grid",
        "workers.gpus",
    ]


@pytest.mark.parametrize("text", ["- a list", "a: [", ""])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidJob, match=r"job\.yaml: "):
        load_job(write(tmp_path, text))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InvalidJob, match=r"nowhere\.yaml: there is no such job file"):
        load_job("nowhere.yaml")


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [("m2n2", "ray"), ("pipeline.driver.run", "torch"), ("jobs.cli", "torch"), ("jobs.cli", "ray")],
)
def test_imports_go_one_way(module: str, unwanted: str) -> None:
    code = f"import sys, {module}; sys.exit({unwanted!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
