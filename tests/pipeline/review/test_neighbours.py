"""Masks of one image against each other, compared with what their pixels say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pipeline.review.neighbours import Neighbours, compare_masks

HEIGHT, WIDTH = 20, 30


def row(name: str, mask: np.ndarray | None) -> dict[str, Any]:
    if mask is None:
        return {"object": name, "rle": None, "area": None}
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"object": name, "rle": {"size": rle["size"], "counts": rle["counts"].decode()}, "area": int(mask.sum())}


def box(left: int, top: int, right: int, bottom: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def click(x: float, y: float, label: bool = True) -> dict[str, Any]:
    return {"x": x, "y": y, "label": label}


def test_masks_that_overlap_name_each_other_and_the_share_of_the_smaller_one() -> None:
    rows = [row("large", box(0, 0, 20, 10)), row("small", box(15, 0, 25, 10)), row("apart", box(0, 15, 5, 20))]
    large, small, apart = compare_masks(rows, [(), (), ()])
    assert large == Neighbours(overlap=0.5, overlap_with="small")
    assert small == Neighbours(overlap=0.5, overlap_with="large")
    assert apart == Neighbours()


def test_near_duplicates_are_not_counted_as_overlaps() -> None:
    rows = [row("one", box(0, 0, 10, 10)), row("other", box(0, 0, 10, 9)), row("part", box(0, 0, 2, 10))]
    one, other, part = compare_masks(rows, [(), (), ()])
    assert one == Neighbours(overlap=1.0, overlap_with="part", duplicate=0.9, duplicate_of="other")
    assert other.duplicate_of == "one"
    assert other.overlap == pytest.approx(0.9)
    assert part.duplicate_of is None


def test_a_click_on_the_object_that_its_mask_has_not_is_lost_to_whoever_has_it() -> None:
    rows = [row("robbed", box(0, 0, 5, 5)), row("robber", box(10, 10, 20, 20)), row("failed", None)]
    robbed = [click(2, 2), click(12, 12), click(25, 2), click(15, 15, label=False)]
    found = compare_masks(rows, [robbed, [click(15, 15)], [click(1, 1)]])
    assert found == [Neighbours(lost_clicks=2, lost_to="robber"), Neighbours(), Neighbours()]
    (alone,) = compare_masks(rows[:1], [[click(25, 2)]])
    assert alone == Neighbours(lost_clicks=1, lost_to=None)


def test_every_pixel_that_is_clicked_is_the_one_that_the_mask_has_or_lacks() -> None:
    mask = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    for v, u in np.ndindex(mask.shape):
        (found,) = compare_masks([row("a", mask)], [[click(u, v)]])
        assert found.lost_clicks == (not mask[v, u]), (u, v)


@pytest.mark.parametrize(("x", "y"), [(-1, -1), (WIDTH + 1, HEIGHT + 1), (WIDTH, 0), (0.4, HEIGHT)])
def test_a_click_just_beyond_the_edge_is_on_the_edge(x: float, y: float) -> None:
    (found,) = compare_masks([row("a", box(0, 0, WIDTH, HEIGHT))], [[click(x, y)]])
    assert found.lost_clicks == 0


def test_masks_of_two_sizes_of_one_image_are_not_compared() -> None:
    rows = [row("old", box(0, 0, 10, 10, (40, 60))), row("new", box(0, 0, 10, 10))]
    assert compare_masks(rows, [[click(2, 2)], [click(2, 2)]]) == [Neighbours(), Neighbours()]
