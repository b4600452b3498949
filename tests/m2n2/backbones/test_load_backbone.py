from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from m2n2.backbones import load_backbone
from m2n2.backbones.arguments import grid_shape
from m2n2.errors import InvalidDevice, InvalidImage, InvalidWeights


@dataclass
class Mine:
    """What the plug-in test names: records its arguments."""

    weights: Any
    device: str
    dtype: str
    grid: Any
    sharpness: float = 1.0


def test_ones_own_backbone_by_its_name():
    mine = load_backbone(f"{__name__}:Mine", "anything", device="cuda", dtype="float16", grid=(3, 4), sharpness=2.0)
    assert mine == Mine("anything", "cuda", "float16", (3, 4), 2.0)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'sd3', allowed: sd2, .*dinov2, colour, or package\.module:callable"):
        load_backbone("sd3")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("grid", 0),
        ("grid", (4, -1)),
        ("grid", "64"),
        ("grid", 16.5),
        ("grid", True),
        ("dtype", "int8"),
        ("fit", "crop"),
    ],
)
def test_impossible_options_are_named(tiny_sd2, option, value):
    with pytest.raises(ValueError, match=f"{option} is .*allowed"):
        load_backbone("sd2", str(tiny_sd2), **{option: value})


@pytest.mark.parametrize("grid", [np.int64(8), (np.int32(8), 8)])
def test_numpys_integers_are_integers(grid):
    sides = grid_shape(grid)
    assert sides == (8, 8)
    assert [type(side) for side in sides] == [int, int]


def test_weights_of_another_model_are_refused(tiny_sd2):
    with pytest.raises(InvalidWeights, match=r"allowed: config\.json and model"):
        load_backbone("dinov2", str(tiny_sd2))
    with pytest.raises(InvalidWeights, match="vae"):
        load_backbone("sd2", str(tiny_sd2 / "unet"))


def test_the_default_weights_come_from_the_cache(tiny_sd2, monkeypatch, tmp_path):
    monkeypatch.setenv("M2N2_CACHE", str(tmp_path))
    with pytest.raises(InvalidWeights, match="weights 'sd2': neither"):
        load_backbone("sd2")
    (tmp_path / "sd2").symlink_to(tiny_sd2)
    assert load_backbone("sd2", grid=8).device == torch.device("cpu")


def test_naming_backbones_and_weights_imports_neither_torch_nor_fsspec():
    """The driver of a run does so, on a machine that may have no GPU and little memory."""
    code = "import sys, m2n2.backbones, m2n2.backbones.weights; print(*sorted(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert loaded & {"torch", "fsspec", "transformers", "diffusers", "ray"} == set()


class TestColour:
    def test_is_a_markov_chain_that_follows_colour(self):
        image = np.zeros((40, 60, 3), dtype=np.uint8)
        image[:, 30:] = 200
        attention = load_backbone("colour", grid=(4, 6)).attention(image)
        assert attention.shape == (4, 6, 4, 6)
        assert (attention.sum(dim=(2, 3)) - 1).abs().max() < 1e-6
        assert attention[1, 2, 1, 1] > 100 * attention[1, 2, 1, 3]  # as near, but across the edge

    def test_is_the_same_every_time(self, golden_photos):
        once, again = (load_backbone("colour").attention(golden_photos[1]) for _ in range(2))
        assert torch.equal(once, again)
        assert once.shape == (32, 32, 32, 32)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "gpu"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded(device, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidDevice, match=f"device '{device}'"):
        load_backbone("colour", device=device)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8), [[0]]]
)
def test_what_is_no_image_is_refused_before_a_network_sees_it(tiny_sd2, image):
    for backbone in (load_backbone("colour", grid=4), load_backbone("sd2", str(tiny_sd2), grid=8)):
        with pytest.raises(InvalidImage, match=r"must be a \(H, W, 3\) array of uint8, not|is empty"):
            backbone.attention(image)
