"""Files that are sorted by image, side by side: every join of a few images is a share of the whole join."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.library.in_order import in_step as reading
from pipeline.library.in_order.in_step import in_step, tables_of


def written(path: Path, images: list[str]) -> Path:
    table = pa.table({"image": pa.array(images, pa.string()), "row": pa.array(range(len(images)), pa.int64())})
    pq.write_table(table, path, row_group_size=1_000)
    return path


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rows_at_once", [1, 3, 1000])
def test_all_rows_of_an_image_come_at_once_and_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, rows_at_once: int
) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", rows_at_once)
    random = np.random.default_rng(seed)
    drawn = [sorted(f"{each:02d}" for each in random.integers(0, 12, random.integers(0, 25))) for _ in range(3)]
    leading, *others = (written(tmp_path / str(number), images) for number, images in enumerate(drawn))
    found: list[list[int]] = [[], [], []]
    for tables in in_step(tables_of(leading), *others):
        images = [table["image"].to_pylist() for table in tables]
        for image in set(images[0]):
            assert [each.count(image) for each in images] == [each.count(image) for each in drawn]
        for rows, table in zip(found, tables, strict=True):
            rows += table["row"].to_pylist()
    assert found[0] == list(range(len(drawn[0])))
    for rows, images_of_it in zip(found, drawn, strict=True):
        assert rows == [row for row, image in enumerate(images_of_it) if image in drawn[0]]


def test_images_far_apart_hold_nothing_of_what_stands_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 1_000)
    peaks = [arrow_peak_of_first_and_last(tmp_path / str(rows), rows) for rows in (10_000, 100_000)]
    assert peaks[1] < peaks[0] + 200_000, f"{peaks} bytes: more than 2 a row"


def arrow_peak_of_first_and_last(directory: Path, rows: int) -> int:
    directory.mkdir()
    other = written(directory / "other", [f"{row:06d}" for row in range(rows)])
    leading = written(directory / "leading", ["000000", f"{rows - 1:06d}"])
    usual = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counting)
    try:
        found = [table["row"].to_pylist() for _, table in in_step(tables_of(leading), other)]
        assert found == [[0], [rows - 1]]
    finally:
        pa.set_memory_pool(usual)
    return int(counting.max_memory())


def test_columns_are_read_as_asked(tmp_path: Path) -> None:
    path = written(tmp_path / "a", ["x", "y"])
    assert [table.column_names for table in tables_of(path, ["row"])] == [["row"]]


@pytest.mark.parametrize("images", [(["b", "a"], ["a", "b"]), (["a", "b"], ["a", "c", "b"])])
def test_what_is_not_sorted_is_refused(tmp_path: Path, images: tuple[list[str], list[str]]) -> None:
    leading, other = (written(tmp_path / str(number), each) for number, each in enumerate(images))
    with pytest.raises(ValueError, match=r"'[ab]' comes after '[bc]'"):
        list(in_step(tables_of(leading), other))
