"""DINOv2: self-attention between the patches of an image in the last layer, through transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, Dinov2Model
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from m2n2.backbones.area_resize import area_resize
from m2n2.backbones.arguments import grid_shape, torch_dtype
from m2n2.backbones.head_mean import add_head_mean
from m2n2.backbones.loading import load_transformers

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STOP_AT_LAST_LAYER = "m2n2_stop_at_last_layer"


class Dinov2:
    """DINOv2 of any size, without registers.

    Args:
        weights: local Hugging Face directory: config.json, model.safetensors.
        device: torch device, such as "cpu" or "cuda".
        dtype: "float32", "float16" or "bfloat16" of the model; the returned attention is computed in float32.
        grid: cells of the attention, one number or (h, w); the image is resized to (14 h, 14 w) pixels.

    Raises:
        InvalidWeights: the directory's tensors are not exactly those of the model that its config.json describes.
        ValueError: another dtype, or a grid that is not positive.
    """

    def __init__(
        self,
        weights: Path,
        device: str = "cpu",
        dtype: str = "float32",
        grid: int | tuple[int, int] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.grid = grid_shape(64 if grid is None else grid)
        model = load_transformers(Dinov2Model, weights, torch_dtype(dtype), attn_implementation=STOP_AT_LAST_LAYER)
        self._recorder = _Recorder(last=len(model.encoder.layer) - 1)
        for index, layer in enumerate(model.encoder.layer):
            for module in layer.modules():
                module.m2n2_layer, module.m2n2_recorder = index, self._recorder
        self._model = model.to(self.device)
        self._patch_pixels: int = model.config.patch_size
        self._mean = torch.tensor(IMAGENET_MEAN, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(IMAGENET_STD, device=self.device).view(1, 3, 1, 1)

    @torch.no_grad()
    def attention(self, image: np.ndarray) -> torch.Tensor:
        """Self-attention of one image, see `m2n2.backbones.protocol.Backbone`."""
        h, w = self.grid
        query, key, scale = self._last_layer(self._pixels(image))  # (heads, 1 + N, d) twice
        attention = torch.zeros(h * w, h * w, device=self.device)
        add_head_mean(attention, query[:, 1:], key, scale)  # the class token comes first
        attention /= attention.sum(dim=1, keepdim=True)
        return attention.view(h, w, h, w)

    @torch.no_grad()
    def keys(self, image: np.ndarray, layers: int) -> torch.Tensor:
        """Keys of the last layers, see `m2n2.backbones.protocol.KeyBackbone`."""
        last = self._recorder.last
        if not 1 <= layers <= last + 1:
            raise ValueError(f"keys of {layers} layers, allowed: 1..{last + 1}, the layers of this model")
        self._recorder.first = last + 1 - layers
        try:
            self._last_layer(self._pixels(image))
            kept = torch.stack(self._recorder.keys)  # (layers, heads, 1 + N, d)
        finally:
            self._recorder.first = last + 1
            self._recorder.keys = []
        h, w = self.grid
        return kept[:, :, 1:].transpose(1, 2).reshape(layers, h, w, -1).float()

    def _pixels(self, image: np.ndarray) -> torch.Tensor:
        h, w = self.grid
        resized = area_resize(image, (h * self._patch_pixels, w * self._patch_pixels))  # (14 h, 14 w, 3)
        pixels = torch.from_numpy(resized).to(self.device).permute(2, 0, 1)[None]
        return (pixels.float() / 255 - self._mean) / self._std  # (1, 3, 14 h, 14 w)

    def _last_layer(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
        try:
            self._model(pixel_values=pixels)
        except _LastLayerReached as reached:
            return reached.query[0], reached.key[0], reached.scale
        raise RuntimeError("the model ended without reaching the attention of its last layer")


@dataclass
class _Recorder:
    """Which layers' keys are kept while the model runs: from `first` to `last`, none by default."""

    last: int
    first: int = 1 << 30
    keys: list[torch.Tensor] = field(default_factory=list)  # (heads, tokens, d) each


class _LastLayerReached(Exception):
    """Nothing went wrong: it carries q and k out of the model, whose rest is not needed."""

    def __init__(self, query: torch.Tensor, key: torch.Tensor, scale: float) -> None:
        self.query, self.key, self.scale = query, key, scale


def _stop_at_last_layer(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """An attention function of transformers; q, k and v are (batch, heads, tokens, d)."""
    recorder: _Recorder = module.m2n2_recorder  # type: ignore[assignment]
    if module.m2n2_layer >= recorder.first:  # type: ignore[operator]
        recorder.keys.append(key[0])
    if module.m2n2_layer == recorder.last:
        raise _LastLayerReached(query, key, options["scaling"])
    output: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return output


AttentionInterface.register(STOP_AT_LAST_LAYER, _stop_at_last_layer)
