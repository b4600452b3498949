from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from m2n2.backbones.prompt_embedding import PROMPT_FILE, _empty_prompt, load_prompt_embedding, write_prompt_embedding
from m2n2.errors import InvalidWeights
from tests.tiny_stable_diffusion import write_tokenizer


@pytest.fixture
def weights(tiny_sd2, tmp_path):
    """The tiny model's text encoder and tokenizer, to change."""
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(tiny_sd2 / part, tmp_path / "weights" / part)
    return tmp_path / "weights"


@pytest.mark.parametrize(
    ("in_map", "in_config", "pad_id"),
    [("!", "<|endoftext|>", 0), ("<|endoftext|>", "<|endoftext|>", 49407), ({"content": "!"}, "<|endoftext|>", 0)],
    ids=["SD2", "SD1.5", "as an object"],
)
def test_pads_as_the_special_tokens_map_says(tmp_path, in_map, in_config, pad_id):
    write_tokenizer(tmp_path / "tokenizer", in_map, in_config)
    ids = _empty_prompt(tmp_path / "tokenizer")
    assert ids.tolist() == [[49406, 49407] + [pad_id] * 75]


def test_without_a_map_the_config_decides(tmp_path):
    write_tokenizer(tmp_path / "tokenizer", "!", "<|endoftext|>")
    (tmp_path / "tokenizer" / "special_tokens_map.json").unlink()
    assert _empty_prompt(tmp_path / "tokenizer")[0, 2] == 49407


def test_refuses_to_guess_what_pads(weights):
    shutil.rmtree(weights / "tokenizer")
    with pytest.raises(InvalidWeights, match=r"special_tokens_map\.json"):
        load_prompt_embedding(weights)
    write_tokenizer(weights / "tokenizer", "<pad>", "!")
    with pytest.raises(InvalidWeights, match="pad_token is '<pad>', allowed"):
        load_prompt_embedding(weights)


def test_the_pad_token_changes_the_embedding(weights):
    """Both pads are among the ids a wrong guess would take, so parity tests can tell them apart."""
    padded_with_0 = load_prompt_embedding(weights).tokens
    shutil.rmtree(weights / "tokenizer")
    write_tokenizer(weights / "tokenizer", "<|endoftext|>", "!")
    assert (load_prompt_embedding(weights).tokens - padded_with_0).abs().max() > 0.01


def test_what_is_written_replaces_the_text_encoder(weights):
    encoded = load_prompt_embedding(weights)
    write_prompt_embedding(weights)
    shutil.rmtree(weights / "text_encoder")
    assert torch.equal(load_prompt_embedding(weights).tokens, encoded.tokens)
    assert encoded.tokens.shape == (1, 77, 32)
    assert encoded.pooled is None


def test_takes_a_text_encoder_with_the_position_ids_of_old_versions(weights):
    expected = load_prompt_embedding(weights).tokens
    file = weights / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    prefix = "text_model." if any(name.startswith("text_model.") for name in tensors) else ""
    tensors[f"{prefix}embeddings.position_ids"] = torch.arange(77)[None]
    save_file(tensors, file, metadata={"format": "pt"})
    assert torch.equal(load_prompt_embedding(weights).tokens, expected)


def test_refuses_a_truncated_embedding(tmp_path):
    save_file({"tokens": torch.zeros(1, 77, 8)}, tmp_path / PROMPT_FILE)
    (tmp_path / PROMPT_FILE).write_bytes((tmp_path / PROMPT_FILE).read_bytes()[:-100])
    with pytest.raises(InvalidWeights, match="truncated or corrupted"):
        load_prompt_embedding(tmp_path)
