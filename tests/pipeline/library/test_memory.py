"""What a night holds in memory does not grow with the library: what does grow are files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.synthetic_night import RELABELLED, write_relabelled
from benchmarks.synthetic_output import chunks, index_table, write_tables
from pipeline.library import index, settle
from pipeline.library.compact import compact
from pipeline.library.export import labels_of_library
from pipeline.library.in_order import in_step
from pipeline.library.ledger import read_state
from pipeline.plan import load_plan
from pipeline.storage.store import Store
from tests.jobs.site import FakeLabeller, Site
from tests.pipeline.keys_read import keys_read

OBJECTS_A_PART = 25
COMPARED: dict[str, Any] = {"mean_iou": 1.0, "compared": 1}


def test_what_grows_with_a_library_is_never_one_piece_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(Store(str(tmp_path)), FakeLabeller(monkeypatch))
    in_memory = whole_in_memory(monkeypatch)
    site.photos("a", "b")
    site.clicks("01", {("a", "1"): 10, ("b", "1"): 20})
    site.labeller.reasons = {("b", "1"): "internal"}
    site.night("2026-01-01")
    site.photos("a", content="edited")
    assert site.night("2026-01-02")[0].diff == settle.Diff(changed=1, retried=1, failed={"internal": 1}, **COMPARED)
    assert len(compact(site.library, "monthly").index) == 2

    state = read_state(site.library)
    growing = [*state.index_keys, *state.registry_keys]
    growing += [f"{night.run}/{name}.parquet" for night in state.nights for name in ("changes", "diff")]
    assert all(site.library.exists(key) for key in growing)
    folders = ("index/", "registry/")
    assert [key for key in in_memory if key.startswith(folders) or key in growing] == []


def whole_in_memory(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of objects that are read as bytes or put from bytes from now on."""
    keys = keys_read(monkeypatch)
    for method in ("put", "put_new"):
        putting = getattr(Store, method)

        def seen(store: Store, key: str, data: object, putting: Any = putting) -> object:
            if isinstance(data, bytes):
                keys.append(key)
            return putting(store, key, data)

        monkeypatch.setattr(Store, method, seen)
    return keys


def test_settling_a_night_that_labelled_all_anew_holds_as_much_of_many_objects_as_of_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_step, "ROWS_AT_ONCE", 200)
    monkeypatch.setattr(settle, "ROWS_A_BATCH", 200)
    peaks = [peak_of_settling(tmp_path / str(objects), objects) for objects in (1_000, 8_000)]
    assert peaks[1] < peaks[0] + 200_000, f"{peaks} bytes: more than 28 an object"


def test_a_night_that_labelled_all_anew_is_settled_within_far_less_memory_than_its_masks_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 48 MB were not enough for these, nor 120 for 150,000.
    monkeypatch.setattr(index, "MEMORY_LIMIT", "40MB")
    monkeypatch.setattr(in_step, "ROWS_AT_ONCE", 5_000)
    objects = 60_000
    write_relabelled(tmp_path, objects, 640)
    library = Store(str(tmp_path / "library"))
    plan = load_plan(library, f"{RELABELLED}/")
    diff = settle.settle(library, RELABELLED, plan, tmp_path / "index.parquet")
    assert (diff.changed, diff.compared) == (objects, objects)
    assert pq.read_metadata(tmp_path / "index.parquet").num_rows == objects


def peak_of_settling(directory: Path, objects: int) -> int:
    """Bytes that Python held at most."""
    directory.mkdir()
    write_relabelled(directory, objects, OBJECTS_A_PART)
    library = Store(str(directory / "library"))
    plan = load_plan(library, f"{RELABELLED}/")
    tracemalloc.start()
    try:
        diff = settle.settle(library, RELABELLED, plan, directory / "index.parquet")
        assert (diff.changed, diff.compared) == (objects, objects)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_library_is_numbered_and_exported_within_far_less_memory_than_its_index_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It was 40 MB that were not enough for these, as 300 MB were not for 16,000,000.
    monkeypatch.setattr(index, "MEMORY_LIMIT", "24MB")
    library, objects = Store(str(tmp_path / "library")), 300_000
    write_tables(library, objects, (index_table(rows, 10_000) for rows in chunks(objects)), tmp_path)
    with labels_of_library(library) as labels:
        assert len(labels.missing) == 30, "all objects were numbered, and all of their parts were asked for"
