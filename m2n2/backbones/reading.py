"""What a scene is made of: the attention or, for `affinity: keys`, the keys of an image."""

from __future__ import annotations

import numpy as np
import torch

from m2n2.backbones.protocol import Backbone, KeyBackbone
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
