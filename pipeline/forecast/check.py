"""All that `m2n2 label` would refuse or fail about clicks, found in one pass over them, before a GPU is rented."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline.clicks import ObjectClicks
from pipeline.config import Limits
from pipeline.containers.source import ImageSource
from pipeline.failure import BadImage, Failure
from pipeline.image_key import outside_root
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.parts import Size
from pipeline.storage.store import Store
from pipeline.worker.clicks_on_image import placed_on
from pipeline.worker.image_size import read_size

AT_ONCE = 8
AHEAD = 64  # images that are looked at before their clicks are
EXAMPLES = 3
NEAR_PIXELS = 3.0

Image = tuple[str, Sequence[ObjectClicks]]


@dataclass
class Checked:
    """What is wrong with clicks, and what they are.

    Attributes:
        clicks_an_object: how many objects have how many clicks.
        categories: objects of each.
        with_box: objects that have a box.
        failed: objects that would fail, by reason.
        near: pairs of objects of one image whose first clicks on the object lie within `NEAR_PIXELS` of one another.
        examples: some messages for each reason, and of pairs that are near.
        images_looked_at: how many images were looked at; 0 where nobody said where they are.
        unknown: objects of each category that is none of those that were given; a run would be refused.
    """

    images: int = 0
    objects: int = 0
    clicks_an_object: Counter[int] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    with_box: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    near: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)
    images_looked_at: int = 0
    unknown: dict[str, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether a run would refuse nothing and no object would fail."""
        return not self.failed and not self.unknown

    def add(self, each: ObjectClicks, failure: Failure | None) -> None:
        """Count an object."""
        self.objects += 1
        self.clicks_an_object[len(each.clicks)] += 1
        self.categories[each.category] += 1
        self.with_box += each.box is not None
        if failure is not None:
            self.failed[failure.reason] += 1
            self.note(failure.reason, failure.message)

    def note(self, reason: str, message: str) -> None:
        """Keep a message, if it is among the first of its reason."""
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(message)


def check_clicks(
    patterns: Sequence[str], store: Store, images: ImageSource | None, categories: Sequence[str] = ()
) -> Checked:
    """Read all clicks, and the first bytes of every image where `images` is given.

    Args:
        categories: those that clicks may have; all where there are none.

    Raises:
        InvalidClicks: no run could read the click files.
        StoreUnavailable: storage does not answer.
    """
    files = find_click_files(patterns, store)
    names = [file.key for file in files]
    checked = Checked()
    with (
        ClickTable(files, store, [images.root] if images else [""]) as table,
        ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as threads,
    ):
        for (_, objects), look in _with_looks(table.by_image(), images, threads):
            checked.images += 1
            checked.images_looked_at += look is not None
            for each in objects:
                checked.add(each, each.failure or _problem(each, look, names))
            for one, other in _near([each for each in objects if each.failure is None]):
                checked.near += 1
                checked.note("near", f"image {one.image!r}: objects {one.object!r} and {other.object!r}")
    if categories:
        checked.unknown = {name: number for name, number in checked.categories.items() if name not in categories}
    return checked


def _with_looks(
    images: Iterator[Image], root: ImageSource | None, threads: ThreadPoolExecutor
) -> Iterator[tuple[Image, Size | Failure | None]]:
    """Every image with its size or why it cannot be used, some looked at ahead; None where nobody looks."""
    waiting: deque[tuple[Image, Future[Size | Failure | None]]] = deque()
    for image in images:
        waiting.append((image, threads.submit(_look, root, image[0])))
        if len(waiting) > AHEAD:
            ahead, future = waiting.popleft()
            yield ahead, future.result()
    for image, future in waiting:
        yield image, future.result()


def _look(root: ImageSource | None, key: str) -> Size | Failure | None:
    if root is None:
        return None
    if problem := outside_root(key):
        return Failure("image_outside_root", f"image {key!r}: {problem}; allowed: keys below {root.root}")
    try:
        return read_size(root, key, Limits())
    except BadImage as error:
        return error.failure


def _problem(each: ObjectClicks, look: Size | Failure | None, files: Sequence[str]) -> Failure | None:
    return placed_on(each, look, files).failure if isinstance(look, Size) else look


def _near(objects: Sequence[ObjectClicks]) -> Iterator[tuple[ObjectClicks, ObjectClicks]]:
    """Pairs of objects whose first clicks on the object are near one another, each pair once."""
    cells: dict[tuple[int, int], list[tuple[float, float, ObjectClicks]]] = {}
    for each in objects:
        x, y = next((click["x"], click["y"]) for click in each.clicks if click["label"])
        column, row = int(x // NEAR_PIXELS), int(y // NEAR_PIXELS)
        for place in ((column + across, row + down) for across in (-1, 0, 1) for down in (-1, 0, 1)):
            for other_x, other_y, other in cells.get(place, []):
                if (x - other_x) ** 2 + (y - other_y) ** 2 <= NEAR_PIXELS**2:
                    yield other, each
        cells.setdefault((column, row), []).append((x, y, each))
