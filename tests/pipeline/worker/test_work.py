"""How long an image may take follows its objects and pixels, so that a dense one is not taken for a hanging one."""

from __future__ import annotations

import pytest

from pipeline.tasks import Task
from pipeline.worker.work import WorkUnderWay, image_size


@pytest.mark.parametrize(
    ("objects", "pixels", "size"),
    [(1, 100, 1), (30, 4_000_000, 1), (300, 1_000_000, 10), (1, 12_000_000, 3), (120, 12_000_000, 12)],
)
def test_an_image_counts_as_many_ordinary_ones_by_its_objects_and_pixels(objects: int, pixels: int, size: int) -> None:
    assert image_size(objects, pixels) == pytest.approx(size)


def test_the_image_that_is_nearest_to_its_limit_is_told_not_the_one_that_took_longest() -> None:
    now_s = 0.0
    work = WorkUnderWay(clock=lambda: now_s)
    assert work.longest() == (None, 0.0, 1.0)
    with work.image_of(Task(0), size=10.0):
        now_s = 100.0
        assert work.longest() == (Task(0), 100.0, 10.0)
        with work.image_of(Task(1)):
            now_s = 150.0
            assert work.longest() == (Task(1), 50.0, 1.0)
        assert work.longest() == (Task(0), 150.0, 10.0)


def test_an_image_is_over_its_time_by_its_size() -> None:
    now_s = 0.0
    work = WorkUnderWay(clock=lambda: now_s)
    assert not work.is_over_time(60)
    with work.image_of(Task(0), size=10.0):
        now_s = 600.0
        assert not work.is_over_time(60)
        now_s = 601.0
        assert work.is_over_time(60)
    assert not work.is_over_time(60)
