"""The click files: which files an address, a folder or a pattern names."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from pipeline.clicks import InvalidClicks
from pipeline.describe import describe
from pipeline.storage.store import Entry, Store

PARQUET = (".parquet", ".parq", ".pq")
HIDDEN = ("_", ".")
# What stands beside the Parquet files where something else than the folder decides which of them count.
TABLES = {
    "Delta Lake": r"/_delta_log/",
    "Apache Hudi": r"/\.hoodie/",
    "Apache Iceberg": r"/metadata/[^/]+\.metadata\.json$",
}

log = logging.getLogger("m2n2.clicks")


def find_click_files(patterns: Sequence[str], store: Store) -> list[Entry]:
    """The click files that addresses, folders or patterns name, sorted, each once.

    A file or folder that is there is meant as it stands, whatever `*`, `?` and `[ ]` are in its name; else `[ ]` are
    taken as they stand and `*` and `?` as wildcards, and only then `[ ]` as wildcards too. Where a pattern ends with
    `/`, or names folders and no file, the Parquet files in these count, at any depth. What is named as bookkeeping
    (`_SUCCESS`, `_metadata`, dot files, and all below folders of such names) is left out, unless it is written out.

    Raises:
        InvalidClicks: one names no file, cannot be read, or is a table of Delta Lake, Hudi or Iceberg.
    """
    files: dict[str, Entry] = {}
    for pattern in patterns:
        try:
            found = _named(pattern, store)
        except (PermissionError, FileNotFoundError) as error:
            raise InvalidClicks(f"{pattern}: {describe(error)}") from error
        if not found:
            raise InvalidClicks(f"{pattern}: no such file; expected at least one Parquet file of clicks")
        files.update({entry.key: entry for entry in found})
    return [files[key] for key in sorted(files)]


def _named(pattern: str, store: Store) -> list[Entry]:
    """The files that a pattern names; empty where there is nothing of that name."""
    is_pattern = re.search(r"[*?\[]", pattern) is not None
    written = store.address(pattern).split("/")
    try:
        found = _visible(store, pattern, written, literally=True)
    except PermissionError:
        if not is_pattern:
            raise
        found = []  # who may not ask for a name that is not there may still list the folder
    brackets_as_they_stand = pattern.replace("[", "[[]")
    for wildcards in dict.fromkeys([brackets_as_they_stand, pattern]) if is_pattern else ():
        found = found or _visible(store, wildcards, written, literally=False)
    return found


def _visible(store: Store, pattern: str, written: Sequence[str], literally: bool) -> list[Entry]:
    if not pattern.endswith("/"):
        found = store.glob(pattern, literally)
        if files := [entry for entry in found if not _is_bookkeeping(entry.key.split("/")[-1], written[-1])]:
            return files
    return _parquet_files(pattern, store.glob(pattern, literally, below=True), len(written))


def _parquet_files(folder: str, found: Sequence[Entry], depth: int) -> list[Entry]:
    """The Parquet files below a folder, in no hidden folder; `depth` segments of their keys are the folder's own."""
    for table, sign in TABLES.items():
        if log_file := next((entry.key for entry in found if re.search(sign, entry.key)), None):
            raise InvalidClicks(
                f"{folder}: found a table of {table} ({log_file}), which has Parquet files that no longer count; "
                "allowed: plain Parquet files, such as an export of the table"
            )
    files, others = [], []
    for entry in found:
        segments = entry.key.split("/")[depth:]
        if entry.key.lower().endswith(PARQUET) and not any(segment.startswith(HIDDEN) for segment in segments):
            files.append(entry)
        elif not _is_bookkeeping(segments[-1], "*"):
            others.append(entry.key)
    if others:
        left_out = f"{len(others)} files that are hidden or not named as Parquet, such as {others[0]}"
        if not files:
            raise InvalidClicks(
                f"{folder}: no Parquet file is there; found {left_out}; allowed: *{', *'.join(PARQUET)}"
            )
        log.warning("%s: left out %s", folder, left_out)
    return files


def _is_bookkeeping(name: str, written: str) -> bool:
    """Whether a file is none of clicks: `_SUCCESS`, `_metadata`, `.part-0.crc`; what is written out is meant."""
    hidden = name.startswith(".") or (name.startswith("_") and not name.lower().endswith(PARQUET))
    return hidden and not written.startswith(name[0])
