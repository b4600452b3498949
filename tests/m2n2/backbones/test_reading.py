"""Resize and network in two steps are what the backbone does in one, whoever changed what it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m2n2 import Settings
from m2n2.backbones.colour import Colour
from m2n2.backbones.reading import Reader
from tests.pipeline.make_data import picture


class Sharpened(Colour):
    """Somebody's own, which changes what it inherits."""

    def attention(self, image: np.ndarray) -> torch.Tensor:
        squared = super().attention(image) ** 2
        return squared / squared.sum(dim=(2, 3), keepdim=True)


class Wrapped:
    """Gives on what it does not know."""

    def __init__(self, inner: Colour) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def attention(self, image: np.ndarray) -> torch.Tensor:
        return self._inner.attention(image)


def patched() -> Colour:
    backbone = Colour(grid=12)
    backbone.attention = Sharpened(grid=12).attention  # type: ignore[method-assign]
    return backbone


@pytest.mark.parametrize(
    "backbone",
    [Colour(grid=12), Sharpened(grid=12), Wrapped(Sharpened(grid=12)), patched()],
    ids=["as it is", "inherited and changed", "wrapped", "patched"],
)
def test_steps_give_what_the_whole_gives(backbone: Colour) -> None:
    reader = Reader(backbone, Settings())
    [found] = reader.read(reader.begin([reader.resized(picture())]))
    assert torch.equal(found, backbone.attention(picture()))
