"""`m2n2 evaluate` as people type it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.commands.evaluate import _cells, _combinations
from pipeline.config import job_of_keys
from pipeline.evaluation.results import read_objects
from pipeline.storage.store import Store
from tests.faults.cluster import Cluster
from tests.faults.processes import clean_environment, wait_until
from tests.pipeline.evaluation.data import write_folders

COLOUR = ["--backbone", "colour", "--clicks", "2", "backbone.grid=12", "workers.gpus=0", "workers.count=1"]


def test_it_evaluates_a_grid_of_settings_goes_on_where_it_stopped_and_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    write_folders(tmp_path / "data", 2)
    data, first = str(tmp_path / "data"), tmp_path / "first"
    assert main(["evaluate", data, *COLOUR, "--to", str(first), "--limit", "1"]) == 0
    assert (first / "index.html").exists()
    assert (first / "curve.svg").exists()
    (result,) = (first / "results").iterdir()
    written = result.stat().st_mtime_ns
    capsys.readouterr()
    grid = ["--grid", "settings.flood_fill=true,false", "--against", str(first)]
    assert main(["evaluate", data, *COLOUR, "--to", str(tmp_path / "grid"), "--limit", "1", *grid]) == 0
    said = capsys.readouterr().out
    assert "settings.flood_fill=false" in said.splitlines()[2]
    assert "NoC90" in said
    rows = [read_objects(Store(str(tmp_path / f"grid/settings.flood_fill={value}"))) for value in ("true", "false")]
    assert [row["iou"] for row in rows[0]] == [row["iou"] for row in read_objects(Store(str(first)))]
    assert len(rows[1]) == 2
    assert main(["evaluate", data, *COLOUR, "--to", str(first), "--limit", "1"]) == 0  # all is there already
    assert result.stat().st_mtime_ns == written


def test_peers_stand_in_the_grids_table_and_values_may_have_commas_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    write_folders(tmp_path / "data", 1)
    grid = ["--grid", "settings.score={prior: true, edge: true},{prior: true, edge: false}"]
    words = ["--method", "m2n2", "--method", "grabcut", *grid, "--to", str(tmp_path / "out")]
    assert main(["evaluate", str(tmp_path / "data"), *COLOUR, *words]) == 0
    names = ["settings.score={prior: true, edge: true}", "settings.score={prior: true, edge: false}", "grabcut"]
    said = capsys.readouterr().out.splitlines()[1:4]
    assert all(line.startswith(name) for line, name in zip(said, names, strict=True))
    tables = [read_objects(Store(str(tmp_path / "out" / name))) for name in names]
    assert [row["object"] for row in tables[2]] == [row["object"] for row in tables[0]]
    assert [row["iou"] for row in tables[0]] != [row["iou"] for row in tables[1]]


def test_the_list_of_checksums_is_written_and_nothing_is_clicked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folders(tmp_path / "data", 1)
    assert main(["evaluate", str(tmp_path / "data"), "--write-checksums", "--to", str(tmp_path / "out")]) == 0
    assert "SHA256SUMS: 3 files" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "axis",
    [
        "settings.map=markov,attention",
        "settings.flood_fill=true,false",
        "settings.score.prior=true,false",
        "settings.score.edge=true,false",
        "settings.score.positive=true,false",
        "settings.score.negative=true,false",
        "settings.temperature=0.5,0.65",
        "settings.markov_threshold=0.1,0.3",
        "backbone.options.layers={up_blocks.3.attentions.0: 1, up_blocks.3.attentions.1: 1},{encoder.layer.9: 1}",
        "backbone.grid=32,64",
    ],
)
def test_every_ablation_of_the_paper_can_stand_in_a_grid(axis: str) -> None:
    places = {"images": "a", "clicks": "a", "output": "b"}
    jobs = [job_of_keys(dict(places), chosen, "test") for _, chosen in _combinations([axis])]
    assert len(jobs) == 2
    assert jobs[0] != jobs[1]


def test_a_method_or_a_value_named_twice_is_one_line_of_the_table() -> None:
    assert list(_cells(["grabcut", "grabcut"], [], None)) == list(_cells(["grabcut"], [], None))
    twice, once = (_cells(["m2n2"], [f"backbone.grid={values}"], None) for values in ("3,3,4", "3,4"))
    assert list(twice) == list(once)


@pytest.mark.faults
def test_a_driver_killed_half_way_is_resumed_to_the_same_numbers(tmp_path: Path, cluster: Cluster) -> None:
    write_folders(tmp_path / "data", 12)
    log = tmp_path / "log"

    def start(folder: str) -> subprocess.Popen[bytes]:
        words = ["evaluate", str(tmp_path / "data"), *COLOUR, "--to", str(tmp_path / folder)]
        environment = clean_environment(cluster.environment() | {"RAY_ADDRESS": cluster.address})
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "jobs.cli", *words], env=environment, stdout=file, stderr=file
            )

    def results() -> int:
        return len(list((tmp_path / "killed" / "results").glob("*")))

    killed = start("killed")
    wait_until(lambda: results() > 1 or killed.poll() is not None, log.read_text)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, log.read_text()
    assert results() < 12, "it was over before it was killed"
    assert [start(folder).wait() for folder in ("killed", "whole")] == [0, 0], log.read_text()
    resumed, whole = (read_objects(Store(str(tmp_path / folder))) for folder in ("killed", "whole"))
    assert len(whole) == 24
    numbers = ("image", "object", "iou")
    assert [[row[key] for key in numbers] for row in resumed] == [[row[key] for key in numbers] for row in whole]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "grabcut"], "found 2 objects, grabcut has 50"),
        (["--settings", "warmth=1"], "settings.warmth: unknown key"),
        (["--grid", "backbone.grid"], "allowed: key=value,value"),
        (["--grid", "backbone.grid=3,4", "--grid", "backbone.grid=5"], "backbone.grid twice: backbone.grid=3"),
        (["--grid", "backbone.grid=[3,4"], "allowed: key=value,value"),
        (["--grid", "backbone.grid=3,4", "--method", "grabcut"], "which has no settings; allowed: m2n2 among them"),
        (["--method", "sam"], "--method: found 'sam'; allowed: m2n2, grabcut, random_walker, sam2"),
        (["--method", "sam2"], "allowed: --method sam2 with --sam2-weights DIR"),
        (["--noise", "-1"], "--noise"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    write_folders(tmp_path / "data", 1)
    assert main(["evaluate", str(tmp_path / "data"), *COLOUR, "--to", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
