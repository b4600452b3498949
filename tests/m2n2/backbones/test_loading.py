from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from m2n2.backbones.loading import load_diffusers, load_transformers
from m2n2.errors import InvalidWeights

UNET_FILE = "diffusion_pytorch_model.safetensors"
Load = Callable[[Path], object]


def load_unet(directory: Path) -> torch.nn.Module:
    return load_diffusers(UNet2DConditionModel, directory, torch.float32)


def load_text_encoder(directory: Path) -> torch.nn.Module:
    return load_transformers(CLIPTextModel, directory, torch.float32)


@pytest.fixture(params=["unet", "text_encoder"])
def model(request, tiny_sd2, tmp_path) -> tuple[Path, Load]:
    """A copy to spoil, of a model of either library, and what loads it."""
    directory = shutil.copytree(tiny_sd2 / request.param, tmp_path / request.param)
    return directory / (UNET_FILE if request.param == "unet" else "model.safetensors"), (
        load_unet if request.param == "unet" else load_text_encoder
    )


def test_loads_what_was_saved(model):
    file, load = model
    loaded = load(file.parent)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert sum(p.numel() for p in loaded.parameters()) == sum(t.numel() for t in load_file(file).values())


@pytest.mark.parametrize("spoil", ["missing", "unexpected", "of another shape"])
def test_names_the_tensors_that_do_not_fit(model, spoil):
    file, load = model
    tensors = load_file(file)
    name = sorted(tensors)[3]
    if spoil == "missing":
        del tensors[name]
    elif spoil == "unexpected":
        name = "conv_in.surplus" if "unet" in str(file) else "text_model.surplus"
        tensors[name] = torch.zeros(3)
    else:
        tensors[name] = torch.zeros(3, 7)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InvalidWeights, match=rf"{spoil}.*{name.rpartition('.')[2]}"):
        load(file.parent)


def test_refuses_a_truncated_file(model):
    file, load = model
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(InvalidWeights, match="truncated or corrupted"):
        load(file.parent)


def test_refuses_a_pickle_and_says_what_is_allowed(model):
    file, load = model
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(InvalidWeights, match=r"\.bin.*allowed: .*safetensors.*never pickles"):
        load(file.parent)


def test_takes_a_vae_under_its_old_names(tiny_sd2, tmp_path):
    directory = shutil.copytree(tiny_sd2 / "vae", tmp_path / "vae")
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(directory / UNET_FILE)
    for new, old in renamed.items():
        tensors = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in tensors.items()}
    assert "encoder.mid_block.attentions.0.query.weight" in tensors
    save_file(tensors, directory / UNET_FILE)
    without = ("decoder", "post_quant_conv")
    old, new = (load_diffusers(AutoencoderKL, d, torch.float32, without) for d in (directory, tiny_sd2 / "vae"))
    image = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    assert torch.equal(old.encode(image).latent_dist.mode(), new.encode(image).latent_dist.mode())


def test_takes_the_shards_of_a_large_model(tiny_sd2, tmp_path):
    directory = tmp_path / "unet"
    UNet2DConditionModel.from_pretrained(tiny_sd2 / "unet", low_cpu_mem_usage=False).save_pretrained(
        directory, max_shard_size="20MB"
    )
    assert len(list(directory.glob("*.safetensors"))) > 1
    whole, sharded = (load_unet(place).state_dict() for place in (tiny_sd2 / "unet", directory))
    assert whole.keys() == sharded.keys()
    assert all(torch.equal(tensor, sharded[name]) for name, tensor in whole.items())
