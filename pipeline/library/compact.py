"""Folding old nights' files into one, and removing what nothing refers to any more.

A night reads every index and registry file of the library, so a year of nights is hundreds of files. A compaction
creates one of each kind that holds the same, and the ledger's next state names these in their place; until that state
is there nothing has changed. The folded files stay, for whoever reads them, until they are collected.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.interventions import record
from pipeline.library.index import Index
from pipeline.library.lease import Lease, store_time, take_lease
from pipeline.library.ledger import Compaction, State, state_of_library
from pipeline.library.registry import REGISTRY
from pipeline.storage.store import Entry, Store

LEASE_S = 60.0
FOLDERS = ("index", "registry")


@dataclass(frozen=True)
class Folded:
    """What was folded, or would be: keys of index and of registry files; none of a kind that has no two."""

    index: Sequence[str]
    registry: Sequence[str]


def compact(library: Store, reason: str, dry_run: bool = False) -> Folded:
    """Fold the index files of all nights into one, and their files of identifiers; nothing is removed.

    Raises:
        InvalidJob: no library is there.
        LeaseHeld: a driver works on the library.
        LeaseLost: another one took over; nothing is changed.
    """
    state = state_of_library(library)
    if dry_run or not _to_fold(state).index:
        return _to_fold(state)
    with take_lease(library, LEASE_S, on_lost=lambda: None, allow_replacing=True) as lease:
        folded = _to_fold(lease.state)
        if folded.index:
            _fold(library, lease, folded, reason)
    return folded


def collect(library: Store, older_than: timedelta, reason: str, dry_run: bool = False) -> list[Entry]:
    """Remove index and registry files that no state of the ledger leads to any more and that nobody reads.

    Args:
        older_than: how long ago, by the store's clock, a file must have been written and, if it was folded, folded:
            longer than any export or report takes.

    Returns:
        The files that are removed, or with `dry_run` would be.

    Raises:
        InvalidJob: no library is there.
        LeaseHeld: a driver works on the library.
    """
    state = state_of_library(library)
    if dry_run:
        return _unreferenced(library, state, store_time(library) - older_than)
    with take_lease(library, LEASE_S, on_lost=lambda: None, allow_replacing=True) as lease:
        found = _unreferenced(library, lease.state, store_time(library) - older_than)
        if found:
            record(library, "collect", reason, removed=[entry.key for entry in found])
        for entry in found:
            library.remove(entry.key)
    return found


def _to_fold(state: State) -> Folded:
    """Only what is more than one file of its kind."""
    index, registry = state.index_keys, state.registry_keys
    if len(index) < 2:
        return Folded((), ())
    return Folded(index, registry if len(registry) > 1 else ())


def _fold(library: Store, lease: Lease, folded: Folded, reason: str) -> None:
    # Nobody else ever holds this lease, so nobody else writes these names.
    name = f"compacted-{lease.holder.token:010d}.parquet"
    index, registry = f"index/{name}", f"registry/{name}" if folded.registry else None
    with Index(library, folded.index) as merged:
        library.put(index, merged.path)
    if registry:
        _fold_registry(library, folded.registry, registry)
    at = store_time(library).isoformat(timespec="seconds")
    record(library, "compact", reason, index=index, registry=registry, folded=[*folded.index, *folded.registry])
    lease.commit_compaction(Compaction(index, registry, (*folded.index, *folded.registry), at))


def _fold_registry(library: Store, keys: Sequence[str], target: str) -> None:
    """All rows in their order: categories are numbered in the order in which they came."""
    with tempfile.TemporaryDirectory(prefix="m2n2-compact-") as name:
        folded, one = Path(name) / "folded.parquet", Path(name) / "one.parquet"
        with pq.ParquetWriter(folded, REGISTRY, compression="zstd") as writer:
            for key in keys:
                library.get_file(key, one)
                with pq.ParquetFile(one) as file:
                    for batch in file.iter_batches():
                        table = pa.Table.from_batches([batch])
                        writer.write_table(pa.concat_tables([REGISTRY.empty_table(), table], promote_options="default"))
        library.put(target, folded)


def _unreferenced(library: Store, state: State, before: datetime) -> list[Entry]:
    referenced = {*state.index_keys, *state.registry_keys}
    folded_at = {key: datetime.fromisoformat(each.at) for each in state.compactions for key in each.of}
    return [
        entry
        for folder in FOLDERS
        for entry in library.listing(folder)
        if entry.key not in referenced and max(entry.modified, folded_at.get(entry.key, entry.modified)) < before
    ]
