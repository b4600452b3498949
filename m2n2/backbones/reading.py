"""What a scene is made of: the attention or, for `affinity: keys`, the keys of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from m2n2.backbones.area_resize import area_resize
from m2n2.backbones.protocol import Backbone, HalvedBackbone, HalvedKeyBackbone, KeyBackbone
from m2n2.kernels.gpu.copies import Upload, upload_ahead
from m2n2.settings import Settings


def read_image(backbone: Backbone, image: np.ndarray, settings: Settings) -> torch.Tensor:
    """Attention (h, w, h, w), or keys (layers, h, w, C) where the settings read keys: a scene's second argument.

    Raises:
        ValueError: the settings read keys, and the backbone gives none.
    """
    if settings.affinity == "attention":
        return backbone.attention(image)
    if not isinstance(backbone, KeyBackbone):
        raise ValueError(f"settings.affinity is 'keys', and {type(backbone).__name__} gives none; allowed: dinov2")
    return backbone.keys(image, settings.key_layers)


def reading_identity(settings: Settings) -> tuple[str, int]:
    """Equal for settings for which `read_image` gives the same."""
    return (settings.affinity, settings.key_layers if settings.affinity == "keys" else 0)


@dataclass(frozen=True)
class NetworkInput:
    """What one call of the network is given, on its way to the device; the images themselves where the call is one."""

    images: Sequence[np.ndarray]
    upload: Upload | None


class Reader:
    """`read_image` in steps, so that only the network keeps the device: resize and upload go ahead of it.

    A backbone of somebody's own that knows no halves is given the image, and nothing goes ahead. So is one that
    inherits halves and has an `attention` or `keys` of its own, or that would be left out.
    """

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        self.backbone, self._settings = backbone, settings
        self._halved: HalvedBackbone | None = None
        reads = settings.affinity
        if not _is_made_of_halves(backbone, reads):
            return
        if reads == "attention" and isinstance(backbone, HalvedBackbone):
            self._halved, self._network = backbone, backbone.attention_of
        elif reads == "keys" and isinstance(backbone, HalvedKeyBackbone):
            self._halved, self._network = backbone, partial(backbone.keys_of, layers=settings.key_layers)

    @property
    def input_bytes(self) -> int:
        """Memory that `resized` takes beside a square image; about the same for any other."""
        return 0 if self._halved is None else 3 * math.prod(self._halved.input_size(1024, 1024))

    def resized(self, image: np.ndarray) -> np.ndarray:
        """What the network will see of an image (H, W, 3) uint8; in any thread."""
        return image if self._halved is None else area_resize(image, self._halved.input_size(*image.shape[:2]))

    def begin(self, resized: Sequence[np.ndarray]) -> NetworkInput:
        """Send resized images of one shape to the device, beside what it does; nobody waits."""
        if self._halved is None:
            return NetworkInput(resized, None)
        return NetworkInput(resized, upload_ahead(np.stack(resized), self.backbone.device))

    def read(self, sent: NetworkInput) -> Sequence[torch.Tensor]:
        """As `read_image`, of each image that was sent, in one call of the network."""
        if sent.upload is None:
            return [read_image(self.backbone, image, self._settings) for image in sent.images]
        return self._network(sent.upload.tensor()).unbind()


def _is_made_of_halves(backbone: Backbone, name: str) -> bool:
    """Whether no class below the one with the halves has a method `name` of its own, nor the object itself."""
    half = f"{name}_of"
    for defined in (getattr(backbone, "__dict__", {}), *map(vars, type(backbone).__mro__)):
        if name in defined or half in defined:
            return half in defined
    return False
