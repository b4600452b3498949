"""A directory of weights and its SHA256SUMS: which files belong to it, and whether they are what was fetched.

The manifest has the format of `sha256sum`, so `sha256sum -c SHA256SUMS` checks a directory by hand. Its own sha256 is
the digest that stands for the weights: in a job's `backbone.sha256`, in a plan's fingerprint, in a node's cache.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from m2n2.errors import InvalidWeights

MANIFEST = "SHA256SUMS"
ALLOWED_SUFFIXES = (".json", ".safetensors", ".txt")
LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def manifest_of(directory: Path) -> str:
    """The text of the directory's SHA256SUMS as its files are now; files that no backbone reads are left out."""
    files = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if _belongs(path, directory))
    return "".join(f"{file_sha256(directory / name)}  {name}\n" for name in files)


def check_directory(directory: Path, expected_digest: str | None = None) -> None:
    """Compare a directory with its SHA256SUMS, if it has one, and with the digest a job expects, if it names one.

    Raises:
        InvalidWeights: a file is missing, changed or not listed; a listed file is a pickle; the digest differs.
    """
    now = manifest_of(directory)
    if (directory / MANIFEST).exists():
        recorded = (directory / MANIFEST).read_text()
        expected, found = parse_manifest(recorded, directory), parse_manifest(now, directory)
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        if wrong:
            raise InvalidWeights(f"{directory}: {_describe(wrong[0], found, expected)}; differ in all: {wrong}")
        now = recorded
    check_digest(now, expected_digest, directory)


def check_digest(manifest: str, expected_digest: str | None, where: object) -> str:
    """The manifest's digest.

    Raises:
        InvalidWeights: it is not the expected one.
    """
    found = hashlib.sha256(manifest.encode()).hexdigest()
    if expected_digest is not None and found != expected_digest.lower():
        raise InvalidWeights(f"{where}: sha256 of {MANIFEST} is {found}, the job allows {expected_digest}")
    return found


def parse_manifest(text: str, where: object) -> dict[str, str]:
    """File name to sha256.

    Raises:
        InvalidWeights: a line is not one of `sha256sum`, or names a pickle or a file outside the directory.
    """
    hashes: dict[str, str] = {}
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        if not match:
            raise InvalidWeights(f"{where}/{MANIFEST}: found line {line!r}, allowed: a sha256, two spaces, a name")
        name = PurePosixPath(match[2])
        if name.is_absolute() or ".." in name.parts:
            raise InvalidWeights(f"{where}/{MANIFEST}: found {match[2]!r}, allowed: names inside the directory")
        if name.suffix not in ALLOWED_SUFFIXES:
            allowed = ", ".join(ALLOWED_SUFFIXES)
            raise InvalidWeights(f"{where}: found {match[2]}, allowed: {allowed} (pickles can run code)")
        hashes[match[2]] = match[1]
    return hashes


def file_sha256(path: Path) -> str:
    """The file's sha256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _belongs(path: Path, directory: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
    return path.is_file() and path.suffix in ALLOWED_SUFFIXES and not hidden


def _describe(name: str, found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    if name not in found:
        return f"{name} is missing"
    if name not in expected:
        return f"{name} is not listed in {MANIFEST}"
    return f"sha256 of {name} is {found[name]}, allowed: {expected[name]}"
