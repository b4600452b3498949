"""Everything that a run would find wrong with clicks, found before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.cli import main
from pipeline.storage.store import Store
from tests.pipeline.make_data import click_rows, encode, parquet, picture


def test_everything_wrong_is_counted_with_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path))
    store.put("photos/good.png", encode(picture()))
    store.put("photos/cut.png", encode(picture())[:20])
    rows = [
        *click_rows("good.png"),
        *click_rows("cut.png", [0]),
        *click_rows("gone.png", [1]),
        *click_rows("../x.png", [1]),
    ]
    near = click_rows("good.png", [0])[0] | {"object": "again", "x": 32.0}
    outside = click_rows("good.png", [0])[0] | {"object": "far", "x": 300.0}
    nan = click_rows("good.png", [0])[0] | {"object": "nan", "y": float("nan")}
    store.put("clicks.parquet", parquet([*rows, near, outside, nan]))
    command = ["clicks", "check", str(tmp_path / "clicks.parquet"), "--images", str(tmp_path / "photos")]
    assert main([*command, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == {
        "image_outside_root": 1,
        "image_undecodable": 1,
        "image_missing": 1,
        "click_outside": 1,
        "bad_coordinate": 1,
    }
    assert (found["images"], found["objects"], found["near"]) == (4, 8, 1)
    assert found["categories"] == {"red": 5, "blue": 3}
    assert found["examples"]["near"] == ["image 'good.png': objects '0' and 'again'"]
    assert main(command) == 3
    assert "row 6: columns x, y: found (300, 30) in image 'good.png'; allowed: 0..95, 0..71" in capsys.readouterr().out


def test_sound_clicks_end_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clicks.parquet").write_bytes(parquet(click_rows("a.png")))
    assert main(["clicks", "check", str(tmp_path / "clicks.parquet")]) == 0
    assert "objects   2, 0 of them with a box" in capsys.readouterr().out
    assert main(["clicks", "check", str(tmp_path / "no.parquet")]) == 2


def test_categories_that_a_run_would_refuse_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clicks, known = tmp_path / "clicks.parquet", tmp_path / "categories.json"
    clicks.write_bytes(parquet([*click_rows("a.png"), *click_rows("b.png", [0])]))
    command = ["clicks", "check", str(clicks), "--categories", str(known)]
    known.write_text('[{"id": 7, "name": "red"}, {"id": 9, "name": "blue"}]')
    assert main(command) == 0
    known.write_text('[{"id": 7, "name": "blue"}]')
    capsys.readouterr()
    assert main(command) == 3
    said = capsys.readouterr().out
    assert "bad       2 objects of unknown categories: 'red' 2\n          allowed: 'blue'; `unknown_cat" in said
    assert main([*command, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["unknown"] == {"red": 2}
    known.write_text('[{"id": 0, "name": "blue"}]')
    assert main(command) == 2
    assert "categories.json: element 0: id: found 0; allowed: " in capsys.readouterr().err
