"""A box around the object: nothing beyond it is the object, and thresholds that reach beyond it count less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from m2n2 import Prompt, Scene, Settings
from m2n2.errors import InvalidPrompt
from m2n2.refined.box import box_on_grid
from m2n2.threshold import Candidates


def scene(settings: Settings) -> Scene:
    """Two grey halves that the attention cannot tell from each other where they meet."""
    image = np.full((48, 64, 3), 128, np.uint8)
    image[:, 32:] = 132
    y, x = np.divmod(np.arange(12 * 16), 16)
    attention = np.exp(-((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2) / 8.0).astype(np.float32)
    return Scene(image, attention.reshape(12, 16, 12, 16), settings)


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(more_clicks="edit", threshold="central"), Settings(working_pixels=800)]
)
def test_a_mask_stays_within_the_grown_box(settings: Settings) -> None:
    box = (10.0, 8.0, 30.0, 28.0)
    prompts = [Prompt([(20, 18), (14, 12)]), Prompt([(20, 18), (14, 12)], box=box)]
    free, boxed = (mask.mask for mask in scene(settings).segment(prompts))
    allowed = np.zeros_like(boxed)
    allowed[6:30, 8:32] = True  # a tenth of its sides beyond the box
    assert (free & ~allowed).any()
    assert boxed.any()
    assert not (boxed & ~allowed).any()


def test_candidates_beyond_the_box_count_less() -> None:
    flooded_hw = np.abs(np.arange(10, dtype=np.float32) - 4)[None] / 5  # the click is at 4
    found = Candidates(np.array([0.2, 0.4, 0.8], np.float32), np.ones(3, np.float32), 1.0)
    box = box_on_grid((3, 0, 6, 1), Settings(box_margin=0.0), (1, 10), (1, 10))
    assert box.inner == box.grown == (slice(0, 1), slice(3, 6))
    assert box.weighted(found, flooded_hw).edges == pytest.approx([1, (3 / 5) ** 2, (3 / 9) ** 2])


def test_a_box_has_at_least_a_pixel_of_a_smaller_image() -> None:
    box = box_on_grid((100, 100, 101, 101), Settings(), (1000, 1000), (10, 10))
    assert box.inner == box.grown == (slice(1, 2), slice(1, 2))


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ((1, 1, 1, 2), "it needs x0 < x1 and y0 < y1"),
        ((1, 1, 0, 2), "it needs x0 < x1 and y0 < y1"),
        ((0, 0, np.inf, 1), "it needs 4 finite numbers"),
        ((0, 0, 1), "it needs 4 finite numbers"),
    ],
)
def test_what_is_no_box_is_refused(box: Any, problem: str) -> None:
    with pytest.raises(InvalidPrompt, match=problem):
        Prompt([(1, 1)], box=box)


def test_a_box_beside_the_image_is_refused() -> None:
    scene = Scene(np.zeros((20, 30, 3), np.uint8), np.ones((4, 4), np.float32))
    scene.segment([Prompt([(29, 19)], box=(29.5, 19.5, 40, 40))])
    with pytest.raises(InvalidPrompt, match=r"box \(30\.0, .* is outside the image of 30 x 20 pixels"):
        scene.segment([Prompt([(29, 19)], box=(30, 1, 40, 40))])
