"""What travels with a submitted job: m2n2's own code, and modules of the user's (`m2n2 submit --with PATH`)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.console import say
from pipeline.config import InvalidJob

PACKAGES = ("m2n2", "pipeline", "jobs")
# The cluster's head keeps what travels in its memory; weights belong into a bucket.
LARGEST_BYTES = 50_000_000
# Ray would leave out what these files name, after we said that it travels.
LEFT_OUT = {"__pycache__", ".git", ".gitignore", ".rayignore"}
LISTED = 10
ALLOWED = "allowed: a .py file, or a package's folder"


def ship(paths: Sequence[str], directory: Path) -> None:
    """Copy m2n2's code and `paths` into `directory`, so that both can be imported there, and say what that is.

    Args:
        paths: Python files, or folders that are packages; each is imported by its own name.
        directory: what Ray is given as `working_dir`.

    Raises:
        InvalidJob: a path that is not there, cannot be imported or read, or hides another module; or all together are
            larger than LARGEST_BYTES.
    """
    total, names = 0, set(PACKAGES)
    for path in paths:
        module = _importable(path)
        if module.stem in names:
            raise InvalidJob(f"--with {path}: a second {module.stem}; each needs a name of its own")
        names.add(module.stem)
        files = _files(module)
        if not any(file.suffix == ".py" for file in files):
            raise InvalidJob(f"--with {path}: found no Python file in it; {ALLOWED}")
        try:
            size = sum(file.stat().st_size for file in files)
            total += size
            _check_size(path, total)
            for file in files:
                target = directory / file.relative_to(module.parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        except OSError as error:
            raise InvalidJob(f"--with {path}: cannot be read: {' '.join(str(error).split())}") from error
        listed = ", ".join(file.relative_to(module.parent).as_posix() for file in files[:LISTED])
        say(f"ships {path}: {len(files)} files, {size:,} bytes: {listed}{', ...' if len(files) > LISTED else ''}")
    source = Path(__file__).resolve().parents[1]
    for package in PACKAGES:
        shutil.copytree(source / package, directory / package, ignore=shutil.ignore_patterns(*LEFT_OUT))


def _check_size(path: str, total: int) -> None:
    if total > LARGEST_BYTES:
        raise InvalidJob(
            f"--with {path}: {total:,} bytes in all; allowed: {LARGEST_BYTES:,}. Weights belong into the bucket "
            "(backbone.weights)"
        )


def _files(module: Path) -> list[Path]:
    if module.is_file():
        return [module]
    every = (file for file in sorted(module.rglob("*")) if file.is_symlink() or file.is_file())
    return [file for file in every if not set(file.relative_to(module).parts) & LEFT_OUT]


def _importable(given: str) -> Path:
    """The path, if Python could import it by its name and nothing else is hidden by it."""
    path = Path(given).absolute()  # a link keeps its own name
    if not path.exists():
        raise InvalidJob(f"--with {given}: there is no such file or folder")
    if path.is_file() and path.suffix != ".py":
        raise InvalidJob(f"--with {given}: found {path.name}; {ALLOWED}")
    if not path.stem.isidentifier() or (path.is_dir() and path.suffix):
        raise InvalidJob(f"--with {given}: Python cannot import {path.name!r}; allowed: a name such as my_backbone")
    if path.stem in PACKAGES or path.stem in sys.stdlib_module_names:
        raise InvalidJob(f"--with {given}: would hide the module {path.stem} of m2n2 or Python; give it another name")
    return path
