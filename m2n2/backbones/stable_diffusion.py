"""Stable Diffusion: self-attention of the UNet's finest layers after one denoising step, through diffusers.

One code for SD1.5, SD2, SD2.1, SD-Turbo and SDXL: the layers are found by their depth in the UNet. Never run on a GPU
or with published weights so far; what it was held to instead is in docs/backbones.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from m2n2.backbones.area_resize import area_resize
from m2n2.backbones.arguments import grid_shape, torch_dtype
from m2n2.backbones.head_mean import add_head_mean
from m2n2.backbones.loading import load_diffusers
from m2n2.backbones.prompt_embedding import load_prompt_embedding
from m2n2.errors import InvalidAttention, check_image
from m2n2.kernels.gpu.copies import upload

TIMESTEP = 100
VAE_STRIDE = 8  # pixels of the image a latent


class StableDiffusion:
    """UNet, VAE encoder and the empty prompt's embedding of a diffusers directory, on one device.

    Args:
        weights: local diffusers directory: unet, vae, and prompt_embedding.safetensors or the text encoders.
        device: torch device, such as "cpu" or "cuda".
        dtype: "float32", "float16" or "bfloat16" of the model; the captured layers' logits and softmax are always
            float32. SD2.1 and SDXL overflow in float16.
        grid: cells of the attention, one number or (h, w); None is 128. With `fit="aspect"` one number: the side of
            the square that has about as many cells.
        layers: attention layers by name, such as "up_blocks.3.attentions.0", with their weights; None is the paper's:
            the first two of the finest up block, equally.
        fit: "square" squeezes every image into the grid, as the paper does; "aspect" gives each a grid of its own
            shape with sides that are multiples of 8.

    Raises:
        InvalidWeights: a part's tensors are not exactly those of the model that its config.json describes.
        ValueError: a dtype, grid, layer, weight or fit that is not possible.
    """

    def __init__(
        self,
        weights: Path,
        device: str = "cpu",
        dtype: str = "float32",
        grid: int | tuple[int, int] | None = None,
        layers: Mapping[str, float] | None = None,
        fit: Literal["square", "aspect"] = "square",
    ) -> None:
        if fit not in ("square", "aspect") or (fit == "aspect" and isinstance(grid, tuple)):
            raise ValueError(f"fit is {fit!r} with grid {grid!r}, allowed: 'square', or 'aspect' with one number")
        self.device = torch.device(device)
        self.grid = grid_shape(128 if grid is None else grid)
        self._fit = fit
        self._dtype = torch_dtype(dtype)
        vae = load_diffusers(AutoencoderKL, weights / "vae", self._dtype, without=("decoder", "post_quant_conv"))
        for module in vae.modules():
            if isinstance(module, torch.nn.SiLU):
                module.inplace = True  # at full resolution these are the VAE's largest tensors
        self._vae = vae.to(self.device)
        self._unet = load_diffusers(UNet2DConditionModel, weights / "unet", self._dtype).to(self.device)
        self._prompt = load_prompt_embedding(weights)
        self._recorder = _Recorder()
        self._latents_a_cell = self._capture(layers)

    def attention(self, image: np.ndarray) -> torch.Tensor:
        """Self-attention of one image, see `m2n2.backbones.protocol.Backbone`.

        Raises:
            InvalidAttention: not finite, because `dtype` is too narrow for the model.
        """
        return self.attention_batch([image])[0]

    def attention_batch(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Self-attention of several images in one pass, which takes as many times the memory.

        Args:
            images: (H, W, 3) uint8 each; with `fit="aspect"` all of one shape.

        Returns:
            (images, h, w, h, w) float32; every row sums to 1.

        Raises:
            InvalidAttention: not finite, because `dtype` is too narrow for the model.
            ValueError: no images, or their grids differ.
        """
        for image in images:
            check_image(image)
        sizes = {self.input_size(*image.shape[:2]) for image in images}
        if len(sizes) != 1:
            raise ValueError(f"images of one batch need one grid, found {sorted(map(self.grid_of, images))}")
        (size,) = sizes
        return self.attention_of(upload(np.stack([area_resize(image, size) for image in images]), self.device))

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Pixels of the VAE's input, see `m2n2.backbones.protocol.HalvedBackbone`."""
        h, w = self._grid(height, width)
        return h * VAE_STRIDE * self._latents_a_cell, w * VAE_STRIDE * self._latents_a_cell

    @torch.no_grad()
    def attention_of(self, pixels: torch.Tensor) -> torch.Tensor:
        """Attention of images of the VAE's input size, see `m2n2.backbones.protocol.HalvedBackbone`.

        Raises:
            InvalidAttention: not finite, because `dtype` is too narrow for the model.
        """
        h, w = (side // (VAE_STRIDE * self._latents_a_cell) for side in pixels.shape[1:3])
        totals = self._totals(pixels, h * w)
        totals /= totals.sum(dim=2, keepdim=True)
        if not torch.isfinite(totals.sum()):
            raise InvalidAttention(f"attention in {self._dtype} is not finite, allowed: bfloat16 or float32")
        return totals.view(len(pixels), h, w, h, w)

    def grid_of(self, image: np.ndarray) -> tuple[int, int]:
        """Cells (h, w) of an image's attention."""
        return self._grid(*image.shape[:2])

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        if self._fit == "square":
            return self.grid
        side, stretch = self.grid[0], math.sqrt(height / width)
        return max(8, 8 * round(side * stretch / 8)), max(8, 8 * round(side / stretch / 8))

    def _totals(self, pixels: torch.Tensor, cells: int) -> torch.Tensor:
        """The weighted sum of the captured layers' attention: (images, N, N) float32."""
        latents = self._encode(pixels)
        totals = torch.zeros(len(pixels), cells, cells, device=self.device)
        self._recorder.totals = totals
        try:
            self._unet(latents, TIMESTEP, **self._conditions(latents))
        except _LastLayerCaptured:
            return totals
        finally:
            self._recorder.totals = None
        raise RuntimeError("the UNet ended without passing its captured layers")

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """The mode of the latents, scaled: (images, 4, h, w) times the latents a cell in both directions."""
        scaled = (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).to(self._dtype)  # (images, 3, height, width)
        latents: torch.Tensor = self._vae.encode(scaled).latent_dist.mode() * self._vae.config.scaling_factor
        return latents

    def _conditions(self, latents: torch.Tensor) -> dict[str, Any]:
        """What the UNet is told besides the latents: nothing, in its own terms."""
        count, _, height, width = latents.shape
        tokens = self._prompt.tokens.to(latents).expand(count, -1, -1)  # (images, 77, C)
        if self._prompt.pooled is None:
            return {"encoder_hidden_states": tokens}
        size = [height * VAE_STRIDE, width * VAE_STRIDE]
        times = latents.new_tensor([[*size, 0, 0, *size]]).expand(count, -1)  # original size, crop, target size
        pooled = self._prompt.pooled.to(latents).expand(count, -1)
        return {"encoder_hidden_states": tokens, "added_cond_kwargs": {"text_embeds": pooled, "time_ids": times}}

    def _capture(self, layers: Mapping[str, float] | None) -> int:
        """Put processors on the layers to capture. Returns how many latents a cell has in each direction."""
        depth, finest = _finest_self_attention(self._unet)
        weights = _layer_weights(finest, layers)
        captured = [name for name in finest if weights[name] > 0]
        for name in captured:
            is_last = name == captured[-1]
            self._unet.get_submodule(name).set_processor(_Capturing(self._recorder, weights[name], is_last))
        return 1 << depth


class _LastLayerCaptured(Exception):
    """Nothing went wrong: nothing after q and k of the last captured layer is needed."""


@dataclass
class _Recorder:
    totals: torch.Tensor | None = None  # (images, N, N) float32 while the UNet runs


@dataclass(frozen=True)
class _Capturing:
    """An attention processor of diffusers that also adds its layer's attention to the totals."""

    recorder: _Recorder
    weight: float
    is_last: bool

    def __call__(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        query, key = (_by_head(linear(hidden_states), attn.heads) for linear in (attn.to_q, attn.to_k))
        totals = self.recorder.totals
        if totals is None or totals.shape[1] != hidden_states.shape[1]:
            raise RuntimeError(f"a captured layer has {hidden_states.shape[1]} tokens, which is not the grid's number")
        for i in range(len(totals)):
            add_head_mean(totals[i], query[i], key[i], attn.scale, self.weight)
        if self.is_last:
            raise _LastLayerCaptured
        value = _by_head(attn.to_v(hidden_states), attn.heads)
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, scale=attn.scale
        )  # (images, heads, N, d)
        projected: torch.Tensor = attn.to_out[0](output.transpose(1, 2).flatten(2))
        return projected


def _by_head(projected: torch.Tensor, heads: int) -> torch.Tensor:
    """(images, N, heads * d) to (images, heads, N, d)."""
    images, cells, channels = projected.shape
    return projected.view(images, cells, heads, channels // heads).transpose(1, 2)


def _finest_self_attention(unet: Any) -> tuple[int, list[str]]:
    """Depth of the finest level that has self-attention, and its layers' names in the order they run."""
    levels = len(unet.config.block_out_channels)
    by_depth: dict[int, list[str]] = {}
    for name, _ in unet.named_modules():
        block, _, rest = name.partition(".")
        if name.endswith(".attn1") and block in ("down_blocks", "up_blocks"):
            index = int(rest.partition(".")[0])
            by_depth.setdefault(index if block == "down_blocks" else levels - 1 - index, []).append(name)
    depth = min(by_depth)
    return depth, by_depth[depth]


def _layer_weights(finest: Sequence[str], layers: Mapping[str, float] | None) -> dict[str, float]:
    """Weight of each finest layer; a name's weight is shared equally by the transformer blocks below it."""
    names = sorted({name.partition(".transformer_blocks")[0] for name in finest})
    if layers is None:
        layers = {name: 0.5 for name in names if name.startswith("up_blocks") and name.endswith((".0", ".1"))}
    if not set(layers) <= set(names) or any(weight < 0 for weight in layers.values()) or sum(layers.values()) <= 0:
        raise ValueError(f"layers are {dict(layers)}, allowed: weights of at least 0, not all 0, for {names}")
    weights = {}
    for name in finest:
        attention = name.partition(".transformer_blocks")[0]
        siblings = sum(other.startswith(attention + ".") for other in finest)
        weights[name] = layers.get(attention, 0.0) / siblings
    return weights
