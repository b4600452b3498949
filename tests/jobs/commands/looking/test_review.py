"""`m2n2 review` on a run and on a library: what it writes, says and returns."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.cli import main
from pipeline.parts import part_key
from pipeline.storage.store import Store
from tests.jobs.site import Site
from tests.pipeline.review.gallery import Drawn, draw_run


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = {(f"{number}.png", "a"): Drawn(score=0.5 + number / 100) for number in range(12)}
    job = draw_run(Store(str(tmp_path)), gallery | {("3.png", "b"): Drawn(failure="click_outside")})
    to = tmp_path / "review"
    assert main(["review", job.output, "--to", str(to), "--budget", "3"]) == 0
    names = ("review.parquet", "review.csv", "picked/images.txt")
    files = [str(to / name) for name in (*names, "picked/annotations/instances_default.json", "picked/tasks.json")]
    files += [f"{to}/picked/cvat/", f"{to}/picked/labelstudio/"]
    assert capsys.readouterr().out.split() == ["low_score", "2", "no_mask", "1", *files]
    rows = pq.read_table(to / "review.parquet").to_pylist()
    assert [row["image"] for row in rows[:3]] == ["0.png", "1.png", "3.png"]
    assert [row["pick"] for row in rows[:4]] == [1, None, 2, 3]
    Path(job.output, part_key("", 1)).unlink()
    assert main(["review", job.output, "--to", str(to)]) == 1
    assert "1 parts were not there, such as parts/shard-00001.parquet" in capsys.readouterr().err


def test_neither_run_nor_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", str(tmp_path), "--to", str(tmp_path / "review")]) == 2
    assert "neither a run (plan/plan.json) nor a library (ledger/) is here" in capsys.readouterr().err


def test_a_library_with_what_its_last_night_changed(disk_site: Site, tmp_path: Path) -> None:
    site = disk_site
    site.photos("a.png", "b.png", "c.png")
    site.clicks("2026-10-01", {("a.png", "one"): 10, ("b.png", "two"): 20})
    site.night("2026-10-01")
    site.labeller.reasons = {("c.png", "three"): "click_outside"}
    site.clicks("2026-10-01", {("a.png", "one"): 40, ("b.png", "two"): 20})
    site.clicks("2026-10-02", {("c.png", "three"): 200, ("b.png", "late"): 30})
    site.night("2026-10-02")
    assert main(["review", site.library.root, "--to", str(tmp_path / "review")]) == 0
    rows = {row["object"]: row for row in pq.read_table(tmp_path / "review" / "review.parquet").to_pylist()}
    assert {name: (row["change"], row["reasons"]) for name, row in rows.items()} == {
        "one": ("changed", ["lost_click", "changed"]),
        "two": (None, ["overlap", "lost_click"]),
        "three": ("new", ["no_mask"]),
        "late": ("new", ["overlap", "lost_click"]),
    }
    assert rows["one"]["change_iou"] == pytest.approx(10 / 40)
    assert (rows["two"]["lost_to"], rows["late"]["lost_to"]) == ("late", None)
    assert (rows["three"]["failure"], rows["three"]["category"]) == ("click_outside", "object")
