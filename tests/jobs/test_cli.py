"""The command line, frozen: its commands and options, and what it says and returns when the input is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from jobs.cli import build_parser, main
from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset

COMMAND_LINE = """
check-backbone NAME --weights --dtype --device --grid --endpoint-url
demo --to
export OUTPUT|LIBRARY --format --to --endpoint-url
label JOB.yaml key=value --address --retry-failed --retry-all
nightly NIGHTLY.yaml --date --address
status OUTPUT --endpoint-url
submit JOB.yaml key=value --address
weights fetch NAME --to --from --endpoint-url
"""


def commands(parser: argparse.ArgumentParser, name: str = "") -> list[str]:
    """Every command with its arguments, a line each."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if groups:
        return [line for word, below in groups[0].choices.items() for line in commands(below, f"{name} {word}".strip())]
    words = [
        action.option_strings[0] if action.option_strings else str(action.metavar)
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    ]
    return [" ".join([name, *words])]


def test_the_command_line_is_frozen() -> None:
    assert sorted(commands(build_parser())) == COMMAND_LINE.split("\n")[1:-1]


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "label a job's images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbnoe": {}}, "job.yaml: backbnoe: unknown key; allowed here: "),
        ({"clicks": "nowhere/*.parquet"}, "nowhere/*.parquet: no such file; expected at least one Parquet file"),
        ({"backbone": {"name": "dinov2", "weights": "/no/such/weights"}}, "weights '/no/such/weights': neither"),
        ({"workers": {"gpus": 64}}, "workers.gpus: found 64; allowed: at most 0, what this machine has"),
        ({"backbone": {"name": "sd3"}}, "backbone"),
    ],
)
def test_bad_input_ends_with_2_and_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], message: str
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(put_dataset(Store(str(tmp_path)), images=1) | changes))
    assert main(["label", str(job)]) == 2
    assert message in capsys.readouterr().err


def test_no_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert main(["export", str(tmp_path), "--to", str(tmp_path / "x.json")]) == 2
    assert "no run is here; expected plan/plan.json below it" in capsys.readouterr().err


def test_usage_errors_end_with_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["label"])
    assert ended.value.code == 2
