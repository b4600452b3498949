"""`m2n2 explain` draws a picture, and says in one line what is wrong with what it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import main
from tests.pipeline.make_data import encode, picture


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(encode(picture()))
    return path


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg"])
def test_a_picture_is_drawn(photo: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / name
    clicks = ["--click", "30,30", "--click", "80.5,10,0"]
    command = ["explain", str(photo), *clicks, "--backbone", "colour", "backbone.grid=16", "--to", str(target)]
    assert main(command) == 0
    assert capsys.readouterr().out.strip() == str(target)
    with Image.open(target) as sheet:
        assert sheet.format == {"png": "PNG", "jpg": "JPEG"}[name.rpartition(".")[2]]
        assert sheet.width > 1200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--click", "30"], "--click: found '30'; allowed: x,y or x,y,0"),
        (["--click", "a,b"], "--click: found 'a,b'; allowed: x,y"),
        (["--click", "1,2,3"], "--click: found '1,2,3'; allowed: x,y"),
        (["--click", "nan,3"], "--click: found 'nan,3'; allowed: x,y"),
        (["--click", "30,300"], "--click: found 30,300; allowed in "),
        (["--click", "96,71"], ": 0..95, 0..71"),
        (["--click", "30,30", "--to", "picture.txt"], "--to: found 'picture.txt'; allowed: a name that ends with .png"),
        (["--click", "30,30", "settings.map=attention"], "settings: the paper's head is drawn; allowed: affinity"),
    ],
)
def test_what_is_wrong_is_one_line(
    photo: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(photo), "--backbone", "colour", "backbone.grid=16", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_image_that_is_not_there_or_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "torn.png").write_bytes(b"torn")
    for name in ("none.png", "torn.png"):
        assert main(["explain", str(tmp_path / name), "--click", "1,1", "--backbone", "colour"]) == 2
        assert capsys.readouterr().err.count(name) == 1
