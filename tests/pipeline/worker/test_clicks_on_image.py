"""Clicks against the image: the edge is generous by a pixel, and what was made on another image is suspected."""

from __future__ import annotations

import pytest

from pipeline.clicks import ObjectClicks
from pipeline.parts import Size
from pipeline.worker.clicks_on_image import doubts_about, placed_on

SIZE = Size(width=96, height=72)


def clicks_at(*points: tuple[float, float]) -> ObjectClicks:
    clicks = [{"x": x, "y": y, "label": True, "file": 0, "row": row} for row, (x, y) in enumerate(points)]
    return ObjectClicks("a.jpg", "1", "cat", clicks, None)


@pytest.mark.parametrize(
    ("clicked", "pixel"),
    [
        ((96.0, 30.0), (95.0, 30.0)),
        ((96.4, 72.9), (95.0, 71.0)),
        ((97.0, 73.0), (95.0, 71.0)),
        ((-1.0, -0.6), (0.0, 0.0)),
        ((95.4, -0.4), (95.4, -0.4)),  # rounds to a pixel of the image, as ever
        ((10.25, 20.75), (10.25, 20.75)),
    ],
)
def test_up_to_one_pixel_beyond_is_the_edge(clicked: tuple[float, float], pixel: tuple[float, float]) -> None:
    placed = placed_on(clicks_at(clicked), SIZE, ["c.parquet"])
    assert placed.failure is None
    assert [(click["x"], click["y"]) for click in placed.clicks] == [pixel]


@pytest.mark.parametrize("point", [(97.1, 3.0), (-1.1, 3.0), (3.0, 73.5), (3.0, -2.0), (1e300, 0.0)])
def test_farther_out_the_object_fails_by_name(point: tuple[float, float]) -> None:
    failure = placed_on(clicks_at((5.0, 5.0), point), SIZE, ["c.parquet"]).failure
    assert failure is not None
    assert failure.reason == "click_outside"
    found = f"c.parquet, row 1: columns x, y: found ({point[0]:g}, {point[1]:g}) in image 'a.jpg'"
    assert failure.message.startswith(f"{found}; allowed: 0..95, 0..71")


def test_a_click_outside_says_what_may_have_happened() -> None:
    swapped = placed_on(clicks_at((20.0, 80.0), (30.0, 40.0)), SIZE, ["c.parquet"]).failure
    turned = placed_on(clicks_at((20.0, 80.0)), SIZE, ["c.parquet"], exif_orientation=6).failure
    neither = placed_on(clicks_at((20.0, 200.0)), SIZE, ["c.parquet"], exif_orientation=6).failure
    assert swapped is not None
    assert swapped.message.endswith("; with x and y swapped all clicks would lie on it")
    assert turned is not None
    assert turned.message.endswith(
        "turned by its EXIF orientation 6 it would have all clicks: `orientation: displayed`?"
    )
    assert neither is not None
    assert neither.message.endswith("allowed: 0..95, 0..71")


@pytest.mark.parametrize(
    ("points", "orientation", "doubtful"),
    [
        ([(60.0, 60.0)], 1, False),
        ([(60.0, 60.0)], 3, True),
        ([(60.0, 60.0)], 6, True),
        ([(80.0, 60.0)], 6, False),  # there is no such pixel on the turned image: it was made on the stored one
        ([(60.0, 80.0)], 6, True),  # only on the turned one
        ([(80.0, 60.0)], 3, True),
    ],
)
def test_a_turned_photo_is_doubted_unless_a_click_settles_it(
    points: list[tuple[float, float]], orientation: int, doubtful: bool
) -> None:
    assert ("exif_orientation" in doubts_about([clicks_at(*points)], SIZE, orientation)) == doubtful


def test_clicks_in_the_upper_left_quarter_are_counted() -> None:
    corner, elsewhere = clicks_at((10.0, 10.0), (47.0, 35.0)), clicks_at((10.0, 40.0))
    assert doubts_about([corner], SIZE, 1) == {"upper_left_quarter"}
    assert doubts_about([corner, elsewhere], SIZE, 1) == set()
