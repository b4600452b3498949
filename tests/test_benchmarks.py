"""The benchmarks run to their end, on sizes too small to tell anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_head(tmp_path: Path) -> None:
    report = tmp_path / "head.json"
    small = ("--grids", "12", "16", "--megapixels", "0.01", "0.02", "--clicks", "1", "3", "--repeats", "1")
    assert "first call" in run("benchmarks.head", *small, "--json", str(report))
    assert len(json.loads(report.read_text())["rows"]) == 8


def test_head_in_company() -> None:
    assert "| passive | a busy loop |" in run("benchmarks.head", "--company", "--repeats", "1")


@pytest.mark.parametrize("store", [(), ("--s3",)])
def test_scale(tmp_path: Path, store: tuple[str, ...]) -> None:
    report = tmp_path / "scale.json"
    run("benchmarks.scale", "--objects", "12000", "--shard-images", "16", "--report", str(report), *store)
    figures = json.loads(report.read_text())
    assert all(figures[part]["shards"] > 0 for part in ("one_worker", "restarted", "two_workers"))
    assert figures["listing"]["parts"] == 150


def test_scale_of_reading() -> None:
    assert json.loads(run("benchmarks.scale", "--bar", "export", "--objects", "2000"))["objects"] == 2000
    figures = json.loads(run("benchmarks.scale", "--bar", "night", "--objects", "2000"))
    assert {"1% new", "compacted, nothing new"} < figures.keys()
    for more in ((), ("--without-manifests",)):
        figures = json.loads(run("benchmarks.scale", "--bar", "status", "--parts", "20", *more))
        assert (figures["parts"], figures["manifests"]) == (20, not more)


@pytest.mark.parametrize("store", [(), ("--s3",)])
def test_nightly(tmp_path: Path, store: tuple[str, ...]) -> None:
    report = tmp_path / "nightly.json"
    run("benchmarks.nightly", "--objects", "1000", "--report", str(report), *store)
    assert [step["labelled"] for step in json.loads(report.read_text())] == [1000, 0, 10, 10, 0, 0]


def test_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run("benchmarks.report", "--images", "40", "--pixels", "96x72", "--json", str(report))
    figures = json.loads(report.read_text())
    assert [step["step"] for step in figures["steps"]] == ["m2n2 review", "m2n2 report"]
    assert 0.1 < figures["megabytes"] < 5


def test_dense(tmp_path: Path) -> None:
    report = tmp_path / "dense.json"
    run("benchmarks.dense", "--cases", "160x120/40", "--json", str(report))
    [figures] = json.loads(report.read_text())
    assert figures["allowed_s"] == pytest.approx(400), "40 objects are more than an ordinary image has"
    assert figures["longest_s"] < figures["allowed_s"]


def test_gpu(tmp_path: Path) -> None:
    report, page = tmp_path / "gpu.json", tmp_path / "gpu.md"
    small = ("--device", "cpu", "--small", "--repeats", "1", "--json", str(report), "--markdown", str(page))
    run("benchmarks.gpu", *small)
    figures = json.loads(report.read_text())
    assert [(each["dtype"], each["form"]) for each in figures["runs"]] == [
        (dtype, form) for dtype in ("float32", "float16") for form in ("torch", "triton")
    ]
    for each in figures["runs"]:
        assert {"network and head mean", "operator", "chain", "upsampling", "copies"} < {
            s["stage"] for s in each["stages"]
        }
        assert ("four steps a product" in {s["stage"] for s in each["stages"]}) == (each["dtype"] == "float16")
        assert each["images a second"] > 0
    exact = figures["runs"][0]["against the CPU"]  # the CPU against itself, with weights kept in half precision
    assert exact == {"attention": 0.0, "masks alike": 1.0}
    assert page.read_text().count("| upsampling |") == 4
    assert figures["left out"] == []


def test_fetch() -> None:
    report = run("benchmarks.fetch", "--images", "8", "--bytes", "4000")
    assert [line.split()[1] for line in report.splitlines()[1:]] == ["files", "tar", "tar", "parquet", "parquet"]


def test_scale_of_the_driver() -> None:
    figures = json.loads(run("benchmarks.scale", "--bar", "driver", "--shards", "3000"))
    assert (figures["shards"], figures["before_mb"] <= figures["peak_mb"]) == (3000, True)
