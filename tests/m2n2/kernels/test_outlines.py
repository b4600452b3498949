"""Polygons and run lengths of any mask give back the mask, to the pixel."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from m2n2.kernels.outlines import outlines
from m2n2.kernels.run_lengths import fill_crop, read_counts, row_runs

MASKS = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1), fill=st.integers(0, 1)
)


@settings(deadline=None, max_examples=150)
@given(MASKS)
def test_rings_cover_what_the_mask_covers(mask: np.ndarray) -> None:
    height, width = mask.shape
    rings = rings_of(mask, centres=False)
    assert len(rings) == cv2.connectedComponents(mask, connectivity=4)[0] - 1
    if rings:
        pieces = coco_mask.frPyObjects([ring.ravel().astype(float).tolist() for ring in rings], height, width)
        assert np.array_equal(coco_mask.decode(coco_mask.merge(pieces)), mask)
        assert sum(map(area_of, rings)) == mask.sum()
    drawn = np.zeros_like(mask)
    for ring in rings_of(mask, centres=True):
        assert (ring == np.roll(ring, 1, axis=0)).any(axis=1).all(), "no step goes across a corner"
        cv2.fillPoly(drawn, [ring.astype(np.int32)], 1)
    assert np.array_equal(drawn, mask)


def rings_of(mask: np.ndarray, centres: bool) -> list[np.ndarray]:
    points, ends = outlines(mask, centres)
    return np.split(points, ends[:-1]) if len(ends) else []


def area_of(ring: np.ndarray) -> float:
    x, y = ring.T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)


@settings(deadline=None, max_examples=150)
@given(MASKS)
def test_runs_give_back_the_mask(mask: np.ndarray) -> None:
    encoded = coco_mask.encode(np.asfortranarray(mask))
    runs = read_counts(np.frombuffer(encoded["counts"], np.uint8))
    assert coco_mask.frPyObjects({"size": encoded["size"], "counts": runs.tolist()}, *mask.shape) == encoded
    left, top, width, height = map(int, coco_mask.toBbox(encoded))
    crop = np.zeros((height, width), np.uint8)
    fill_crop(runs, mask.shape[0], left, top, crop)
    assert np.array_equal(crop, mask[top : top + height, left : left + width])
    along_rows = row_runs(mask)
    assert np.array_equal(np.repeat(np.arange(along_rows.size) % 2, along_rows).reshape(mask.shape), mask)


def test_a_ring_has_no_needless_points() -> None:
    square = np.ones((5, 7), np.uint8)
    assert sorted(map(tuple, rings_of(square, centres=False)[0].tolist())) == [(0, 0), (0, 5), (7, 0), (7, 5)]
    assert sorted(map(tuple, rings_of(square, centres=True)[0].tolist())) == [(0, 0), (0, 4), (6, 0), (6, 4)]


def test_long_runs_of_large_photos() -> None:
    mask = np.zeros((3000, 4000), np.uint8, order="F")
    mask[17:2990, 5:3999] = 1
    runs = read_counts(np.frombuffer(coco_mask.encode(mask)["counts"], np.uint8))
    assert runs.sum() == mask.size
    assert runs[1::2].sum() == mask.sum()
