"""What is reviewed: the labels of a run or a library, the clicks they came from, and what the last night changed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.attempts import all_attempts
from pipeline.config import InvalidJob
from pipeline.export.labels import Labels, labels_of_run
from pipeline.frozen_parts import LabelledImage, freeze_parts
from pipeline.library.export import labels_of_library
from pipeline.library.index import Index, open_database
from pipeline.library.ledger import State, is_library, read_state
from pipeline.review.planned_clicks import Clicks, LibraryClicks, RunClicks
from pipeline.review.rows import stream
from pipeline.storage.parquet import read_parquet
from pipeline.storage.store import Store

Key = tuple[str, str]
ClicksOf = Callable[[Sequence[LabelledImage]], Mapping[Key, Clicks]]
DIFF_KEY = "diff.parquet"


@dataclass(frozen=True)
class Source:
    """What is reviewed.

    Attributes:
        store: the run or the library.
        run: the run that says what the job was: itself, or the library's newest night that labelled anything.
        labels: all masks; of a run also the objects that have none.
        unlabelled: objects of a library that have none: image, object, category and reason.
        clicks: the clicks of every object of some images, by image and object.
        night: of the last night, the run's address; None where there was none.
        changes: what the last night changed, as `pipeline.library.settle.DIFF`; None where there was no night.
    """

    store: Store
    run: Store
    labels: Labels
    unlabelled: Callable[[], Iterator[Mapping[str, Any]]]
    clicks: ClicksOf
    night: Store | None
    changes: pa.Table | None


@contextmanager
def open_source(store: Store) -> Iterator[Source]:
    """The run or the library below `store`, as it is now, for as long as the block runs.

    Raises:
        InvalidJob: neither is there.
    """
    if is_library(store):
        with _open_library(store) as source:
            yield source
        return
    attempts = all_attempts(store)
    if not attempts:
        raise InvalidJob(f"{store.root}: neither a run (plan/plan.json) nor a library (ledger/) is here")
    parts = freeze_parts(store, attempts)
    changes = _changes(store)
    night = store if changes is not None else None
    yield Source(store, store, labels_of_run(parts), lambda: iter(()), RunClicks(parts), night, changes)


@contextmanager
def _open_library(library: Store) -> Iterator[Source]:
    state = read_state(library)
    with (
        labels_of_library(library) as labels,
        Index(library, state.index_keys) as index,
        tempfile.TemporaryDirectory(prefix="m2n2-clicks-") as directory,
        open_database(Path(directory) / "clicks.duckdb") as database,
    ):
        night, run = _newest_nights(library, state)

        def unlabelled() -> Iterator[Mapping[str, Any]]:
            query = f"""SELECT image, object, category, coalesce(tried_reason, reason) AS reason
                        FROM read_parquet('{index.path}') WHERE NOT removed AND reason IS NOT NULL
                        ORDER BY image, object"""
            return stream(database.cursor(), query)

        clicks = LibraryClicks(library, index.path, database)
        yield Source(library, run, labels, unlabelled, clicks, night, _changes(night) if night else None)


def _newest_nights(library: Store, state: State) -> tuple[Store | None, Store]:
    """The newest night that is finished, and the newest that labelled anything."""
    finished = [Store(library.url(each.run), library.storage) for each in state.nights if each.state == "finished"]
    labelled = [night for night in reversed(finished) if night.exists("plan/plan.json")]
    return (finished[-1] if finished else None), (labelled[0] if labelled else library)


def _changes(night: Store) -> pa.Table | None:
    try:
        return read_parquet(night.read(DIFF_KEY), night.url(DIFF_KEY))
    except FileNotFoundError:
        return None
