"""The empty prompt's embedding: encoded once, kept beside the weights, so that no worker needs a text encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from m2n2.backbones.loading import load_transformers
from m2n2.errors import InvalidWeights

PROMPT_FILE = "prompt_embedding.safetensors"
START, END, LENGTH = 49406, 49407, 77

# What the tokenizers of CLIP pad with. OpenCLIP's "!" is token 0; Stable Diffusion 2 was trained with it.
PAD_TOKENS = {"!": 0, "<|endoftext|>": END}


@dataclass(frozen=True)
class PromptEmbedding:
    """What the UNet gets for "": tokens (1, 77, C) and, for SDXL only, pooled (1, P); float32 on the CPU."""

    tokens: torch.Tensor
    pooled: torch.Tensor | None


def load_prompt_embedding(weights: Path) -> PromptEmbedding:
    """From prompt_embedding.safetensors, or encoded by the directory's text encoders, which are then let go.

    Raises:
        InvalidWeights: neither is there, one does not fit, or it is not known what its tokenizer pads with.
    """
    file = weights / PROMPT_FILE
    if not file.exists():
        return _encode(weights)
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise InvalidWeights(f"{file}: truncated or corrupted ({error})") from error
    return PromptEmbedding(tensors["tokens"], tensors.get("pooled"))


def write_prompt_embedding(weights: Path) -> None:
    """Encode with the directory's text encoders and write prompt_embedding.safetensors there.

    Raises:
        InvalidWeights: as `load_prompt_embedding`.
    """
    embedding = _encode(weights)
    tensors = {"tokens": embedding.tokens}
    if embedding.pooled is not None:
        tensors["pooled"] = embedding.pooled
    save_file(tensors, weights / PROMPT_FILE)


@torch.no_grad()
def _encode(weights: Path) -> PromptEmbedding:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    first = load_transformers(CLIPTextModel, weights / "text_encoder", torch.float32)
    first_ids = _empty_prompt(weights / "tokenizer")
    if not (weights / "text_encoder_2").is_dir():
        return PromptEmbedding(first(first_ids).last_hidden_state, None)
    second = load_transformers(CLIPTextModelWithProjection, weights / "text_encoder_2", torch.float32)
    # SDXL joins the last hidden layer but one of both.
    a = first(first_ids, output_hidden_states=True)
    b = second(_empty_prompt(weights / "tokenizer_2"), output_hidden_states=True)
    return PromptEmbedding(torch.cat([a.hidden_states[-2], b.hidden_states[-2]], dim=-1), b.text_embeds)


def _empty_prompt(tokenizer: Path) -> torch.Tensor:
    """(1, 77) token ids of the empty prompt."""
    return torch.tensor([[START, END] + [_pad_id(tokenizer)] * (LENGTH - 2)])


def _pad_id(tokenizer: Path) -> int:
    # SD2's two files disagree; the map is the one its pipelines follow, so it is asked first.
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (tokenizer / name).exists():
            token = json.loads((tokenizer / name).read_text()).get("pad_token")
            text = token["content"] if isinstance(token, dict) else token
            if text not in PAD_TOKENS:
                raise InvalidWeights(f"{tokenizer / name}: pad_token is {text!r}, allowed: {list(PAD_TOKENS)}")
            return PAD_TOKENS[text]
    raise InvalidWeights(f"{tokenizer}: found neither special_tokens_map.json nor tokenizer_config.json")
