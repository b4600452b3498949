"""`report: true` in a night's configuration, and what `m2n2 report` refuses and leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jobs.cli import main
from pipeline.parts import part_key
from pipeline.storage.store import Store
from tests.jobs.site import Site
from tests.pipeline.review.gallery import Drawn, draw_run


def test_neither_run_nor_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "neither a run (plan/plan.json) nor a library (ledger/) is here" in capsys.readouterr().err


def test_parts_that_are_not_there_are_said_and_images_that_nobody_can_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    job = draw_run(Store(str(tmp_path)), {(f"{number}.png", "a"): Drawn() for number in range(4)})
    Path(job.output, part_key("", 0)).unlink()
    assert main(["report", job.output, "--images", "photos/"]) == 1
    told = capsys.readouterr()
    assert told.out.strip() == str(Path(job.output, "report", "index.html"))
    assert "1 parts were not there, such as parts/shard-00000.parquet" in told.err
    assert "images: 'photos/' is relative to a file that is not here" in told.err
    page = Path(job.output, "report", "index.html").read_text()
    assert "1 parts were not there when this page was made" in page
    assert "data:image/jpeg" not in page


def test_a_night_leaves_its_page_in_its_folder(
    disk_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.cluster.connected", lambda job, address: disk_site.labeller.connect(job))
    disk_site.photos("a.png")
    disk_site.clicks("2026-10-01", {("a.png", "one"): 10})
    config = tmp_path / "nightly.yaml"
    config.write_text(yaml.safe_dump(disk_site.document | {"report": True}))
    assert main(["nightly", str(config), "--date", "2026-10-01"]) == 0
    page = disk_site.library.read("runs/2026-10-01/report/index.html").decode()
    assert "What the last night changed" in page
    assert "a.png: not an image" in page
    assert capsys.readouterr().out.splitlines()[-1] == disk_site.library.url("runs/2026-10-01/report/index.html")
    assert main(["nightly", str(config), "--date", "2026-10-02"]) == 0
    assert "report" not in capsys.readouterr().out  # nothing is new
