"""The command line, frozen: its commands and options, and what it says and returns when the input is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from jobs.cli import app, main
from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset

COMMAND_LINE = """
 --verbose --install-completion --show-completion
check-backbone NAME --weights --dtype --device --grid --endpoint-url
demo --to
export OUTPUT|LIBRARY --to --format --endpoint-url
label JOB.yaml key=value --address --retry-failed --retry-all
nightly NIGHTLY.yaml --date --address
status OUTPUT --endpoint-url
submit JOB.yaml --address key=value
weights
weights fetch NAME --to --from --endpoint-url
"""


def commands(command: Any, name: str = "") -> list[str]:
    """Every command with its arguments, a line each."""
    words = [
        parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar for parameter in command.params
    ]
    below = getattr(command, "commands", {})
    lines = [line for word, each in below.items() for line in commands(each, f"{name} {word}".strip())]
    return [" ".join([name, *words]), *lines]


def test_the_command_line_is_frozen() -> None:
    assert sorted(commands(get_command(app))) == COMMAND_LINE.split("\n")[1:-1]


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "Label a job's images" in capsys.readouterr().out


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


def test_usage_errors_end_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label"]) == 2
    assert capsys.readouterr().err == "m2n2: Missing argument 'JOB.yaml'.\n"
    assert main(["labl"]) == 2
    assert main(["label", "job.yaml", "--retry-al"]) == 2
    assert "No such option: --retry-al" in capsys.readouterr().err
