"""What surrounds a command, as only a process of its own shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.storage.store import Store
from tests.pipeline.make_data import click_rows, encode, parquet, picture, put_dataset

HELLO_AND_END = """
import atexit, sys, threading
from jobs.process import Ending, speak_utf8, write
speak_utf8()
ending = Ending()
atexit.register(lambda: write(sys.stdout, "exit handlers run"))
for number in range(2000):
    write(sys.stdout, f"line {number} of фото ü/лама.png")
ending.code = 3
# Stands for a native thread that comes back to Python at the end: the interpreter would never be taken apart.
class Late:
    def __del__(self): write(sys.stdout, "taken apart")
late = Late()
"""


def run(code: str, tail: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python code from a file, its output piped through `tail`; the code is that of Python."""
    command = ["bash", "-c", f"set -o pipefail; {sys.executable} {code} {tail}; exit ${{PIPESTATUS[0]}}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | variables
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, env=environment)


ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "hello.py"
    path.write_text(HELLO_AND_END, encoding="utf-8")
    return str(path)


def test_it_ends_after_the_exit_handlers_and_before_the_interpreter_is_taken_apart(script: str) -> None:
    ended = run(script)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.splitlines()[-1] == "exit handlers run"
    assert "taken apart" not in ended.stdout


def test_a_reader_that_goes_away_is_no_error(script: str) -> None:
    ended = run(script, "| head -1")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "line 0 of фото ü/лама.png\n", "")


def test_names_are_utf8_whatever_the_locale_is(script: str) -> None:
    ended = run(script, **ASCII)
    assert (ended.returncode, ended.stderr) == (3, "")
    assert "line 1999 of фото ü/лама.png" in ended.stdout
    ended = run(script, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (3, "")
    assert r"line 1999 of \u0444\u043e\u0442\u043e" in ended.stdout


def test_a_place_that_is_not_ascii_is_planned_and_told_in_a_locale_that_has_no_such_letters(tmp_path: Path) -> None:
    here = tmp_path / "фото ü"
    document = put_dataset(Store(str(here)), images=1)
    (tmp_path / "job.yaml").write_text(str(document).replace("'", '"').replace("None", "null"), encoding="utf-8")
    ended = run(f"-m jobs.cli plan {tmp_path}/job.yaml", **ASCII)
    assert ended.returncode == 0, ended.stderr
    assert "фото ü" in ended.stdout


@pytest.mark.slow  # a Ray of its own, for a locale of its own
def test_a_photo_that_is_not_ascii_is_labelled_in_a_locale_that_has_no_such_letters(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("photos/фото ü/лама.png", encode(picture()))
    document = put_dataset(store, images=1)
    store.put("clicks/c.parquet", parquet(click_rows("фото ü/лама.png")))
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    ended = run(f"-m jobs.cli label {tmp_path}/job.yaml", **ASCII)
    assert ended.returncode == 0, ended.stderr
    exported = json.loads(store.read("labels/export/coco/instances.json"))
    assert sorted(image["file_name"] for image in exported["images"]) == ["0000.png", "фото ü/лама.png"]
    assert len(exported["annotations"]) == 4
    ended = run(f"-m jobs.cli status {tmp_path}/labels", **ASCII)
    assert ended.returncode == 0, ended.stderr


def test_a_process_that_cannot_name_such_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "check.py").write_text(f"from pipeline.storage.store import Store\nStore({str(tmp_path)!r}).check()")
    ended = run(str(tmp_path / "check.py"), **ASCII)
    assert ended.returncode == 1
    assert "names of files are ascii in this process; allowed: utf-8 (PYTHONUTF8=1" in ended.stderr
    assert run(str(tmp_path / "check.py")).returncode == 0
