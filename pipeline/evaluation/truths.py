"""Data sets with ground truth, as they lie in a folder or bucket. Nothing is downloaded.

A COCO document (`instances.json`, or the address of a .json whose images lie in `images/` beside it), SBD
(`img/NAME.jpg`, `inst/NAME.mat` and `val.txt` or all of them), or a folder of images and one of masks: `NAME.*` for an
image's only object, `NAME#1.*`, `NAME#2.*` for several, as in Berkeley. The two folders are `images` and `masks`, or
`img` and `gt` (DAVIS, COCO_MVal as RITM hands them out), or `data_GT` and `boundary_GT` (GrabCut). In a mask every
pixel above 0 is the object.

Where a SHA256SUMS lies beside the folders, every file that is read must have the sum it says; else a known set's files
must have the sums of the list that comes with the code, where there is one (pipeline/evaluation/checksums.py).
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from pipeline.evaluation.checksums import SUMS, sums_beside, sums_of_known_set
from pipeline.storage.store import Store

log = logging.getLogger("m2n2.evaluation")

FOLDERS = (("images", "masks"), ("img", "gt"), ("data_GT", "boundary_GT"))
COCO_DOCUMENT, SBD_LIST = "instances.json", "val.txt"
KNOWN_SETS = {"grabcut": 50, "berkeley": 100, "davis": 345, "sbd": 6671, "coco_mval": 800}


class InvalidTruth(ValueError):
    """Data that nothing can be measured on: the message names the file, what was found and what is allowed."""


@dataclass(frozen=True)
class Truth:
    """Where one object's mask is.

    Attributes:
        name: of the object, unique in its image.
        source: key of the mask's file, or a COCO segmentation.
        instance: number of the object in a file of several (SBD).
    """

    name: str
    source: str | Mapping[str, Any] | Sequence[Any]
    instance: int | None = None


@dataclass(frozen=True)
class TruthImage:
    """One image of a data set: its key below the data and its objects."""

    key: str
    objects: tuple[Truth, ...]


@dataclass(frozen=True)
class TruthData:
    """A data set.

    Attributes:
        store: where it is.
        images: sorted by key.
        sums: the sha256 that its files must have, by key; empty where none are known.
        sums_source: the list that says so.
    """

    store: Store
    images: tuple[TruthImage, ...]
    sums: Mapping[str, str] = field(default_factory=dict)
    sums_source: str = ""

    @property
    def keys(self) -> list[str]:
        """Keys of all files that are read, images and masks, sorted."""
        sources = [each.source for image in self.images for each in image.objects]
        return sorted({image.key for image in self.images} | {each for each in sources if isinstance(each, str)})

    @property
    def objects(self) -> int:
        """Objects of all images."""
        return sum(len(image.objects) for image in self.images)

    def read(self, key: str) -> bytes:
        """A file's bytes. Raises InvalidTruth where it is missing or another one than the list of sums says."""
        try:
            data = self.store.read(key)
        except FileNotFoundError:
            raise InvalidTruth(f"{self.store.url(key)}: there is no such file") from None
        found = hashlib.sha256(data).hexdigest()
        if self.sums and self.sums.get(key) != found:
            wanted = self.sums.get(key, "nothing")
            raise InvalidTruth(f"{self.store.url(key)}: sha256 is {found}, {self.sums_source} has {wanted}")
        return data

    def mask(self, image: TruthImage, truth: Truth, size: tuple[int, int]) -> np.ndarray:
        """An object's mask: (H, W) bool of the image's size. Raises InvalidTruth."""
        where = f"{self.store.url(image.key)}, object {truth.name!r}"
        if not isinstance(truth.source, str):
            mask_HW = _decoded(truth.source, size)
        else:
            where = self.store.url(truth.source)
            data = self.read(truth.source)
            mask_HW = _mask_of_file(data, where) if truth.instance is None else _instances(data) == truth.instance
        if mask_HW.shape != size:
            found, allowed = (f"{shape[1]}x{shape[0]}" for shape in (mask_HW.shape, size))
            raise InvalidTruth(f"{where}: the mask has {found} pixels, its image {allowed}")
        if not mask_HW.any():
            raise InvalidTruth(f"{where}: the mask has no pixel above 0")
        return mask_HW


def find_truths(store: Store, known_set: str | None = None, limit: int | None = None) -> TruthData:
    """The data set below a root.

    Args:
        store: the root, or a store whose root is the address of a COCO document.
        known_set: a name of `KNOWN_SETS`; the data must then have as many objects as the set has.
        limit: take the first images only, in order of their keys.

    Raises:
        InvalidTruth: no layout is recognised, an image or mask has no partner, or the set has another size.
    """
    if store.root.endswith(".json"):
        root, _, name = store.root.rpartition("/")
        store = Store(root or ".", store.storage)
        found = _coco(store, name)
    else:
        found = _found_by_layout(store)
    images = tuple(sorted(found, key=lambda image: image.key))
    data = TruthData(store, images)
    if known_set is not None and data.objects != KNOWN_SETS[known_set]:
        raise InvalidTruth(f"{store.url('')}: found {data.objects} objects, {known_set} has {KNOWN_SETS[known_set]}")
    if not images:
        raise InvalidTruth(f"{store.url('')}: there are no images")
    return replace(_with_sums(data, known_set), images=images[:limit])


def _with_sums(data: TruthData, known_set: str | None) -> TruthData:
    """The data with the sums their files must have: of the list beside them, else of the known set's own list.

    A copy whose files have other names, such as another format of the same masks, is not what that list is of: that
    is said, and only the objects are counted.
    """
    if beside := sums_beside(data.store):
        return replace(data, sums=beside, sums_source=data.store.url(SUMS))
    known = sums_of_known_set(known_set) if known_set else {}
    if known and set(data.keys) <= known.keys():
        return replace(data, sums=known, sums_source=f"the list of {known_set}")
    if known:
        other = len(set(data.keys) - known.keys())
        log.warning(
            "%s: %d of %d files are not in the list of %s, of a copy in images/ and masks/: no file is checked; "
            "--write-checksums makes a list of this copy",
            data.store.url(""),
            other,
            len(data.keys),
            known_set,
        )
    return data


def _found_by_layout(store: Store) -> Iterator[TruthImage]:
    if store.exists(COCO_DOCUMENT):
        return _coco(store, COCO_DOCUMENT)
    for images, masks in FOLDERS:
        image_keys, mask_keys = (sorted(entry.key for entry in store.listing(f"{each}/")) for each in (images, masks))
        if image_keys and mask_keys:
            return _folders(store, image_keys, mask_keys)
    if next(iter(store.listing("inst/")), None) is not None:
        return _sbd(store)
    pairs = ", ".join(f"{images}/ and {masks}/" for images, masks in FOLDERS)
    raise InvalidTruth(f"{store.url('')}: no data set is here; allowed: {pairs}, {COCO_DOCUMENT}, img/ and inst/ (SBD)")


def _folders(store: Store, image_keys: Sequence[str], mask_keys: Sequence[str]) -> Iterator[TruthImage]:
    masks: dict[str, list[str]] = {}
    for key in sorted(mask_keys):
        masks.setdefault(PurePosixPath(key).stem.rpartition("#")[0] or PurePosixPath(key).stem, []).append(key)
    for key in image_keys:
        own = masks.pop(PurePosixPath(key).stem, None)
        if own is None:
            raise InvalidTruth(f"{store.url(key)}: this image has no mask of its name")
        yield TruthImage(key, tuple(Truth(PurePosixPath(mask).stem, mask) for mask in own))
    if masks:
        raise InvalidTruth(f"{store.url(next(iter(masks.values()))[0])}: this mask has no image of its name")


def _coco(store: Store, name: str) -> Iterator[TruthImage]:
    document = json.loads(store.read(name))
    objects: dict[Any, list[Truth]] = {}
    for each in document["annotations"]:
        if not each.get("iscrowd"):
            objects.setdefault(each["image_id"], []).append(Truth(str(each["id"]), each["segmentation"]))
    for image in document["images"]:
        if image["id"] in objects:
            yield TruthImage(f"images/{image['file_name']}", tuple(objects[image["id"]]))


def _sbd(store: Store) -> Iterator[TruthImage]:
    if store.exists(SBD_LIST):
        names = store.read(SBD_LIST).decode().split()
    else:
        names = sorted(PurePosixPath(entry.key).stem for entry in store.listing("inst/"))
    for name in names:
        key = f"inst/{name}.mat"
        numbers = np.unique(_instances(store.read(key)))
        yield TruthImage(f"img/{name}.jpg", tuple(Truth(str(n), key, int(n)) for n in numbers if n > 0))


def _instances(data: bytes) -> np.ndarray:
    """(H, W) of SBD's instance numbers, 0 outside."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InvalidTruth("SBD's .mat files are read by scipy: pip install 'm2n2[peers]'") from None
    return np.asarray(loadmat(io.BytesIO(data))["GTinst"][0][0]["Segmentation"])


def _mask_of_file(data: bytes, where: str) -> np.ndarray:
    try:
        values = np.asarray(Image.open(io.BytesIO(data)))
    except OSError as error:
        raise InvalidTruth(f"{where}: not readable as an image: {error}") from error
    return np.asarray(values > 0 if values.ndim == 2 else (values[..., :3] > 0).any(axis=2))


def _decoded(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """A COCO segmentation: polygons, or run lengths with or without compression."""
    if isinstance(segmentation, list):
        run_lengths = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        run_lengths = coco_mask.frPyObjects(segmentation, *segmentation["size"])
    else:
        run_lengths = segmentation
    return np.asarray(coco_mask.decode(run_lengths), bool)
