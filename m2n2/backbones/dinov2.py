"""DINOv2: self-attention between the patches of an image, in the last layer or in others, through transformers."""

from __future__ import annotations

from collections.abc import Mapping
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
from m2n2.errors import check_image
from m2n2.kernels.gpu.copies import upload

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
        layers: layers by name, such as "encoder.layer.11", with their weights in the attention; None is the last alone.

    Raises:
        InvalidWeights: the directory's tensors are not exactly those of the model that its config.json describes.
        ValueError: another dtype, a grid that is not positive, or layers that the model does not have.
    """

    def __init__(
        self,
        weights: Path,
        device: str = "cpu",
        dtype: str = "float32",
        grid: int | tuple[int, int] | None = None,
        layers: Mapping[str, float] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.grid = grid_shape(64 if grid is None else grid)
        model = load_transformers(Dinov2Model, weights, torch_dtype(dtype), attn_implementation=STOP_AT_LAST_LAYER)
        self._weights = _layer_weights(len(model.encoder.layer), layers)
        self._recorder = _Recorder()
        for index, layer in enumerate(model.encoder.layer):
            for module in layer.modules():
                module.m2n2_layer, module.m2n2_recorder = index, self._recorder
        self._model = model.to(self.device)
        self._patch_pixels: int = model.config.patch_size
        self._mean = torch.tensor(IMAGENET_MEAN, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(IMAGENET_STD, device=self.device).view(1, 3, 1, 1)

    def attention(self, image: np.ndarray) -> torch.Tensor:
        """Self-attention of one image, see `m2n2.backbones.protocol.Backbone`."""
        return self.attention_of(self._resized(image))[0]

    def keys(self, image: np.ndarray, layers: int) -> torch.Tensor:
        """Keys of the last layers, see `m2n2.backbones.protocol.KeyBackbone`."""
        return self.keys_of(self._resized(image), layers)[0]

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Pixels of all patches, see `m2n2.backbones.protocol.HalvedBackbone`."""
        return self.grid[0] * self._patch_pixels, self.grid[1] * self._patch_pixels

    @torch.no_grad()
    def attention_of(self, pixels: torch.Tensor) -> torch.Tensor:
        """Attention of resized images, see `m2n2.backbones.protocol.HalvedBackbone`."""
        h, w = self.grid
        attention = torch.zeros(len(pixels), h * w, h * w, device=self.device)
        for layer in self._run(pixels, min(self._weights), max(self._weights)):
            if weight := self._weights.get(layer.number):  # the class token comes first
                for i in range(len(pixels)):
                    add_head_mean(attention[i], layer.query[i, :, 1:], layer.key[i], layer.scale, weight)
        attention /= attention.sum(dim=2, keepdim=True)
        return attention.view(len(pixels), h, w, h, w)

    @torch.no_grad()
    def keys_of(self, pixels: torch.Tensor, layers: int) -> torch.Tensor:
        """Keys of resized images, see `m2n2.backbones.protocol.HalvedKeyBackbone`."""
        count = len(self._model.encoder.layer)
        if not 1 <= layers <= count:
            raise ValueError(f"keys of {layers} layers, allowed: 1..{count}, the layers of this model")
        kept = torch.stack([layer.key for layer in self._run(pixels, count - layers, count - 1)], dim=1)
        h, w = self.grid  # of kept (images, layers, heads, 1 + N, d)
        return kept[:, :, :, 1:].transpose(2, 3).reshape(len(pixels), layers, h, w, -1).float()

    def _resized(self, image: np.ndarray) -> torch.Tensor:
        check_image(image)
        return upload(area_resize(image, self.input_size(*image.shape[:2]))[None], self.device)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """(images, 3, 14 h, 14 w)"""
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std

    def _run(self, pixels: torch.Tensor, first: int, last: int) -> list[_Layer]:
        """Run the model up to q and k of its layer `last`; returns the layers from `first` on."""
        self._recorder.first, self._recorder.last, self._recorder.layers = first, last, []
        try:
            self._model(pixel_values=self._normalised(pixels))
        except _LastLayerReached:
            return self._recorder.layers
        finally:
            self._recorder.layers = []
        raise RuntimeError(f"the model ended without reaching the attention of its layer {last}")


@dataclass(frozen=True)
class _Layer:
    """q and k of a layer: (images, heads, 1 + N, d), the class token first."""

    number: int
    query: torch.Tensor
    key: torch.Tensor
    scale: float


@dataclass
class _Recorder:
    """Which layers are kept while the model runs, from `first` to `last`, where it stops."""

    first: int = 0
    last: int = 0
    layers: list[_Layer] = field(default_factory=list)


class _LastLayerReached(Exception):
    """Nothing went wrong: the rest of the model is not needed."""


def _layer_weights(count: int, layers: Mapping[str, float] | None) -> dict[int, float]:
    """The weights above 0 by a layer's number."""
    names = [f"encoder.layer.{number}" for number in range(count)]
    chosen = {names[-1]: 1.0} if layers is None else dict(layers)
    if not set(chosen) <= set(names) or any(weight < 0 for weight in chosen.values()) or sum(chosen.values()) <= 0:
        raise ValueError(f"layers are {chosen}, allowed: weights of at least 0, not all 0, for {names}")
    return {names.index(name): weight for name, weight in chosen.items() if weight > 0}


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
    number: int = module.m2n2_layer  # type: ignore[assignment]
    if number >= recorder.first:
        recorder.layers.append(_Layer(number, query, key, options["scaling"]))
    if number == recorder.last:
        raise _LastLayerReached
    output: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return output


AttentionInterface.register(STOP_AT_LAST_LAYER, _stop_at_last_layer)
