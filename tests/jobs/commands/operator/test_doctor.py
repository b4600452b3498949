"""`m2n2 doctor`: a table of what was looked at, a record beside the run, an exit code. No Ray: the node is made up.

tests/pipeline/worker/test_examine.py has what is looked at on a node.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from jobs.cli import main
from pipeline.driver import doctor
from pipeline.storage.store import Store
from pipeline.worker.examine import Check
from tests.pipeline.make_data import parquet, put_dataset


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job file, and a cluster of one node that answers at once."""
    monkeypatch.setattr("jobs.cluster.connected", lambda *_: nullcontext())
    monkeypatch.setattr(doctor, "_examine_nodes", lambda *_: {"gpu-07": [Check("device", True, "H100")]})
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(put_dataset(Store(str(tmp_path)), images=1)))
    return file


def test_a_job_that_would_run_ends_with_0_and_is_recorded(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(job)]) == 0
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert lines == [["driver", name, "ok"] for name in ("versions", "create-if-absent", "clock")] + [
        ["gpu-07", "device", "ok"]
    ]
    assert "gpu-07" in json.loads((job.parent / "labels/status/doctor.json").read_text())["checks"]


def test_a_nightly_configuration_is_looked_at_as_its_job(job: Path) -> None:
    document = yaml.safe_load(job.read_text())
    document["library"] = document.pop("output")
    job.write_text(yaml.safe_dump(document))
    assert main(["doctor", str(job)]) == 0


def test_what_would_not_do_is_bad_and_ends_with_1(
    job: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_examine_nodes", lambda *_: {"gpu-07": [Check("device", False, "no CUDA device")]})
    monkeypatch.setattr(Store, "honours_create_if_absent", lambda self: False)
    assert main(["doctor", str(job), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for checks in found.values() for each in checks if not each["ok"]] == [
        "create-if-absent",
        "device",
    ]


def test_clocks_far_apart_are_bad(
    job: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr(doctor, "_now", lambda: now.replace(year=now.year + 1))
    assert main(["doctor", str(job)]) == 1
    assert "s apart from storage's; allowed: 30 s" in capsys.readouterr().out


def test_clicks_without_a_click_are_bad_input(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (job.parent / "clicks").iterdir():
        file.write_bytes(parquet(pq.read_table(file).slice(0, 0)))
    assert main(["doctor", str(job)]) == 2
    assert "no clicks; found 0 rows with x" in capsys.readouterr().err
