"""Scenes made ready for clicks, ahead of whoever clicks: the model in a thread of its own, answers in two others.

An image is made ready once and kept, in as many bytes as are allowed. A question is answered twice: by a smaller copy
of the image at once, and exactly. Both lanes drop a question once a newer one about the same object is asked.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m2n2.kernels.bounded_cache import BoundedCache
from m2n2.prompt import Point, Prompt
from m2n2.settings import Settings
from pipeline.describe import describe
from pipeline.page.pictures import Cutout, cut_out, heat

if TYPE_CHECKING:
    from m2n2 import Scene
    from m2n2.backbones.protocol import Backbone

PREVIEW_PIXELS = 60_000  # 15 a cell of a 64 x 64 grid
CURVE_POINTS = 256
BEHIND = 5  # niceness of making scenes ready: whoever clicks on one that is ready comes first

log = logging.getLogger("m2n2.ui")


class NotReady(LookupError):
    """The image is not made ready (any more): `look_at` it."""


@dataclass(frozen=True)
class Answer:
    """A mask: its picture (None: no pixel), its score, the threshold of every click, whether it is exact."""

    cutout: Cutout | None
    score: float
    thresholds: tuple[float, ...]
    exact: bool


@dataclass(frozen=True)
class ReadyImage:
    """An image that can be clicked on: its scene, and that of its smaller copy."""

    scene: Scene
    small: Scene
    width: int
    height: int
    small_width: int
    small_height: int

    def on_small(self, point: Point) -> Point:
        """The point of the smaller copy that a point of the image lies on."""
        x = (point[0] + 0.5) * self.small_width / self.width - 0.5
        y = (point[1] + 0.5) * self.small_height / self.height - 0.5
        return min(max(x, 0), self.small_width - 1), min(max(y, 0), self.small_height - 1)

    def prompt_on_small(self, prompt: Prompt) -> Prompt:
        """The clicks and the box of a prompt on the smaller copy."""
        points, box = [self.on_small(point) for point in prompt.points], prompt.box
        if box is not None:
            across, down = self.small_width / self.width, self.small_height / self.height
            box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        return Prompt(points, prompt.labels, box)


class Scenes:
    """Scenes of the images that are looked at and of those that come next."""

    def __init__(
        self,
        load_model: Callable[[], Backbone],
        pixels: Callable[[str], np.ndarray],
        settings: Settings,
        limit_bytes: int,
    ) -> None:
        """Begin to load the model.

        Args:
            load_model: called once, in the model's thread.
            pixels: an image's, (H, W, 3) uint8, by its key.
            settings: of the masks.
            limit_bytes: for scenes that are kept.
        """
        self._pixels, self._settings = pixels, settings
        self._ready: BoundedCache[str, ReadyImage] = BoundedCache(limit_bytes)
        self._lanes = {exact: ThreadPoolExecutor(1, "m2n2-exact" if exact else "m2n2-preview") for exact in (0, 1)}
        self._asked: dict[tuple[str, str, bool], int] = {}
        self._changed = threading.Condition()
        self._wanted: list[str] = []
        self._waiting: dict[str, Future[ReadyImage]] = {}
        self._begun: set[str] = set()
        self._closed = False
        self.model: Future[Backbone] = Future()
        self._thread = threading.Thread(target=self._work, args=(load_model,), name="m2n2-model", daemon=True)
        self._thread.start()

    def look_at(self, image: str, ahead: Sequence[str] = ()) -> Future[ReadyImage]:
        """Make an image ready, then those that come next; whatever was wanted before and is not begun is dropped.

        The future has what went wrong with the image or the model; asking again tries again.
        """
        with self._changed:
            self._wanted = [image, *ahead]
            self._begun.clear()
            for other in [each for each in self._waiting if each not in self._wanted]:
                self._waiting.pop(other).cancel()
            known = self._ready.get(image)
            if known is not None:
                done: Future[ReadyImage] = Future()
                done.set_result(known)
                future = done
            else:
                future = self._waiting.setdefault(image, Future())
            self._changed.notify()
            return future

    def ask(self, image: str, name: str, prompt: Prompt, exact: bool) -> Future[Answer | None]:
        """The object's mask; None where a newer question about it was asked before this one's turn.

        Raises:
            NotReady: the image is not.
        """
        ready = self._known(image)
        key = (image, name, exact)
        number = self._asked[key] = self._asked.get(key, 0) + 1

        def answer() -> Answer | None:
            return self._answer(image, ready, prompt, exact) if self._asked[key] == number else None

        return self._lanes[exact].submit(answer)

    def markov_map(self, image: str, point: Point) -> bytes:
        """The Markov-map of a click as a PNG of the smaller copy, bright where it is near. Raises NotReady."""
        ready = self._known(image)
        return heat(ready.small.markov_maps([ready.on_small(point)])[0])

    def threshold_curve(self, image: str, point: Point) -> tuple[list[float], list[float]]:
        """Thresholds of a click and the score of each, on the smaller copy. Raises NotReady."""
        from m2n2.flood_fill import flood_fill
        from m2n2.threshold import scored_candidates

        ready = self._known(image)
        x, y = ready.on_small(point)
        map_hw = ready.small.markov_maps([(x, y)])[0]
        found = scored_candidates(flood_fill(map_hw, round(x), round(y)), self._settings)
        places = np.unique(np.linspace(0, max(0, len(found.lambdas) - 1), CURVE_POINTS).astype(int))
        if not len(found.lambdas):
            return [], []
        return found.lambdas[places].tolist(), found.edges[places].tolist()

    def close(self) -> None:
        """Stop; what is being made ready is not waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        for lane in self._lanes.values():
            lane.shutdown(wait=False, cancel_futures=True)

    def _known(self, image: str) -> ReadyImage:
        ready = self._ready.get(image)
        if ready is None:
            raise NotReady(f"image {image!r} is not ready")
        return ready

    def _answer(self, image: str, ready: ReadyImage, prompt: Prompt, exact: bool) -> Answer:
        scene, wanted = ready.scene, prompt
        if not exact:
            scene, wanted = ready.small, ready.prompt_on_small(prompt)
        mask = scene.segment([wanted])[0]
        self._ready.put(image, ready, _size_bytes(ready))
        return Answer(cut_out(mask.mask), mask.score, mask.thresholds, exact)

    def _work(self, load_model: Callable[[], Backbone]) -> None:
        try:
            from m2n2.warm_up import warm_up

            model = load_model()
            warm_up(self._settings)  # the first click does not wait for compilers
            self.model.set_result(model)
        except Exception as error:  # clicks are saved without masks; every image that is looked at says why
            log.error("no model, hence no masks: %s", describe(error))
            self.model.set_exception(error)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BEHIND)
        while (image := self._next()) is not None:
            self._make_ready(image)

    def _next(self) -> str | None:
        with self._changed:
            while not self._closed:
                for image in self._wanted:
                    # Each once: where they do not all fit, the last one would drive the first one out for ever.
                    if image not in self._begun and self._ready.get(image) is None:
                        self._begun.add(image)
                        return image
                self._changed.wait()
            return None

    def _make_ready(self, image: str) -> None:
        problem: BaseException | None = None
        try:
            ready = self._prepared(image)
            self._ready.put(image, ready, _size_bytes(ready))
        except Exception as error:  # of this image or of the model: whoever looks at it is told
            log.warning("%s: %s", image, describe(error))
            problem = error
        with self._changed:
            future = self._waiting.pop(image, None)
        if future is not None and future.set_running_or_notify_cancel():
            if problem is None:
                future.set_result(ready)
            else:
                future.set_exception(problem)

    def _prepared(self, image: str) -> ReadyImage:
        from m2n2 import Scene
        from m2n2.backbones.reading import read_image

        model = self.model.result()
        pixels = self._pixels(image)
        attention = read_image(model, pixels, self._settings)
        scene = Scene(pixels, attention, self._settings, overwrite_attention=True)
        small = scene.reduced(PREVIEW_PIXELS)
        return ReadyImage(scene, small, pixels.shape[1], pixels.shape[0], small.size[0], small.size[1])


def _size_bytes(ready: ReadyImage) -> int:
    return ready.scene.size_bytes + ready.small.size_bytes
