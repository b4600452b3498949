"""Identifiers are given in alphabetical order, whatever slices of a library are looked at in a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.synthetic_output import index_table
from pipeline.library.in_order import in_step
from pipeline.library.index import open_database, with_a_mask
from pipeline.library.registry import Registry
from pipeline.storage.store import Store

OBJECTS = 60


@pytest.mark.parametrize("rows_at_once", [1, 2, 7, 1000])
def test_what_has_no_number_gets_the_next_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(in_step, "ROWS_AT_ONCE", rows_at_once)
    pq.write_table(index_table(np.arange(0, OBJECTS, 2), 10), tmp_path / "first")
    pq.write_table(index_table(np.arange(OBJECTS), 10), tmp_path / "all")
    with open_database(tmp_path / "registry.duckdb") as database:
        registry = Registry(database, Store(str(tmp_path)), [])
        first = numbered(registry, tmp_path / "first")
        assert first == dict(zip(sorted(first), range(1, OBJECTS // 2 + 1), strict=True))
        everything = numbered(registry, tmp_path / "all")
        new = sorted(everything.keys() - first.keys())
        assert everything == first | dict(zip(new, range(OBJECTS // 2 + 1, OBJECTS + 1), strict=True))
        assert registry.largest_image_id == OBJECTS // 5
        assert registry.write_added(tmp_path / "added") == OBJECTS + OBJECTS // 5
    added = pq.read_table(tmp_path / "added")
    assert added["id"].to_pylist() == [*range(1, OBJECTS // 5 + 1), *range(1, OBJECTS + 1)]


def numbered(registry: Registry, path: Path) -> dict[tuple[str, str], int]:
    rows = pa.concat_tables(registry.numbered(with_a_mask(path, ("image", "object")))).to_pylist()
    found = {(row["image"], row["object"]): row["id"] for row in rows}
    assert len(found) == len(rows)
    assert {row["image"]: row["image_id"] for row in rows} == {
        name: number for number, name in enumerate(sorted({row["image"] for row in rows}), start=1)
    }
    return found
