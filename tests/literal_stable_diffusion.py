"""Stable Diffusion's attention as the equations stand: every layer's probabilities written out, nothing skipped.

What `m2n2.backbones.stable_diffusion` must give, and what benchmarks/backbone.py measures it against. As the published
extraction does, it loads all parts of the model, keeps the graph of the VAE for gradients nobody asks for, runs the
UNet to its end, and keeps the probabilities of all heads of the finest layers until then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from m2n2.backbones.area_resize import area_resize

TIMESTEP = 100
START, END, LENGTH = 49406, 49407, 77
PAPER_LAYERS = {"up_blocks.3.attentions.0": 0.5, "up_blocks.3.attentions.1": 0.5}


class LiteralStableDiffusion:
    """Loads a diffusers directory; `attention_batch` is (images, h, w, h, w) float32."""

    def __init__(
        self, weights: Path, layers: Mapping[str, float] = PAPER_LAYERS, pad_id: int = 0, latents_a_cell: int = 1
    ) -> None:
        self.layers, self.latents_a_cell = layers, latents_a_cell
        self.unet = UNet2DConditionModel.from_pretrained(weights / "unet", low_cpu_mem_usage=False)
        self.vae = AutoencoderKL.from_pretrained(weights / "vae", low_cpu_mem_usage=False)
        self.text_encoder = CLIPTextModel.from_pretrained(weights / "text_encoder")
        self.prompt = torch.tensor([[START, END] + [pad_id] * (LENGTH - 2)])
        self.kept: dict[str, torch.Tensor] = {}

    def attention_batch(self, images: Sequence[np.ndarray], grid: tuple[int, int]) -> torch.Tensor:
        h, w = grid
        self.kept.clear()
        for name, module in self.unet.named_modules():
            if name.endswith((".attn1", ".attn2")):
                module.set_processor(WritesProbabilities(name, h * w, self.kept))
        size = (8 * h * self.latents_a_cell, 8 * w * self.latents_a_cell)
        pixels = torch.stack([torch.from_numpy(area_resize(image, size)) for image in images]).permute(0, 3, 1, 2)
        latents = self.vae.encode(pixels.float() / 127.5 - 1).latent_dist.mode() * self.vae.config.scaling_factor
        with torch.no_grad():
            tokens = self.text_encoder(self.prompt).last_hidden_state
            self.unet(latents, TIMESTEP, encoder_hidden_states=tokens.expand(len(images), -1, -1))
            total = sum(
                weight * self.kept[f"{layer}.transformer_blocks.0.attn1"].mean(dim=1)
                for layer, weight in self.layers.items()
            )
            return (total / total.sum(dim=-1, keepdim=True)).view(len(images), h, w, h, w)


@dataclass
class WritesProbabilities:
    """A processor that computes softmax(q kᵀ / √d) as a tensor, and keeps it if it is self-attention of the grid."""

    name: str
    cells: int
    kept: dict[str, torch.Tensor] = field(repr=False)

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            projected.unflatten(2, (attn.heads, -1)).transpose(1, 2)  # (images, heads, tokens, d)
            for projected in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        logits = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        probabilities = logits.softmax(dim=-1)  # (images, heads, tokens, context)
        if encoder_hidden_states is None and hidden_states.shape[1] == self.cells:
            self.kept[self.name] = probabilities
        output = (probabilities @ value).transpose(1, 2).flatten(2)
        return attn.to_out[0](output)
