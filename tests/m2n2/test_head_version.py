"""Masks change only with their version: digests of golden masks, stored with the version that made them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from m2n2 import Prompt, Scene, Settings
from m2n2.head_version import HEAD_VERSION
from m2n2.scene import two_sizes

DATA = Path(__file__).parents[1] / "data"
STORED = DATA / "head_version.json"
SETTINGS = {
    "reference": Settings.reference(),
    "default": Settings(working_pixels=1_000_000),  # the default of 0.1.0
    "auto": Settings(),
    "small": Settings(working_pixels=20_000, objects="exclusive"),
}


def digest(photo: Path, settings: Settings) -> str:
    """sha256 of the photo's masks after every click; the same for any number of threads and kind of CPU tried."""
    with np.load(photo) as file:
        golden = dict(file)
    attention = golden["attention"].astype(np.float32)
    scene = Scene(golden["image"], attention / attention.sum(axis=1, keepdims=True), settings)
    points, labels = golden["points"].tolist(), golden["labels"].tolist()
    prompts = [Prompt(points[:clicks], labels[:clicks]) for clicks in range(1, len(points) + 1)]
    masks = [mask.mask for mask in scene.segment(prompts)]
    return hashlib.sha256(np.packbits(np.stack(masks)).tobytes()).hexdigest()


def digests() -> dict[str, dict[str, str]]:
    photos = sorted(DATA.glob("*_24.npz"))
    return {photo.stem: {name: digest(photo, settings) for name, settings in SETTINGS.items()} for photo in photos}


def test_masks_that_change_have_another_version() -> None:
    stored = json.loads(STORED.read_text())
    assert stored["head_version"] == HEAD_VERSION, (
        "store this version's digests: python -m tests.m2n2.test_head_version"
    )
    assert digests() == stored["masks"], "masks changed: bump m2n2/head_version.py, then store the new digests"


def test_a_change_of_masks_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_pixel_more(mask_hw: np.ndarray, *arguments: object) -> np.ndarray:
        changed = carry_mask(mask_hw, *arguments).copy()
        changed[0, 0] ^= True
        return changed

    carry_mask = two_sizes.carry_mask
    monkeypatch.setattr(two_sizes, "carry_mask", one_pixel_more)
    photo = DATA / "coffee_24.npz"
    assert digest(photo, Settings()) != json.loads(STORED.read_text())["masks"][photo.stem]["auto"]


if __name__ == "__main__":
    STORED.write_text(json.dumps({"head_version": HEAD_VERSION, "masks": digests()}, indent=1) + "\n")
