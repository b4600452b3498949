"""From masks to rows: a mask without a pixel is an error that says why, never a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from m2n2 import Scene, Settings
from m2n2.prompt import Prompt
from m2n2.scene import Mask
from pipeline.clicks import ObjectClicks
from pipeline.parts import Row, Size
from pipeline.worker.refinement import Refinement
from tests.pipeline.make_data import picture


def rows_of(clicks: list[tuple[str, float, float, bool]], settings: Settings | None = None) -> dict[str, Row]:
    """Rows by object, of clicks (object, x, y, label) on the picture of two discs."""
    pixels = picture()
    refinement = Refinement(Size(width=96, height=72))
    for name in dict.fromkeys(click[0] for click in clicks):
        of_object = [{"x": x, "y": y, "label": label} for each, x, y, label in clicks if each == name]
        refinement.add(ObjectClicks("a.png", name, "cat", of_object, None), None)
    refinement.scene = Scene(pixels, np.full((16, 16, 16, 16), 1 / 256, np.float32), settings or Settings())
    return {row["object"]: row for row in refinement.rows()}


def test_a_foreground_and_a_background_click_on_one_pixel_are_an_error_that_names_the_pixel() -> None:
    rows = rows_of([("both", 30, 30, True), ("both", 30.2, 29.9, False), ("sound", 30, 30, True)])
    assert rows["both"]["error"] == {
        "stage": "segment",
        "reason": "empty_mask",
        "message": "image 'a.png', object 'both': a foreground and a background click are on one pixel (30, 30); "
        "allowed: different pixels",
        "retryable": False,
    }
    assert "rle" not in rows["both"]
    assert rows["sound"]["area"] > 0


def test_an_object_that_loses_all_its_pixels_to_others_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_the_second(masks: list[np.ndarray], points: object) -> None:
        masks[0][:] = False

    monkeypatch.setattr("m2n2.scene.scene.keep_apart", to_the_second)
    rows = rows_of([("one", 30, 30, True), ("two", 66, 44, True)], Settings(objects="exclusive"))
    assert rows["one"]["error"]["reason"] == "empty_mask"
    assert "smaller objects" in rows["one"]["error"]["message"]
    assert rows["two"]["area"] > 0


def test_masks_are_encoded_as_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class Slow:
        def masks(self, prompts: Sequence[Prompt]) -> Iterator[Mask]:
            for number, _ in enumerate(prompts):
                happened.append(f"made {number}")
                yield Mask(np.ones((2, 2), np.bool_), 1.0, (), None)

    def encode(clicks: ObjectClicks, *about: object) -> Row:
        happened.append(f"encoded {clicks.object}")
        return {"object": clicks.object}

    monkeypatch.setattr("pipeline.worker.refinement.mask_row", encode)
    refinement, scene = Refinement(Size(2, 2)), Slow()
    for name in "01":
        refinement.add(ObjectClicks("a.png", name, "cat", [{"x": 0, "y": 0, "label": True}], None), None)
    any_scene: Any = scene
    refinement.scene = any_scene
    rows = refinement.rows()
    assert happened == ["made 0", "encoded 0", "made 1", "encoded 1"]
    assert rows[0]["seconds"] == rows[1]["seconds"] > 0
