"""What a node is looked at for: each line says what was found, and what will not do is BAD and says what is needed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config import Job, parse_job
from pipeline.driver.doctor import first_object
from pipeline.storage.store import Store
from pipeline.worker.examine import Check, examine, versions
from tests.pipeline.make_data import put_dataset


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    found = put_dataset(Store(str(tmp_path)), images=1)
    found["workers"]["gpus"] = 0
    return found


def look(job: Job, wanted: str | None = None) -> dict[str, Check]:
    return {check.name: check for check in examine(job, first_object(job), wanted or versions())}


def test_a_sound_node_labels_a_photo_of_the_job(document: dict[str, Any]) -> None:
    found = look(parse_job(document, "job"))
    assert {name for name, check in found.items() if not check.ok} == set()
    assert list(found) == ["versions", "device", "images", "output", "weights", "disk", "/dev/shm", "photo"]
    assert found["photo"].found.startswith("0000.png, 96x72: a mask of ")


def test_everything_that_will_not_do_is_told_at_once(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1_000_000))
    job = parse_job(document | {"workers": {"gpus": 1}}, "job")
    (tmp_path / "photos" / "0000.png").write_bytes(b"no image")
    found = look(job, wanted="Python 2.7, Ray 1, m2n2 0")
    assert {name for name, check in found.items() if not check.ok} == {
        "versions",
        "device",
        "disk",
        "/dev/shm",
        "photo",
    }
    assert found["versions"].found == f"found {versions()}; the driver has Python 2.7, Ray 1, m2n2 0"
    assert "sees no CUDA device" in found["device"].found
    assert "needed: 5.0 GB" in found["disk"].found
    assert "BadImage" in found["photo"].found
