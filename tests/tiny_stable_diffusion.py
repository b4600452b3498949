"""A random model with the structure of Stable Diffusion 2 and a few megabytes, saved as a diffusers directory."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

# SD2's `attention_head_dim` means numbers of heads, whatever its name says; here heads have 8 channels instead of 64.
HEADS = [5, 10, 20, 20]
HEAD_CHANNELS = 8


def build_tiny_stable_diffusion(directory: Path) -> Path:
    """Write unet, vae, text_encoder and tokenizer below `directory`; the same numbers every time. Returns it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            block_out_channels=[heads * HEAD_CHANNELS for heads in HEADS],
            attention_head_dim=HEADS,
            cross_attention_dim=32,
            use_linear_projection=True,
            norm_num_groups=8,
            sample_size=16,
        )
        sharpen_self_attention(unet)
        vae = AutoencoderKL(
            block_out_channels=[16, 16, 16, 16],
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            norm_num_groups=8,
            scaling_factor=0.18215,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                vocab_size=49408,
                max_position_embeddings=77,
                hidden_act="gelu",
            )
        )
    unet.save_pretrained(directory / "unet")
    vae.save_pretrained(directory / "vae")
    text.save_pretrained(directory / "text_encoder")
    write_tokenizer(directory / "tokenizer", map_pads_with="!", config_pads_with="<|endoftext|>")
    return directory


def sharpen_self_attention(unet: UNet2DConditionModel) -> None:
    """Random weights attend to everything alike; larger q and k make attention depend on the image."""
    for name, module in unet.named_modules():
        if name.endswith((".attn1.to_q", ".attn1.to_k")):
            module.weight.data *= 5


def write_tokenizer(directory: Path, map_pads_with: str, config_pads_with: str) -> None:
    """The two files that say what pads; in SD2's own they disagree."""
    directory.mkdir(parents=True)
    (directory / "special_tokens_map.json").write_text(json.dumps({"pad_token": map_pads_with}))
    (directory / "tokenizer_config.json").write_text(json.dumps({"pad_token": config_pads_with}))
