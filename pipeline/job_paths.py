"""Paths in a job's file: `$VARIABLES` and `~` expanded, relative ones taken from the folder that the file is in."""

from __future__ import annotations

import os
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PATHS = ("images", "clicks", "output", "library", "calibration", "categories")
WEIGHTS = "backbone.weights"  # may be a path, but also a name in the cache or a hub id
ADDRESSES = ("storage.endpoint_url",)


class UndefinedVariable(ValueError):
    """A path names an environment variable that is not set: one line a path."""


def place_paths(document: dict[str, Any], source: str, folder: Path, typed: Sequence[str] = ()) -> dict[str, str]:
    """Make the paths of a job's mapping absolute, in place.

    Args:
        source: names the file in errors.
        folder: where the file is.
        typed: dotted keys that stand on the command line instead: relative to the working directory, as the shell's.

    Returns:
        What stood there for each path that changed, variables expanded: `{"images": "photos/"}`.

    Raises:
        UndefinedVariable: an environment variable is not set.
    """
    problems: list[str] = []
    as_written: dict[str, str] = {}
    for key, holder, name in _texts(document):
        try:
            text = string.Template(holder[name]).substitute(os.environ)
        except (KeyError, ValueError) as error:
            found = f"${error.args[0]} is not set in the environment" if isinstance(error, KeyError) else "a lone $"
            problems.append(f"{source}: {key}: found {holder[name]!r}: {found}; for a dollar sign itself write $$")
            continue
        from_shell = any(key == each or key.startswith(f"{each}.") for each in typed)
        placed = _placed(key, text, Path.cwd() if from_shell else folder.resolve(), document)
        if placed != text:
            as_written[key] = text
        holder[name] = placed
    if problems:
        raise UndefinedVariable("\n".join(problems))
    return as_written


def _texts(document: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(key, what holds it, under which name) of every text that may be a path or an address."""
    for key in (*PATHS, WEIGHTS, *ADDRESSES):
        holder: Any = document
        *parents, name = key.split(".")
        for parent in parents:
            holder = holder.get(parent) if isinstance(holder, dict) else None
        value = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(value, str):
            yield key, holder, name
        elif isinstance(value, list):
            yield from (
                (f"{key}.{number}", value, number) for number, each in enumerate(value) if isinstance(each, str)
            )


def _placed(key: str, text: str, folder: Path, document: dict[str, Any]) -> str:
    if key in ADDRESSES or "://" in text or (key == WEIGHTS and not _is_directory(text, folder, document)):
        return text
    text = os.path.expanduser(text)
    # Joined as fsspec joins the working directory, so that a plan finds its click files under the names they had.
    return text if text.startswith("/") else f"{folder}/{text.removeprefix('./')}"


def _is_directory(text: str, folder: Path, document: dict[str, Any]) -> bool:
    """Whether the weights are a directory; what one's own callable gets stays as it is."""
    own_callable = ":" in str(document["backbone"].get("name", ""))
    return not own_callable and (text.startswith(("./", "../", "~")) or (folder / text).is_dir())
