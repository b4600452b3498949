"""What the docs name is there: files, modules, commands with their options, targets of `make`, pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```\w*\n(.*?)^```|((?:^ {4}\S.*\n)+)", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
FILE = re.compile(r"(?<![\w./-])(?:m2n2|pipeline|jobs|tests|benchmarks|docs)/[\w./-]*\w")
MODULE = re.compile(r"python -m ((?:m2n2|pipeline|jobs|tests|benchmarks)[\w.]*\w)")
COMMAND = re.compile(r"(?:^|[ /])m2n2((?: [a-z][\w-]*){1,2})([^|;#]*)")
COMMANDS = REPOSITORY / "tests" / "jobs" / "command_line.txt"


def code_of(page: Path) -> Iterator[str]:
    """Lines of the page's blocks of code, and what stands in its text as code, each in one line."""
    text = page.read_text(encoding="utf-8")
    for fenced, indented in BLOCK.findall(text):
        yield from (fenced or indented).replace("\\\n", " ").splitlines()
    yield from (" ".join(span.split()) for span in SPAN.findall(BLOCK.sub("", text)))


def options_of_commands() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in COMMANDS.read_text(encoding="utf-8").splitlines():
        if line.startswith("m2n2"):
            options = found.setdefault(line.removeprefix("m2n2").strip(), {"--help"})
        elif match := re.match(r"--[\w-]+", line.strip()):
            options.add(match[0])
    return found


def problems(page: Path) -> Iterator[str]:
    """What the page names and nobody has."""
    options, targets = options_of_commands(), re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.M)
    for code in code_of(page):
        yield from (f"file {name}" for name in FILE.findall(code) if not (REPOSITORY / name).exists())
        for name in MODULE.findall(code):
            places = (REPOSITORY / f"{name.replace('.', '/')}{end}" for end in (".py", "/__main__.py"))
            if not any(place.exists() for place in places):
                yield f"module {name}"
        yield from (f"make {name}" for name in re.findall(r"\bmake ([\w-]+)", code) if name not in targets)
        for words, rest in COMMAND.findall(code):
            command = words.strip() if words.strip() in options else words.split()[0]
            if command == "import":  # Python's
                continue
            if command not in options:
                yield f"command {command}"
                continue
            used = re.findall(r"(?<!\S)\[?(--[\w-]+)", rest)
            yield from (f"option {name} of m2n2 {command}" for name in used if name not in options[command])
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not (page.parent / link).exists():
            yield f"page {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    assert list(problems(page)) == []


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "See `pipeline/nowhere.py`, `make nothing` and [this](gone.md).\n\n"
        "    m2n2 label job.yaml --slowly    # --quickly\n\n"
        "```sh\npython -m benchmarks.nowhere\nm2n2 unlabel job.yaml\nfrom m2n2 import Scene\n```\n"
    )
    missing = ["file pipeline/nowhere.py", "make nothing", "page gone.md", "option --slowly of m2n2 label"]
    assert sorted(problems(page)) == sorted([*missing, "module benchmarks.nowhere", "command unlabel"])
