"""Everything that one page of `m2n2 ui` works on, put together; knows nothing of HTTP."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from m2n2.prompt import Prompt
from pipeline.clicks import Box
from pipeline.config import Job
from pipeline.describe import describe
from pipeline.inputs.categories import read_categories
from pipeline.page.click_book import ClickBook
from pipeline.page.image_list import ImageList, ImagePage
from pipeline.page.pictures import Pictures
from pipeline.page.review_desk import ReviewDesk
from pipeline.page.scenes import Answer, Scenes
from pipeline.storage.store import Store
from pipeline.worker.model import load_model

DOUBTFUL_SCORE = 0.5
SCENES_BYTES = 2_000_000_000
QUIET_S = 1.0  # after the last change, until files are written
SEND_EVERY_S = 10.0

log = logging.getLogger("m2n2.ui")


class Page:
    """Images, clicks, scenes and, where there is a run or library, its review; use as a context manager."""

    def __init__(self, job: Job, clicks: Path, output: Store | None) -> None:
        """Open the clicks; the model, the list of images and the review queue get ready in threads of their own.

        Raises:
            LogInUse: another page has the clicks open.
            InvalidClicks, DamagedLog: they cannot be read.
            InvalidJob: the file of categories cannot be.
        """
        self._given = [each.name for each in read_categories(job)]
        self.takes_others = not self._given or job.unknown_categories == "add"
        self.book = ClickBook(clicks, job.images_roots)
        self.images = ImageList(job.image_store)
        self.pictures = Pictures(job)
        self.scenes = Scenes(lambda: load_model(job), self.pictures.pixels, job.settings, SCENES_BYTES)
        self.review: Future[ReviewDesk] | None = None if output is None else Future()
        self.problem: str | None = None
        self._low: dict[str, set[str]] = {}
        self._changed_s = self._sent_s = time.monotonic()
        self._closing = threading.Event()
        if output is not None:
            log_path = clicks.parent / f".{clicks.name}.decisions.log"
            _in_thread("m2n2-review", lambda: self._open_review(output, log_path))
        self._saver = _in_thread("m2n2-saver", self._save_now_and_then)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._saver.join()
        self.scenes.close()
        try:
            self.book.close()
        finally:
            if desk := self.desk:
                desk.close()

    @property
    def desk(self) -> ReviewDesk | None:
        """The review, once its queue is sorted; None before, and where there is nothing to review."""
        ready = self.review is not None and self.review.done() and self.review.exception() is None
        return self.review.result() if ready and self.review is not None else None

    @property
    def categories(self) -> list[str]:
        """Those that the job gives, in their order, then what else was clicked."""
        return list(dict.fromkeys([*self._given, *self.book.categories]))

    def list_images(self, start: int, limit: int, search: str, show: str) -> ImagePage:
        """Images by name and by what they are: all, without, clicked, doubtful, done."""
        wanted: Callable[[str], bool] | None = None
        if show in ("without", "clicked"):
            clicked = self.book.clicked()
            wanted = clicked.__contains__ if show == "clicked" else lambda image: image not in clicked
        elif show == "doubtful":
            wanted = self.is_doubtful
        elif show == "done":
            wanted = self.book.is_done
        return self.images.page(start, limit, search, wanted)

    def is_doubtful(self, image: str) -> bool:
        """Whether a mask that was made here has a low score, or the review has a reason to look."""
        return bool(self._low.get(image)) or (self.desk is not None and image in self.desk.doubtful)

    def change(self, image: str, objects: dict[str, Any]) -> None:
        """As `ClickBook.change`; the file follows once it is quiet."""
        self.book.change(image, objects)
        for name, each in objects.items():
            if not each["clicks"]:
                self._low.get(image, set()).discard(name)
        self._changed_s = time.monotonic()

    def ask(
        self, image: str, name: str, clicks: Sequence[Sequence[float]], exact: bool, box: Box | None = None
    ) -> Future[Answer | None]:
        """As `Scenes.ask`; remembers which masks are doubtful. Raises NotReady, InvalidPrompt."""
        prompt = Prompt([(x, y) for x, y, _ in clicks], [bool(label) for *_, label in clicks], box)
        future = self.scenes.ask(image, name, prompt, exact)
        if exact:
            future.add_done_callback(lambda done: self._judge(image, name, done))
        return future

    def retry(self) -> None:
        """Try again what failed: listing the images, writing the files."""
        self.images.retry()
        self._changed_s = 0.0

    def _judge(self, image: str, name: str, done: Future[Answer | None]) -> None:
        answer = None if done.cancelled() or done.exception() else done.result()
        if answer is not None:
            low = self._low.setdefault(image, set())
            (low.add if answer.score < DOUBTFUL_SCORE else low.discard)(name)

    def _open_review(self, output: Store, log_path: Path) -> None:
        assert self.review is not None, "called where there is one"
        try:
            self.review.set_result(ReviewDesk(output, log_path))
        except Exception as error:  # clicking goes on; the page says why there is no review
            log.error("no review: %s", describe(error))
            self.review.set_exception(error)

    def _save_now_and_then(self) -> None:
        took_s = 0.0
        while not self._closing.wait(QUIET_S / 2):
            now = time.monotonic()
            try:
                # A file that takes long to write is written less often.
                if self.book.unsaved and now - self._changed_s > max(QUIET_S, 10 * took_s):
                    self.book.save()
                    took_s = time.monotonic() - now
                if (desk := self.desk) and now - self._sent_s > SEND_EVERY_S:
                    self._sent_s = now
                    desk.send()
                self.problem = None
            except Exception as error:  # nothing is lost, it is in the logs; people are told, and it is tried again
                if self.problem is None:
                    log.warning("not written yet: %s", describe(error))
                self.problem = describe(error)
                self._closing.wait(QUIET_S)


def _in_thread(name: str, work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread
