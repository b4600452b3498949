"""Scenes made ready ahead: the newest question wins, memory is bounded, one bad image stops nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from m2n2 import Prompt, Settings
from m2n2.backbones import load_backbone
from pipeline.page.scenes import NotReady, Scenes

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


class Photos:
    """Counts what is fetched; `bad` has no pixels."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.came = {name: threading.Event() for name in "abcd"}

    def __call__(self, name: str) -> np.ndarray:
        self.fetched.append(name)
        self.came.get(name, threading.Event()).set()
        if name == "bad":
            raise ValueError("bad: not an image")
        return IMAGE


def make(photos: Photos, limit_bytes: int = 1 << 28, model: Any = None) -> Scenes:
    return Scenes(model or (lambda: load_backbone("colour", grid=8)), photos, Settings(), limit_bytes)


@pytest.fixture(scope="module")
def scenes() -> Iterator[Scenes]:
    scenes = make(Photos())
    yield scenes
    scenes.close()


def test_the_image_that_is_looked_at_comes_first_then_the_next_ones() -> None:
    photos = Photos()
    scenes = make(photos)
    scenes.look_at("a", ["b", "bad", "c"]).result(60)
    assert photos.came["c"].wait(60)
    assert photos.fetched == ["a", "b", "bad", "c"]
    scenes.look_at("a").result(60)
    scenes.look_at("c").result(60)
    assert photos.fetched == ["a", "b", "bad", "c"]
    scenes.close()


def test_a_newer_question_takes_the_place_of_an_older_one(scenes: Scenes) -> None:
    scenes.look_at("a").result(60)
    gate = threading.Event()
    occupied = scenes.ask("a", "other", Prompt([(1, 1)]), exact=True)
    occupied.add_done_callback(lambda _: gate.wait(30))  # holds the lane's thread
    first, second = (scenes.ask("a", "1", Prompt([(x, 30)]), exact=True) for x in (20, 40))
    another = scenes.ask("a", "2", Prompt([(5, 5)]), exact=True)
    gate.set()
    assert first.result(60) is None
    assert second.result(60) is not None
    assert another.result(60) is not None


def test_previews_are_of_the_same_object_on_a_smaller_copy(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.page.scenes.PREVIEW_PIXELS", 1200)
    ready = scenes.look_at("small").result(60)
    assert (ready.small_width, ready.small_height) == (40, 30)
    assert ready.on_small((79, 59)) == (39, 29)
    preview = scenes.ask("small", "1", Prompt([(40, 30)]), exact=False).result(60)
    assert preview is not None
    assert preview.cutout is not None
    assert (preview.cutout.width, preview.cutout.height, preview.exact) == (40, 30, False)


def test_what_does_not_fit_is_forgotten_and_not_made_again_and_again() -> None:
    photos = Photos()
    scenes = make(photos, limit_bytes=1)
    scenes.look_at("a", ["b", "c"]).result(60)
    scenes.look_at("d").result(60)
    assert len(photos.fetched) <= 4
    with pytest.raises(NotReady, match="'a' is not ready"):
        scenes.ask("a", "1", Prompt([(1, 1)]), exact=True)
    scenes.close()


def test_an_image_that_fails_says_why_each_time_and_the_next_one_works(scenes: Scenes) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="bad: not an image"):
            scenes.look_at("bad").result(60)
    scenes.look_at("good").result(60)


def test_without_a_model_every_image_says_why() -> None:
    def no_model() -> Any:
        raise ValueError("weights 'x': neither here nor there")

    scenes = make(Photos(), model=no_model)
    with pytest.raises(ValueError, match="neither here nor there"):
        scenes.look_at("a").result(60)
    scenes.close()
