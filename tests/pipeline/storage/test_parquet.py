"""Columns of Parquet objects: of large ones no more than is needed is fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.storage.parquet import WHOLE_BELOW_BYTES, DamagedObject, read_columns
from pipeline.storage.store import Store

ROWS = 3000


@pytest.fixture
def large(tmp_path: Path) -> tuple[Store, int]:
    """An object of several groups of rows, most of whose bytes are those of one column."""
    noise = np.random.default_rng(0).bytes(1000 * ROWS)
    columns = {
        "image": [f"{number}.jpg" for number in range(ROWS)],
        "rle": [{"counts": noise[1000 * number : 1000 * (number + 1)]} for number in range(ROWS)],
        "error": [{"reason": "decode"} if number % 7 == 0 else None for number in range(ROWS)],
    }
    pq.write_table(pa.table(columns), tmp_path / "part.parquet", row_group_size=1000)
    return Store(str(tmp_path)), (tmp_path / "part.parquet").stat().st_size


def test_only_the_footer_and_the_columns_of_a_large_object_are_fetched(
    large: tuple[Store, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, size = large
    fetched = []
    read_span = Store.read_span

    def counting(self: Store, key: str, first: int, stop: int) -> bytes:
        fetched.append(stop - first)
        return read_span(self, key, first, stop)

    monkeypatch.setattr(Store, "read_span", counting)
    table = read_columns(store, "part.parquet", size, ["image", "error"])
    assert table.equals(pq.read_table(f"{store.root}/part.parquet").select(["image", "error"]))
    assert size > 10 * WHOLE_BELOW_BYTES
    assert sum(fetched) < size / 10


def test_an_object_that_is_not_what_was_listed_is_named(large: tuple[Store, int]) -> None:
    store, size = large
    for wrong in (size + 1000, size - 1000):
        with pytest.raises(DamagedObject, match=r"part\.parquet"):
            read_columns(store, "part.parquet", wrong, ["image"])
