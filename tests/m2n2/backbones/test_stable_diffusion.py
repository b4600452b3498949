from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from m2n2.backbones import load_backbone, stable_diffusion
from m2n2.backbones.prompt_embedding import END, PROMPT_FILE
from m2n2.backbones.stable_diffusion import StableDiffusion
from m2n2.errors import InvalidAttention
from tests.literal_stable_diffusion import LiteralStableDiffusion
from tests.tiny_stable_diffusion import HEADS, build_tiny_stable_diffusion, sharpen_self_attention, write_tokenizer

GRIDS_AND_IMAGES = [((8, 8), 3), ((16, 24), 1), ((16, 24), 3), ((13, 17), 3), ((40, 12), 1), ((48, 48), 1)]


@pytest.fixture(scope="module")
def literal(tiny_sd2: Path) -> LiteralStableDiffusion:
    return LiteralStableDiffusion(tiny_sd2)


@pytest.fixture(scope="module")
def tiny_sdxl(tiny_sd2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SDXL's structure: no attention at full resolution, two transformer blocks a layer, a pooled prompt."""
    directory = tmp_path_factory.mktemp("tiny_sdxl")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            block_out_channels=[16, 32, 64],
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            transformer_layers_per_block=[1, 2, 3],
            attention_head_dim=[2, 4, 8],
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
            use_linear_projection=True,
            norm_num_groups=8,
        )
    sharpen_self_attention(unet)
    unet.save_pretrained(directory / "unet")
    shutil.copytree(tiny_sd2 / "vae", directory / "vae")
    save_file({"tokens": torch.randn(1, 77, 32), "pooled": torch.randn(1, 16)}, directory / PROMPT_FILE)
    return directory


@pytest.mark.parametrize(("grid", "images"), GRIDS_AND_IMAGES, ids=str)
def test_is_the_literal_form(tiny_sd2, literal, golden_photos, grid, images):
    expected = literal.attention_batch(golden_photos[:images], grid)
    found = StableDiffusion(tiny_sd2, grid=grid).attention_batch(golden_photos[:images])
    assert expected.std() * grid[0] * grid[1] > 1  # flat attention would prove nothing
    assert (found - expected).abs().max() <= 1e-5
    assert (found.sum(dim=(3, 4)) - 1).abs().max() < 1e-5


def test_takes_other_layers_with_other_weights(tiny_sd2, golden_photos):
    layers = {"down_blocks.0.attentions.1": 1.0, "up_blocks.3.attentions.2": 3.0, "up_blocks.3.attentions.0": 0.0}
    expected = LiteralStableDiffusion(tiny_sd2, layers).attention_batch(golden_photos[:1], (8, 8))[0]
    found = load_backbone("sd2", str(tiny_sd2), grid=8, layers=layers).attention(golden_photos[0])
    assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("layers", [{"up_blocks.2.attentions.0": 1}, {"up_blocks.3.attentions.0": 0}, {}])
def test_refuses_layers_that_are_not_of_the_grid_or_weigh_nothing(tiny_sd2, layers):
    with pytest.raises(ValueError, match=r"allowed: .*up_blocks\.3\.attentions\.2"):
        StableDiffusion(tiny_sd2, grid=8, layers=layers)


def test_ends_at_the_last_captured_layer(tiny_sd2, golden_photos):
    backbone = StableDiffusion(tiny_sd2, grid=8)
    ran = []
    block = backbone._unet.up_blocks[3]
    for name, module in {"first": block.attentions[0], "second": block.attentions[1].proj_in}.items():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    for module in (block.attentions[1].proj_out, block.attentions[2], backbone._unet.conv_out):
        module.register_forward_hook(lambda *_: pytest.fail("ran past the last captured layer"))
    backbone.attention(golden_photos[0])
    assert ran == ["first", "second"]


def test_a_worker_loads_once_and_encodes_the_prompt_once(monkeypatch, tiny_sd2, golden_photos):
    counts = {"loaded": 0, "encoded": 0}
    load, encode = stable_diffusion.load_diffusers, CLIPTextModel.forward

    def counting_load(*arguments, **options):
        counts["loaded"] += 1
        return load(*arguments, **options)

    def counting_encode(*arguments, **options):
        counts["encoded"] += 1
        return encode(*arguments, **options)

    monkeypatch.setattr(stable_diffusion, "load_diffusers", counting_load)
    monkeypatch.setattr(CLIPTextModel, "forward", counting_encode)
    backbone = load_backbone("sd2", str(tiny_sd2), grid=8)
    for photo in golden_photos:
        backbone.attention(photo)
    assert counts == {"loaded": 2, "encoded": 1}  # the UNet and the VAE
    assert backbone._vae.decoder is None


def test_attention_head_dim_is_the_number_of_heads(monkeypatch, tiny_sd2, golden_photos):
    shapes = []
    add = stable_diffusion.add_head_mean
    monkeypatch.setattr(
        stable_diffusion,
        "add_head_mean",
        lambda total, query, *rest: shapes.append(query.shape) or add(total, query, *rest),
    )
    StableDiffusion(tiny_sd2, grid=8).attention(golden_photos[0])
    assert shapes == [(HEADS[0], 64, 8)] * 2


def test_sd15_pads_with_its_end_token_and_has_its_own_projections(tmp_path, golden_photos):
    weights = build_tiny_stable_diffusion(tmp_path)
    shutil.rmtree(weights / "tokenizer")
    write_tokenizer(weights / "tokenizer", map_pads_with="<|endoftext|>", config_pads_with="<|endoftext|>")
    unet = UNet2DConditionModel(
        block_out_channels=[16, 32, 32, 32], attention_head_dim=4, cross_attention_dim=32, norm_num_groups=8
    )
    sharpen_self_attention(unet)
    shutil.rmtree(weights / "unet")
    unet.save_pretrained(weights / "unet")
    expected = LiteralStableDiffusion(weights, pad_id=END).attention_batch(golden_photos[:1], (8, 8))[0]
    other_pad = LiteralStableDiffusion(weights, pad_id=0).attention_batch(golden_photos[:1], (8, 8))[0]
    found = load_backbone("sd1.5", str(weights), grid=8).attention(golden_photos[0])
    assert (found - expected).abs().max() <= 1e-5 < 1e-4 < (other_pad - expected).abs().max()


def test_sdxl_attends_at_half_the_latents_resolution(tiny_sdxl, golden_photos):
    backbone = load_backbone("sdxl", str(tiny_sdxl), grid=(8, 12))
    names = stable_diffusion._finest_self_attention(backbone._unet)[1]
    assert len(names) == 10
    attention = backbone.attention(golden_photos[0])
    assert attention.shape == (8, 12, 8, 12)
    assert (attention.sum(dim=(2, 3)) - 1).abs().max() < 1e-5
    one = load_backbone("sdxl", str(tiny_sdxl), grid=(8, 12), layers={"up_blocks.1.attentions.0": 1}).attention(
        golden_photos[0]
    )
    two = load_backbone("sdxl", str(tiny_sdxl), grid=(8, 12), layers={"up_blocks.1.attentions.1": 1}).attention(
        golden_photos[0]
    )
    torch.testing.assert_close(attention, (one + two) / 2, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("shape", "grid"), [((300, 300), (32, 32)), ((200, 800), (16, 64)), ((640, 480), (40, 24))])
def test_aspect_keeps_the_shape_and_about_the_number_of_cells(tiny_sd2, shape, grid):
    backbone = StableDiffusion(tiny_sd2, grid=32, fit="aspect")
    assert backbone.grid_of(np.zeros((*shape, 3), dtype=np.uint8)) == grid


def test_aspect_attends_on_a_grid_of_the_photos_shape(tiny_sd2, literal):
    photo = np.random.default_rng(0).integers(0, 256, (50, 100, 3), dtype=np.uint8)
    found = StableDiffusion(tiny_sd2, grid=12, fit="aspect").attention(photo)
    assert (found - literal.attention_batch([photo], (8, 16))[0]).abs().max() <= 1e-5


def test_aspect_refuses_a_batch_of_different_shapes(tiny_sd2, golden_photos):
    with pytest.raises(ValueError, match="one grid"):
        StableDiffusion(tiny_sd2, grid=32, fit="aspect").attention_batch(golden_photos)


def test_float16_overflow_is_an_error_and_not_a_mask(tiny_sd2, tmp_path, golden_photos):
    weights = tmp_path / "loud"
    shutil.copytree(tiny_sd2, weights)
    file = weights / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.weight"] *= 1e6
    save_file(tensors, file)
    assert torch.isfinite(StableDiffusion(weights, grid=8).attention(golden_photos[0])).all()
    with pytest.raises(InvalidAttention, match="bfloat16 or float32"):
        StableDiffusion(weights, grid=8, dtype="float16").attention(golden_photos[0])


def test_half_precision_stays_close(tiny_sd2, golden_photos):
    exact = StableDiffusion(tiny_sd2, grid=8).attention(golden_photos[0])
    found = StableDiffusion(tiny_sd2, grid=8, dtype="float16").attention(golden_photos[0])
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.2 * exact.max()


def test_the_result_can_be_changed_in_place_and_keeps_no_graph(tiny_sd2, golden_photos):
    attention = StableDiffusion(tiny_sd2, grid=8).attention(golden_photos[0])
    assert not attention.requires_grad
    attention += 1
