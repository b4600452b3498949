"""Many nights' index files as one: of every object the newest row, sorted, however little memory there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.synthetic_output import index_table
from pipeline.library import index
from pipeline.library.index import INDEX, Index
from pipeline.storage.store import Store


def night(directory: Path, number: int, objects: np.ndarray) -> str:
    """An index file of these objects, with the night's number as their settings."""
    table = index_table(objects, 100)
    place = table.schema.get_field_index("settings")
    table = table.set_column(place, INDEX.field("settings"), pa.array([str(number)] * len(objects)))
    pq.write_table(table, directory / f"{number}.parquet")
    return f"{number}.parquet"


@pytest.mark.parametrize("rows_a_batch", [1, 7, 20_000])
def test_the_newest_row_of_every_object_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_a_batch: int
) -> None:
    monkeypatch.setattr(index, "ROWS_A_BATCH", rows_a_batch)
    random, newest, keys = np.random.default_rng(0), {}, []
    for number in range(12):
        objects = np.sort(random.choice(60, random.integers(0, 60), replace=False))
        keys.append(night(tmp_path, number, objects))
        newest |= {(f"000000/{each // 5:09d}.jpg", f"object-{each % 5}"): str(number) for each in objects}
    with Index(Store(str(tmp_path)), keys) as merged:
        rows = pq.read_table(merged.path)
        found = {(image, name): known.settings for image, of in merged.by_image() for name, known in of.items()}
    assert found == newest
    assert rows.schema.equals(INDEX)
    assert list(zip(rows["image"].to_pylist(), rows["object"].to_pylist(), strict=True)) == sorted(newest)
