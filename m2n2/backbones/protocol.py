"""What every backbone gives: self-attention of an image as a Markov chain over its grid."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch


class Backbone(Protocol):
    """A loaded model. `attention` may be called from one thread at a time."""

    @property
    def device(self) -> torch.device:
        """Where the model lives and where its attention comes out."""
        ...

    def attention(self, image: np.ndarray) -> torch.Tensor:
        """Self-attention of one image, the paper's A (section 1 of docs/algorithm.md).

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (h, w, h, w) float32 on `device`; every row `[i, j]` sums to 1.

        Raises:
            InvalidImage: it is no such array.
        """
        ...


@runtime_checkable
class KeyBackbone(Protocol):
    """A backbone that also gives its last layers' keys, for `affinity: keys`."""

    def keys(self, image: np.ndarray, layers: int) -> torch.Tensor:
        """Keys of one image's cells in the last layers, all heads beside each other, without a class token.

        Args:
            image: (H, W, 3) uint8, RGB.
            layers: how many layers, from the last one back.

        Returns:
            (layers, h, w, C) float32 on `device`.

        Raises:
            ValueError: more layers than the model has, or none.
        """
        ...


@runtime_checkable
class HalvedBackbone(Protocol):
    """A backbone whose call comes in two halves: the resize, in any thread ahead of the device, and the network.

    For one image `attention(image)` is `attention_of(pixels)[0]` of the image resized by `area_resize`, to the bit.
    """

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this size is resized to: all that the network sees of it."""
        ...

    def attention_of(self, pixels: torch.Tensor) -> torch.Tensor:
        """Attention of resized images in one call of the network.

        Args:
            pixels: (images, height, width, 3) uint8 on `device`, RGB.

        Returns:
            (images, h, w, h, w) float32 on `device`. Of several images it may differ from that of each alone in the
            last bits: `m2n2.backbones.batches` tells.
        """
        ...


@runtime_checkable
class HalvedKeyBackbone(HalvedBackbone, KeyBackbone, Protocol):
    """The same for keys."""

    def keys_of(self, pixels: torch.Tensor, layers: int) -> torch.Tensor:
        """As `keys`, of resized images as in `attention_of`: (images, layers, h, w, C)."""
        ...
