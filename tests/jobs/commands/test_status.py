"""`m2n2 status`: as text, as JSON, and again and again for as long as a driver is alive."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.commands import status as status_command
from pipeline.config import parse_job
from pipeline.driver.progress import HEARTBEAT_KEY
from pipeline.driver.seeing.slowest import NodeTotal, Slowest, write_slowest
from pipeline.failure import Failure
from pipeline.library.ledger import State, append_state
from pipeline.parts import commit_part, error_row
from pipeline.plan import Plan, find_or_make_plan, read_shard
from pipeline.storage.store import Store
from pipeline.tasks import SlowImage
from tests.pipeline.make_data import put_dataset


@pytest.fixture
def run(tmp_path: Path) -> tuple[Store, Plan]:
    """A run of two shards of which none is done."""
    document = put_dataset(Store(str(tmp_path)), images=2) | {"shard_images": 1}
    job = parse_job(document, "job")
    return job.output_store, find_or_make_plan(job)


def do_shard(store: Store, plan: Plan, shard: int) -> None:
    images = read_shard(store, plan, shard)
    rows = [error_row(each, Failure("image_missing", "gone")) for image in images for each in image.objects]
    commit_part(store, plan, shard, images, rows)


def beat(store: Store, ended: bool, **more: float) -> None:
    at = datetime.now(UTC).isoformat()
    beat = {"at": at, "host": "here", "pid": 1, "ended": ended, "images_done": 1, "images_per_s": 1.5, "left_s": 9}
    store.put(HEARTBEAT_KEY, json.dumps(beat | {"workers": 2} | more).encode())


def test_as_json(run: tuple[Store, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    store, plan = run
    do_shard(store, plan, 0)
    beat(store, ended=False)
    assert main(["status", store.root, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["shards_done"], found["shards_total"], found["objects_done"]) == (1, 2, 2)
    assert (found["failed"], found["examples"]) == ({"image_missing": 2}, {"image_missing": ["gone", "gone"]})
    assert (found["driver_alive"], found["heartbeat"]["workers"]) == (True, 2)
    assert datetime.fromisoformat(found["last_part"]).tzinfo is not None


def test_how_many_cpus_each_worker_has(run: tuple[Store, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = run
    beat(store, ended=False)  # as version 0.1.0 did
    main(["status", store.root])
    assert "driver   alive: here pid 1, 2 workers\n" in capsys.readouterr().out
    beat(store, ended=False, wanted=3, worker_cpus=7.0)
    main(["status", store.root])
    assert "driver   alive: here pid 1, 2 of 3 workers of 7 CPUs\n" in capsys.readouterr().out


def test_the_slowest_images_and_nodes(run: tuple[Store, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    store, plan = run
    images = tuple(SlowImage(f"{number}.jpg", 9.0 - number, 3, "gpu-07") for number in range(7))
    nodes = {host: NodeTotal(host, 10, seconds) for host, seconds in (("gpu-06", 5.0), ("gpu-07", 50.0))}
    write_slowest(store, plan.fingerprint, Slowest(images, nodes))
    main(["status", store.root])
    text = capsys.readouterr().out
    assert "slow     9.0 s 0.jpg, objects 3, on gpu-07\n         8.0 s 1.jpg" in text
    assert "5.jpg" not in text
    assert "nodes    gpu-07 5.00 s an image, images 10\n         gpu-06 0.50 s an image" in text
    main(["status", store.root, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [image["image"] for image in found["slow_images"]] == [f"{number}.jpg" for number in range(7)]
    assert found["slow_nodes"][0] == {"host": "gpu-07", "images": 10, "seconds": 50.0}


def test_watched_until_the_run_ends(
    run: tuple[Store, Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, plan = run
    beat(store, ended=False)
    moments = iter([lambda: do_shard(store, plan, 0), lambda: do_shard(store, plan, 1), lambda: beat(store, True)])
    monkeypatch.setattr(status_command.time, "sleep", lambda seconds: next(moments)())
    assert main(["status", store.root, "--watch", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["shards_done"] for line in lines] == [0, 1, 2, 2]
    assert [line["driver_alive"] for line in lines] == [True, True, True, False]


def test_ctrl_c_ends_the_watching(
    run: tuple[Store, Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    beat(run[0], ended=False)
    monkeypatch.setattr(status_command.time, "sleep", interrupt)
    assert main(["status", run[0].root, "--watch"]) == 1
    assert capsys.readouterr().out.count("shards   0/2") == 1


def test_why_a_run_ended_as_it_did(run: tuple[Store, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = run
    main(["status", store.root])
    assert capsys.readouterr().out.endswith("outcome  not ended\n")
    for ending, shown in (
        ({"outcome": "complete", "message": ""}, "outcome  complete\n"),
        (
            {"outcome": "aborted", "message": "workers cannot write: disk full"},
            "aborted: workers cannot write: disk full\n",
        ),
    ):
        store.put("run.json", json.dumps(ending).encode())
        assert main(["status", store.root]) == 1
        assert capsys.readouterr().out.endswith(shown)


def test_a_library_is_told_from_a_place_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = Store(str(tmp_path))
    assert main(["status", library.root]) == 2
    assert capsys.readouterr().err.endswith("no run is here; expected plan/plan.json below it\n")
    append_state(library, State(number=1))
    assert main(["status", library.root]) == 2
    assert "plan/plan.json below it; a library is here: its nights are the runs below runs/" in capsys.readouterr().err
