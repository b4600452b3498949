"""The images below a root, listed while people already look at the first ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread

from pipeline.describe import describe
from pipeline.image_key import normal_key, outside_root
from pipeline.storage.names import names_below
from pipeline.storage.store import Store

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif")

log = logging.getLogger("m2n2.ui")


@dataclass(frozen=True)
class ImagePage:
    """Some of the images that were asked for.

    Attributes:
        names: keys below the root.
        start: place of the first one among all that fit.
        total: how many fit, of those listed so far.
        listed: images listed so far.
        complete: whether that is all there are.
        problem: why the listing stopped; None where nothing is wrong.
    """

    names: Sequence[str]
    start: int
    total: int
    listed: int
    complete: bool
    problem: str | None


class ImageList:
    """Lists a root in a thread of its own; what is there so far can be asked for at any time."""

    def __init__(self, images: Store) -> None:
        self._images = images
        self.retry()

    def retry(self) -> None:
        """List from the beginning."""
        self._names: list[str] = []
        self._problem: str | None = None
        self._complete = Event()
        Thread(target=self._list, args=(self._names, self._complete), name="m2n2-images", daemon=True).start()

    def page(self, start: int, limit: int, search: str = "", wanted: Callable[[str], bool] | None = None) -> ImagePage:
        """At most `limit` images from the `start`-th on, of those with `search` in their name that are wanted."""
        complete, names = self._complete.is_set(), self._names
        listed = len(names)
        text = search.casefold()
        fitting: Sequence[str] = (
            names
            if listed and not (text or wanted)
            else [name for name in names[:listed] if text in name.casefold() and (wanted is None or wanted(name))]
        )
        total = min(listed, len(fitting)) if fitting is names else len(fitting)
        return ImagePage(fitting[start : start + limit], start, total, listed, complete, self._problem)

    def wait(self, timeout_s: float) -> bool:
        """Wait until all is listed; False where it takes longer."""
        return self._complete.wait(timeout_s)

    def _list(self, names: list[str], complete: Event) -> None:
        try:
            for some in names_below(self._images):
                names += [name for name in some if self._is_image(name)]
        except Exception as error:  # whatever it is belongs on the page, where somebody can try again
            log.warning("%s: %s", self._images.root, describe(error))
            self._problem = describe(error)
        complete.set()

    def _is_image(self, name: str) -> bool:
        if not name.lower().endswith(SUFFIXES):
            return False
        try:
            name.encode()
        except UnicodeEncodeError:
            return False
        return normal_key(name, self._images.root) == name and outside_root(name) is None
