"""Nights and submitted jobs on a real Ray cluster of two nodes and a real S3 server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from jobs.ray_jobs import submission_name
from pipeline.attempts import all_attempts
from pipeline.frozen_parts import freeze_parts, newest_rows
from pipeline.library.ledger import read_state
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.cluster.two_nodes import TwoNodes
from tests.pipeline.make_data import click_rows, encode, parquet, picture
from tests.s3_server import S3Server

TIMEOUT_S = 240.0

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    nodes = TwoNodes()
    yield nodes
    nodes.stop()


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> Store:
    return Store(s3.bucket("cluster"), Storage(endpoint_url=s3.endpoint_url))


@pytest.fixture
def data(bucket: Store) -> Store:
    return Store(bucket.url(uuid.uuid4().hex[:8]), bucket.storage)


def document_of(data: Store) -> dict[str, Any]:
    return {
        "images": data.url("photos/"),
        "clicks": data.url("clicks/dt=*/*.parquet"),
        "backbone": {"name": "colour", "grid": 16},
        "workers": {"count": 2, "gpus": 0, "cpus": 1},
        "storage": {"endpoint_url": data.storage.endpoint_url},
        "shard_images": 1,
    }


def put_images(data: Store, day: str, numbers: range) -> None:
    for number in numbers:
        data.put(f"photos/{number:04d}.png", encode(picture()))
    data.put(f"clicks/dt={day}/a.parquet", parquet([row for n in numbers for row in click_rows(f"{n:04d}.png")]))


@pytest.fixture
def start(cluster: TwoNodes) -> Iterator[Start]:
    """Starts `m2n2 ...` in a process group of its own that finds the cluster by its environment."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "--verbose", *arguments],
            env=cluster.environment | {"RAY_ADDRESS": cluster.gcs_address} | variables,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    give_up_at = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode} too early: {process.communicate()[0][-3000:]}"
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def parts(output: Store) -> int:
    return sum(1 for _ in output.listing("parts"))


def objects(output: Store) -> list[tuple[str, str, bool]]:
    """(image, object, has a mask) of every row of a run."""
    rows = (row for image in newest_rows(freeze_parts(output, all_attempts(output))) for row in image.rows)
    return sorted((row["image"], row["object"], row["rle"] is not None) for row in rows)


def all_masks(numbers: range) -> list[tuple[str, str, bool]]:
    return [(f"{number:04d}.png", name, True) for number in numbers for name in ("0", "1")]


@pytest.mark.slow  # tests/jobs/test_nights.py has it without the cluster
@pytest.mark.timeout(900)
def test_a_night_killed_and_continued_and_two_at_once(start: Start, data: Store, tmp_path: Path) -> None:
    config = tmp_path / "nightly.yaml"
    config.write_text(yaml.safe_dump(document_of(data) | {"library": data.url("library"), "lease_expires_s": 10}))
    library = Store(data.url("library"), data.storage)
    first_run = Store(library.url("runs/2026-01-01"), data.storage)
    put_images(data, "01", range(80))

    killed = start("nightly", str(config), "--date", "2026-01-01")
    wait_until(lambda: read_state(library).open_night is not None, killed)
    second = start("nightly", str(config), "--date", "2026-01-01")
    said, _ = second.communicate(timeout=TIMEOUT_S)
    assert second.returncode == 1, said
    assert f"pid {killed.pid} since" in said
    wait_until(lambda: parts(first_run) > 0, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert 0 < parts(first_run) < 80, "the night was over before it could be killed"

    while True:
        going_on = start("nightly", str(config), "--date", "2026-01-02")
        said, _ = going_on.communicate(timeout=TIMEOUT_S)
        if "is held by" not in said:
            break
        time.sleep(2)  # the dead driver's lease expires
    assert going_on.returncode == 0, said
    assert objects(first_run) == all_masks(range(80))
    assert "2026-01-02: nothing new" in said
    assert [night.state for night in read_state(library).nights] == ["finished"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_nights_with_new_changed_removed_and_late_clicks(start: Start, data: Store, tmp_path: Path) -> None:
    config, exported = tmp_path / "nightly.yaml", tmp_path / "instances.json"
    config.write_text(yaml.safe_dump(document_of(data) | {"library": data.url("library")}))

    def night(date: str) -> dict[str, Any]:
        process = start("nightly", str(config), "--date", date)
        said, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, said
        found: dict[str, Any] = json.loads(data.read("library/last.json"))
        return found["diff"] | {"workers": said.count("worker ready")}

    put_images(data, "01", range(4))
    first = night("2026-01-01")
    assert (first["new"], first["failed"]) == (8, {})

    moved = click_rows("0000.png", [0])[0] | {"x": 33.0}
    data.put("clicks/dt=02/a.parquet", parquet([moved, *click_rows("0004.png")]))
    data.put("photos/0004.png", encode(picture()))
    data.put("photos/0001.png", encode(picture(100, 80)))
    second = night("2026-01-02")
    assert (second["new"], second["changed"], second["unchanged"]) == (2, 3, 5)
    assert (second["compared"], second["resized"]) == (1, 2)

    rows = [row for number in range(3) for row in click_rows(f"{number:04d}.png")]
    data.put("clicks/dt=01/a.parquet", parquet(rows))  # 0003.png is gone
    data.put("clicks/dt=01/late.parquet", parquet(click_rows("0005.png", [1])))
    data.put("photos/0005.png", encode(picture()))
    third = night("2026-01-03")
    assert (third["new"], third["removed"], third["unchanged"]) == (1, 2, 8)
    fourth = night("2026-01-04")
    assert (fourth["unchanged"], fourth["workers"]) == (9, 0)

    export = start(
        "export", data.url("library"), "--to", str(exported), "--endpoint-url", data.storage.endpoint_url or ""
    )
    assert export.wait(timeout=TIMEOUT_S) == 0
    document = json.loads(exported.read_text())
    assert [image["file_name"] for image in document["images"]] == [f"000{number}.png" for number in (0, 1, 2, 4, 5)]
    assert [image["width"] for image in document["images"]] == [96, 100, 96, 96, 96]
    assert len(document["annotations"]) == 9


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_job_is_submitted_cancelled_and_submitted_again(
    cluster: TwoNodes, start: Start, data: Store, tmp_path: Path
) -> None:
    output = Store(data.url("labels"), data.storage)
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(document_of(data) | {"output": output.root}))
    put_images(data, "01", range(30))
    command = ("submit", str(job), "workers.count=1", "--address", cluster.dashboard_url)

    cancelled = start(*command)
    wait_until(lambda: parts(output) > 0, cancelled)
    name = submission_name(output.root)
    stop = f"{cluster.dashboard_url}/api/jobs/{name}-1/stop"  # what `ray job stop` asks for
    requests.post(stop, headers=cluster.headers, timeout=60).raise_for_status()
    said, _ = cancelled.communicate(timeout=TIMEOUT_S)
    assert cancelled.returncode == 1, said
    assert f"{name}-1 stopped" in said
    assert 0 < parts(output) < 30, "the job was over before it could be cancelled"

    again = start(*command)
    said, _ = again.communicate(timeout=TIMEOUT_S)
    assert again.returncode == 0, said
    assert "complete: 60 objects, 0 failed" in said
    assert objects(output) == all_masks(range(30))

    refused = start(*command, RAY_AUTH_TOKEN="wrong" * 10)
    said, _ = refused.communicate(timeout=TIMEOUT_S)
    assert refused.returncode == 2, said
    assert "the cluster refuses" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_submitted_job_ends_with_the_exit_code_of_its_run(
    cluster: TwoNodes, start: Start, data: Store, tmp_path: Path
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(document_of(data) | {"output": data.url("labels")}))
    put_images(data, "01", range(2))
    data.put("clicks/dt=02/a.parquet", parquet(click_rows("not-there.png")))
    process = start("submit", str(job), "--address", cluster.dashboard_url)
    said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3, said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_driver_that_was_stopped_wakes_up_and_commits_nothing(start: Start, data: Store, tmp_path: Path) -> None:
    config = tmp_path / "nightly.yaml"
    config.write_text(yaml.safe_dump(document_of(data) | {"library": data.url("library"), "lease_expires_s": 5}))
    library = Store(data.url("library"), data.storage)
    put_images(data, "01", range(40))
    asleep = start("nightly", str(config), "--date", "2026-01-01")
    wait_until(lambda: read_state(library).open_night is not None, asleep)
    os.killpg(asleep.pid, signal.SIGSTOP)
    while True:
        awake = start("nightly", str(config), "--date", "2026-01-01")
        said, _ = awake.communicate(timeout=TIMEOUT_S)
        if "is held by" not in said:
            break
        time.sleep(2)
    assert awake.returncode == 0, said
    committed = read_state(library)
    os.killpg(asleep.pid, signal.SIGCONT)
    said, _ = asleep.communicate(timeout=TIMEOUT_S)
    assert asleep.returncode == 1, said
    assert "is lost" in said
    assert read_state(library) == committed
    # Where the sleeping driver had sealed its plan, the other one finished that; else it began anew.
    (run,) = [night.run for night in committed.nights if night.state == "finished"]
    assert objects(Store(library.url(run), data.storage)) == all_masks(range(40))
    assert json.loads(library.read("last.json"))["exit_code"] == 0
