"""Masks come back in the order of their identifiers, whatever files they were dealt out to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.library.in_order import masks as masks_in_order
from pipeline.library.in_order.masks import MasksInOrder


def table(rows: list[tuple[int, int, str]]) -> pa.Table:
    images, ids, names = zip(*rows, strict=True)
    return pa.table({"image_id": images, "id": ids, "object": names, "width": [7] * len(rows)})


@pytest.mark.parametrize("masks_a_file", [1, 3, 1000])
def test_rows_in_any_order_come_back_sorted_at_every_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks_a_file: int
) -> None:
    monkeypatch.setattr(masks_in_order, "MASKS_A_FILE", masks_a_file)
    rows = [(image, 10 * image + number, f"{image}-{number}") for image in range(1, 20) for number in range(3)]
    shuffled = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    masks = MasksInOrder(tmp_path, len(rows), 19)
    for first in range(0, len(shuffled), 5):
        masks.add(table(shuffled[first : first + 5]))
    masks.close()
    for _ in range(2):
        found = list(masks.rows(["object"]))
        assert [(row["image_id"], row["id"], row["object"]) for row in found] == rows
        assert "width" not in found[0]


def test_no_more_files_are_open_than_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks_in_order, "MASKS_A_FILE", 1)
    monkeypatch.setattr(masks_in_order, "MOST_FILES", 4)
    masks = MasksInOrder(tmp_path, 100, 100)
    masks.add(table([(image, image, "a") for image in range(1, 101)]))
    masks.close()
    assert len(list(tmp_path.iterdir())) <= 4
    assert [row["id"] for row in masks.rows([])] == list(range(1, 101))


def test_no_masks_at_all(tmp_path: Path) -> None:
    masks = MasksInOrder(tmp_path, 0, 0)
    masks.close()
    assert list(masks.rows(["object"])) == []
