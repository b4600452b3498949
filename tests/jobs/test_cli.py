"""The command line, frozen: its commands and options, and what it says and returns when the input is wrong."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from typer.main import get_command

import m2n2
from jobs.cli import app, main
from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset
from tests.weights import digest_of, write_weights

SURFACE = Path(__file__).with_name("command_line.txt")
EXAMPLE = re.compile(r"Example: m2n2 (.*)")


def commands(command: Any, name: str = "m2n2") -> Iterator[tuple[str, Any]]:
    """(what people type, command) of every command and group."""
    yield name, command
    for word, below in sorted(getattr(command, "commands", {}).items()):
        yield from commands(below, f"{name} {word}")


def surface() -> str:
    """Every command, argument, option, choice and default. After a change that is meant, store it anew:

    python -m tests.jobs.test_cli > tests/jobs/command_line.txt
    """
    lines = []
    for name, command in commands(get_command(app)):
        lines.append(name)
        for each in command.params:
            words = each.opts if each.opts[0].startswith("-") else [each.metavar]
            kind = each.type_descriptor.annotation
            about = [f"one of {', '.join(get_args(kind))}"] if get_origin(kind) is Literal else []
            about += ["required"] if each.required else [f"default {each.default}"] if each.default else []
            lines.append("  " + "; ".join([", ".join(words), *about]))
    return "\n".join(lines) + "\n"


def test_the_command_line_is_frozen() -> None:
    assert surface() == SURFACE.read_text()


@pytest.mark.parametrize(("name", "command"), list(commands(get_command(app)))[1:])
def test_every_command_has_an_example_that_it_understands(name: str, command: Any) -> None:
    (example,) = EXAMPLE.findall(command.help)
    assert f"m2n2 {example}".startswith(name)
    understood, words = get_command(app), shlex.split(example)
    while hasattr(understood, "commands"):
        understood = understood.commands[words.pop(0)]
    understood.make_context(name, words)  # raises where an argument or an option is wrong


def test_alone_it_shows_its_commands_and_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    alone = capsys.readouterr().out
    assert "Label a job's images" in alone
    assert "m2n2 label job.yaml" in alone
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.split() == alone.split()


def test_the_version_is_the_packages_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"m2n2 {m2n2.__version__}\n"


def test_weights_are_copied_to_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("M2N2_CACHE", str(tmp_path / "cache"))
    published = write_weights(tmp_path / "bucket")
    assert main(["weights", "cache", f"file://{published}"]) == 0
    directory = Path(capsys.readouterr().out.strip())
    assert directory == tmp_path / "cache" / "by-sha256" / digest_of(published)
    assert (directory / "unet" / "config.json").read_bytes() == (published / "unet" / "config.json").read_bytes()
    assert main(["weights", "cache", "sd2"]) == 2
    assert "found 'sd2'; allowed: an address such as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbnoe": {}}, "job.yaml: backbnoe: unknown key; allowed here: "),
        ({"clicks": "nowhere/*.parquet"}, "nowhere/*.parquet: no such file; expected at least one Parquet file"),
        ({"backbone": {"name": "dinov2", "weights": "/no/such/weights"}}, "weights '/no/such/weights': neither"),
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


@pytest.mark.parametrize("command", [["export", "{}", "--to", "{}/to"], ["review", "{}", "--to", "{}/to"]])
def test_ctrl_c_ends_with_1_and_says_so(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "listing", ctrl_c)
    monkeypatch.setattr(Store, "read", ctrl_c)
    assert main([each.format(tmp_path) for each in command]) == 1
    assert capsys.readouterr().err.strip() == "m2n2: interrupted"


def test_usage_errors_end_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label"]) == 2
    assert capsys.readouterr().err == "m2n2: Missing argument 'JOB.yaml'.\n"
    assert main(["labl"]) == 2
    assert main(["label", "job.yaml", "--retry-al"]) == 2
    assert "No such option: --retry-al" in capsys.readouterr().err


if __name__ == "__main__":
    sys.stdout.write(surface())
