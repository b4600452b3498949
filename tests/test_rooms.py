"""What the rooms of the code promise each other, besides the directions of imports that `lint-imports` checks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("m2n2", "pipeline", "jobs")
CODE = (*PACKAGES, "tests")
FILES_A_FOLDER = 15
DOTTED_PRIVATE = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)*\._[a-z]\w*")


def files_of(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def room_of(path: PurePath) -> str:
    """The room that a file belongs to or, a test, is of: `pipeline/driver` for tests/pipeline/driver/test_run.py."""
    parts = path.parent.parts
    return "/".join(parts[1:] if parts[0] == "tests" else parts)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_definitions(tree: ast.AST) -> Iterator[str]:
    """Private functions, classes, constants and attributes that a file defines."""
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.id if isinstance(node, ast.Name) else node.attr
        if name is not None and is_private(name):
            yield name


def private_uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of private names that a file reaches for: imported, as an attribute, or in a dotted string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            yield from ((node.lineno, alias.name) for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED_PRIVATE.fullmatch(node.value):
            yield node.lineno, node.value.rsplit(".", 1)[-1]


def foreign_privates() -> list[str]:
    """Every use of a private name of the packages that neither the file itself nor its room defines.

    Benchmarks are left out: they time the stages that are inside.
    """
    trees = {path.relative_to(REPOSITORY): ast.parse(path.read_text(encoding="utf-8")) for path in files_of(*CODE)}
    of_room: dict[str, set[str]] = {}
    for path, tree in trees.items():
        if path.parts[0] in PACKAGES:
            of_room.setdefault(room_of(path), set()).update(private_definitions(tree))
    ours = set().union(*of_room.values())
    found = []
    for path, tree in trees.items():
        foreign = ours - of_room.get(room_of(path), set()) - set(private_definitions(tree))
        found += [f"{path}:{line}: {name}" for line, name in private_uses(tree) if name in foreign]
    return found


def test_nobody_uses_the_privates_of_another_room() -> None:
    assert foreign_privates() == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from pipeline.driver.fleet import _Worker", ["_Worker"]),
        ("fleet._workers.clear()", ["_workers"]),
        ('monkeypatch.setattr("pipeline.driver.run._count", None)', ["_count"]),
        ("from pipeline.driver.fleet import Fleet", []),
        ("fleet.__class__", []),
        ('"a sentence about pipeline.driver.run._count"', []),
    ],
)
def test_the_check_sees_every_way_to_a_private_name(line: str, found: list[str]) -> None:
    assert [name for _, name in private_uses(ast.parse(line))] == found


def test_no_folder_holds_more_than_a_reader_can_overlook() -> None:
    count: dict[str, int] = {}
    for path in files_of(*CODE, "benchmarks"):
        if path.name != "__init__.py":
            folder = path.parent.relative_to(REPOSITORY).as_posix()
            count[folder] = count.get(folder, 0) + 1
    assert count["pipeline/driver"] > 2
    assert {folder: number for folder, number in count.items() if number > FILES_A_FOLDER} == {}


def test_the_architecture_page_names_what_is_there() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    named = re.findall(r"`([\w/.]+(?:\.py|/))`", page)
    assert len(named) > 40
    tree = [path.as_posix() for folder in CODE for path in (REPOSITORY / folder).rglob("*")]
    assert [name for name in named if not any(f"{path}/".endswith(f"/{name.rstrip('/')}/") for path in tree)] == []
