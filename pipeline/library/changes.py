"""What a night has to do: clicks and images as they are now, against the library's index.

All three come sorted by image and are merged as they are read, so memory does not grow with the library.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clicks import ObjectClicks
from pipeline.containers.source import ImageSource, etags_of
from pipeline.image_key import normal_key, outside_root
from pipeline.library.index import Known, open_database
from pipeline.shards.shard_file import ImageClicks

Kind = Literal["new", "changed", "retried", "restored", "removed", "unchanged", "given_up"]
LEFT_ALONE: tuple[Kind, ...] = ("unchanged", "given_up")
TRIES = 3  # nights in a row on which an object is tried that fails in a way that may pass
CHANGES = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("kind", pa.string()),
        ("digest", pa.binary()),
        ("settings", pa.string()),
        ("old_part", pa.string()),
        ("old_reason", pa.string()),
        ("category", pa.string()),
        ("old_digest", pa.binary()),
        ("old_settings", pa.string()),
        ("tried", pa.binary()),  # what is tried tonight, see INDEX
        ("tries", pa.int32()),  # tonight included
    ]
)
ETAGS = pa.schema([("image", pa.string()), ("etag", pa.string())])
ROWS_A_BATCH = 20_000

Value = TypeVar("Value")

log = logging.getLogger("m2n2.nightly")


def write_etags(images: ImageSource, path: Path) -> None:
    """List the images once and write every image's ETag to a Parquet file at `path`, sorted by image.

    What no click can name is left out: names that are not UTF-8, and keys that are not in normal form.
    """
    sorted_so_far, before = True, ""
    with pq.ParquetWriter(path, ETAGS) as writer:
        rows: list[dict[str, str]] = []
        for key, etag in etags_of(images):
            if not _can_be_clicked(key, images.root):
                log.debug("left out of the listing of images: %r", key)
                continue
            sorted_so_far, before = sorted_so_far and before < key, key
            rows.append({"image": key, "etag": etag})
            if len(rows) == ROWS_A_BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=ETAGS))
                rows.clear()
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=ETAGS))
    if not sorted_so_far:
        _sort_by_image(path)


def _sort_by_image(path: Path) -> None:
    """Out of core, for storage that lists in another order, see `Store.listing`."""
    unsorted = path.rename(path.with_suffix(".unsorted"))
    with open_database(path.with_suffix(".duckdb")) as database:
        database.read_parquet(str(unsorted)).order("image").write_parquet(str(path))
    unsorted.unlink()


def _can_be_clicked(key: str, root: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return normal_key(key, root) == key and outside_root(key) is None


def read_etags(path: Path) -> Iterator[tuple[str, str]]:
    """What `write_etags` wrote."""
    for batch in pq.ParquetFile(path).iter_batches():
        yield from zip(batch["image"].to_pylist(), batch["etag"].to_pylist(), strict=True)


class Changes:
    """Finds what changed and writes a row about each change to a Parquet file; use as a context manager.

    Attributes:
        counts: objects by what became of them.
        images_gone: objects that have a mask and whose image is not there any more: labelled, they would lose it.
    """

    def __init__(
        self, path: Path, settings: str, relabel: Literal["changed-inputs", "changed-settings"], retry: bool = False
    ) -> None:
        """Write to `path`.

        Args:
            settings: tonight's fingerprint of backbone, weights and settings.
            retry: also try what has failed on TRIES nights.
        """
        self._settings, self._relabel, self._retry = settings, relabel, retry
        self._writer = pq.ParquetWriter(path, CHANGES, compression="zstd")
        self._rows: list[dict[str, object]] = []
        self.counts: Counter[Kind] = Counter()
        self.images_gone = 0

    def __enter__(self) -> Changes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Complete the file."""
        if self._writer.is_open:
            self._flush()
            self._writer.add_key_value_metadata({kind: str(self.counts[kind]) for kind in LEFT_ALONE})
            self._writer.close()

    @property
    def nothing_new(self) -> bool:
        """Whether everything that was compared so far is left alone."""
        return set(self.counts) <= set(LEFT_ALONE)

    def to_label(
        self,
        clicks: Iterable[ImageClicks],
        etags: Iterable[tuple[str, str]],
        known: Iterable[tuple[str, Mapping[str, Known]]],
    ) -> Iterator[ImageClicks]:
        """The images with objects to label, and of those only these objects; everything sorted by image."""
        tags, library = _Sorted(etags), _Sorted(known)
        for image in clicks:
            for gone, objects in library.before(image.image):
                self._removed(gone, objects)
            objects = dict(library.take(image.image) or {})
            etag = tags.take(image.image)
            wanted = tuple(
                each for each in image.objects if self._is_wanted(each, etag, objects.pop(each.object, None))
            )
            self._removed(image.image, objects)
            if wanted:
                yield ImageClicks(image.image, wanted)
        for gone, objects in library.before(None):
            self._removed(gone, objects)

    def _is_wanted(self, clicks: ObjectClicks, etag: str | None, known: Known | None) -> bool:
        digest = digest_of(clicks, etag)
        tonight: dict[str, Any] = {"category": clicks.category, "digest": digest, "settings": self._settings}
        tonight |= {"tried": hashlib.sha256(digest + self._settings.encode()).digest(), "tries": 1}
        if known is None:
            self._record("new", clicks.image, clicks.object, None, **tonight)
            return True
        if known.digest == digest and (self._relabel == "changed-inputs" or known.settings == self._settings):
            if known.removed:
                # What it was labelled from is back as it was: the mask that it had is right.
                old = {"digest": known.digest, "settings": known.settings, "category": clicks.category}
                self._record("restored", clicks.image, clicks.object, known, **old)
            else:
                self.counts["unchanged"] += 1
            return False
        kind: Kind = "changed" if known.digest else "new"
        if known.tried == tonight["tried"] and known.tries:
            if known.tries >= TRIES and not self._retry:
                self.counts["given_up"] += 1
                return False
            kind, tonight["tries"] = "retried", known.tries + 1
        elif etag is None and known.digest and known.reason is None and not known.removed:
            self.images_gone += 1
        self._record(kind, clicks.image, clicks.object, known, **tonight)
        return True

    def _removed(self, image: str, objects: Mapping[str, Known]) -> None:
        for name, known in objects.items():
            if not known.removed:
                old = {"digest": known.digest, "settings": known.settings, "category": known.category}
                self._record("removed", image, name, known, **old)

    def _record(self, kind: Kind, image: str, name: str, known: Known | None, **columns: Any) -> None:
        self.counts[kind] += 1
        row: dict[str, object] = {"image": image, "object": name, "kind": kind} | columns
        if known is not None:
            row |= {"old_part": known.part, "old_reason": known.reason}
            row |= {"old_digest": known.digest, "old_settings": known.settings}
        self._rows.append(row)
        if len(self._rows) == ROWS_A_BATCH:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=CHANGES))
        self._rows.clear()


def digest_of(clicks: ObjectClicks, etag: str | None) -> bytes:
    """sha256 of what decides an object's mask besides the settings; `etag` is None for an image that is not there."""
    values: list[Any] = [clicks.category, etag, [[click["x"], click["y"], click["label"]] for click in clicks.clicks]]
    values += [] if clicks.box is None else [list(clicks.box)]
    return hashlib.sha256(json.dumps(values).encode()).digest()


class _Sorted(Generic[Value]):
    """A stream of (image, value), sorted by image, that is read up to where somebody asks."""

    def __init__(self, items: Iterable[tuple[str, Value]]) -> None:
        self._items = iter(items)
        self._next = next(self._items, None)

    def before(self, image: str | None) -> Iterator[tuple[str, Value]]:
        """The items before an image; None: all that are left."""
        while self._next is not None and (image is None or self._next[0] < image):
            yield self._step()

    def take(self, image: str) -> Value | None:
        """The image's value; whatever stood before it is skipped."""
        for _ in self.before(image):
            pass
        if self._next is None or self._next[0] != image:
            return None
        return self._step()[1]

    def _step(self) -> tuple[str, Value]:
        assert self._next is not None, "only called where there is one"
        item, self._next = self._next, next(self._items, None)
        if self._next is not None and self._next[0] <= item[0]:
            raise ValueError(f"images are not sorted: {self._next[0]!r} comes after {item[0]!r}")
        return item
