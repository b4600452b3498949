"""What leaves the tree: a wheel that installs and runs, and the same checks before a commit as before the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import m2n2

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("m2n2", "pipeline", "jobs")


def succeed(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what belongs to it, so that nothing that lies around in the tree is in it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--quiet")
    succeed(*pip, "--wheel-dir", target, source, cwd=source)
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_says_that_its_packages_are_typed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    code = {path.relative_to(REPOSITORY).as_posix() for name in PACKAGES for path in (REPOSITORY / name).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == code


def test_the_wheel_installs_and_says_its_version(wheel: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False)
    (site_packages,) = fresh.glob("lib/python*/site-packages")
    pip = (sys.executable, "-m", "pip", "--python", fresh / "bin" / "python", "install", "--no-deps", "--no-index")
    succeed(*pip, "--quiet", wheel, cwd=tmp_path)
    # Its requirements are those of the environment that the tests run in: nothing is downloaded.
    (site_packages / "requirements.pth").write_text(str(Path(yaml.__file__).parents[1]))
    assert succeed(fresh / "bin" / "m2n2", "--version", cwd=tmp_path) == f"m2n2 {m2n2.__version__}\n"
    where = succeed(fresh / "bin" / "python", "-c", "import m2n2, jobs.cli; print(m2n2.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(fresh)


def test_a_commit_is_checked_as_the_tests_are() -> None:
    checks = re.findall(r"^\t\$\(BIN\)/(.*)$", (REPOSITORY / "Makefile").read_text().split("\ntest:")[1], re.MULTILINE)
    checks = checks[: next(number for number, line in enumerate(checks) if "pytest" in line)]
    (hooks,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks["hooks"]] == checks
