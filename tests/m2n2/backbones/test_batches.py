"""Batches: only such as give every image what it gets alone, to the bit, and as fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from m2n2.backbones import load_backbone
from m2n2.backbones.batches import ASKED, Batches, Work, find_batches
from m2n2.backbones.colour import Colour
from m2n2.backbones.reading import Reader
from m2n2.backbones.stable_diffusion import StableDiffusion
from m2n2.settings import Settings

ONE_IMAGE = 3 * 12 * 12  # bytes that an image takes in the pretended memory


class Network(Colour):
    """Colour, which may do something to the images of a call that are not alone."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__(grid=12)
        self.off, self.calls = off, list[int]()

    def attention_of(self, pixels: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(pixels))
        attention = super().attention_of(pixels)
        return attention * (1 + self.off) if len(pixels) > 2 else attention


class Pretended:
    """Memory of which an image takes as much as its pixels, and which may be shorter than it says."""

    def __init__(self, free: int, really: int | None = None) -> None:
        self._free, self._really = free, free if really is None else really

    def free(self) -> int:
        return self._free

    def measured(self, work: Work) -> tuple[Sequence[torch.Tensor], int]:
        found = work()
        if len(found) * ONE_IMAGE > self._really:
            raise torch.OutOfMemoryError
        return found, len(found) * ONE_IMAGE


def reader(backbone: Colour) -> Reader:
    return Reader(backbone, Settings())


@pytest.mark.parametrize(("most", "sizes"), [(2, (1, 2)), (7, (1, 2, 4)), (32, (1, 2, 4, 8, 16, 32))])
def test_as_many_as_are_asked_for_where_each_comes_out_as_it_does_alone(most: int, sizes: tuple[int, ...]) -> None:
    found = find_batches(reader(Network()), most)
    assert (found.sizes, found.shape, found.reason) == (sizes, (12, 12, 3), ASKED)


def test_a_size_that_changes_the_last_bit_is_not_used_nor_a_larger_one() -> None:
    network = Network(off=float(np.finfo(np.float32).eps))
    found = find_batches(reader(network), 32)
    assert found.sizes == (1, 2)
    assert "images of a call of 4 differ by" in found.reason
    assert max(network.calls) == 4


@pytest.mark.parametrize(("free", "largest"), [(3, 1), (4, 2), (9, 4), (16, 8)])
def test_half_of_the_free_memory_may_be_taken(free: int, largest: int) -> None:
    found = find_batches(reader(Network()), None, Pretended(free * ONE_IMAGE))
    assert found.largest == largest
    assert f"{2 * largest} images would take about" in found.reason


def test_a_trial_that_runs_out_of_memory_ends_it() -> None:
    found = find_batches(reader(Network()), None, Pretended(100 * ONE_IMAGE, really=4 * ONE_IMAGE))
    assert (found.largest, found.reason) == (4, "8 images were too many for the memory")


def test_auto_is_one_where_memory_is_not_measured() -> None:
    network = Network()
    found = find_batches(reader(network), None)
    assert (found.largest, network.calls) == (1, [])
    assert found.reason == "how much memory is free on cpu is not measured"


def test_images_of_another_shape_go_alone_and_every_image_once() -> None:
    images = [np.zeros((12, 12 + (number % 5 == 0), 3), np.uint8) for number in range(10)]
    groups = list(Batches((1, 2, 4), (12, 12, 3)).together(images))
    assert sorted(map(len, groups)) == [1, 1, 4, 4]
    assert sorted(index for group in groups for index in group) == list(range(10))


def test_real_networks_get_no_batch_that_changes_a_bit(tiny_sd2: Path, dinov2_small: Path, golden_photos: list) -> None:
    """What the trial's images showed holds for photos, in any company and at any place of the call."""
    for backbone in (StableDiffusion(tiny_sd2, grid=8), load_backbone("dinov2", str(dinov2_small), grid=8)):
        of = Reader(backbone, Settings())
        found = find_batches(of, 4)
        resized = [of.resized(photo) for photo in golden_photos[:2]] * 2
        alone = [of.read(of.begin([image]))[0] for image in resized]
        for size in found.sizes:
            together = of.read(of.begin(resized[:size][::-1]))[::-1]
            assert all(torch.equal(each, single) for each, single in zip(together, alone, strict=False)), size
        assert found.largest == 4 or "differ by" in found.reason
