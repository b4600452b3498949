from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from m2n2.backbones import dinov2, load_backbone
from m2n2.backbones.area_resize import area_resize
from m2n2.backbones.dinov2 import Dinov2
from m2n2.errors import InvalidImage
from tests.conftest import DATA, SHARED

GOLDEN = sorted(DATA.glob("*.npz"))
SHARED_GOLDEN = sorted((SHARED / "golden").glob("*.npz"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random DINOv2 of three layers, with larger q and k so that its attention is not flat."""
    directory = tmp_path_factory.mktemp("tiny_dinov2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=98))
    for name, parameter in model.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight", "query.weight", "key.weight")):
            parameter.data *= 30
    model.save_pretrained(directory)
    return directory


def golden_error(weights: Path, file: Path) -> float:
    golden = np.load(file)
    expected = torch.from_numpy(golden["attention"]).float()
    grid = int(file.stem.rpartition("_")[2])
    found = load_backbone("dinov2", str(weights), grid=grid).attention(golden["image"]).view_as(expected)
    return float((found - expected / expected.sum(dim=1, keepdim=True)).abs().max())


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_gives_the_golden_attention(dinov2_small, file):
    assert golden_error(dinov2_small, file) < 2e-4  # the golden numbers are stored in half precision


@pytest.mark.skipif(not SHARED_GOLDEN, reason="../shared/golden is not here")
@pytest.mark.parametrize("file", SHARED_GOLDEN, ids=lambda file: file.stem)
def test_gives_the_golden_attention_of_research_photos(dinov2_small, file):
    assert golden_error(dinov2_small, file) < 1e-3  # two of them shrink: bytes on the edge of rounding differ by one


@pytest.mark.parametrize("grid", [(7, 7), (5, 9)])
def test_is_the_last_layer_of_the_model_run_to_its_end(tiny, golden_photos, grid):
    model = Dinov2Model.from_pretrained(tiny, attn_implementation="eager")
    pixels = torch.from_numpy(area_resize(golden_photos[0], (14 * grid[0], 14 * grid[1]))).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)
    with torch.no_grad():
        last = model((pixels - mean) / std, output_attentions=True).attentions[-1]  # (1, heads, 1 + N, 1 + N)
    expected = last.mean(dim=1)[0, 1:, 1:]
    expected /= expected.sum(dim=1, keepdim=True)
    found = Dinov2(tiny, grid=grid).attention(golden_photos[0])
    assert found.shape == grid + grid
    assert expected.std() * len(expected) > 0.1
    torch.testing.assert_close(found.view_as(expected), expected, atol=1e-6, rtol=1e-4)


def test_layers_are_mixed_by_their_weights(tiny, golden_photos):
    names = [f"encoder.layer.{number}" for number in range(3)]
    found = Dinov2(tiny, grid=6, layers={names[0]: 1, names[1]: 0, names[2]: 3}).attention(golden_photos[0])
    model = Dinov2Model.from_pretrained(tiny, attn_implementation="eager")
    with torch.no_grad():
        backbone = Dinov2(tiny, grid=6)
        pixels = backbone._normalised(backbone._resized(golden_photos[0]))
        layers = model(pixels, output_attentions=True).attentions
    expected = (layers[0] + 3 * layers[2]).mean(dim=1)[0, 1:, 1:]
    torch.testing.assert_close(
        found.view_as(expected), expected / expected.sum(dim=1, keepdim=True), atol=1e-6, rtol=1e-4
    )
    for layers in ({"encoder.layer.3": 1}, {names[0]: -1, names[1]: 2}, {}):
        with pytest.raises(ValueError, match=r"allowed: weights of at least 0, not all 0, for \['encoder.layer.0'"):
            Dinov2(tiny, grid=6, layers=layers)


def test_what_is_no_image_is_refused(tiny):
    backbone = load_backbone("dinov2", str(tiny), grid=2)
    for give in (backbone.attention, lambda image: backbone.keys(image, 1)):
        with pytest.raises(InvalidImage, match=r"array of uint8, not uint8 \(8, 8\)"):
            give(np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_types_stay_close_and_come_out_in_float32(tiny, golden_photos, dtype):
    exact = Dinov2(tiny, grid=8).attention(golden_photos[0])
    found = Dinov2(tiny, grid=8, dtype=dtype).attention(golden_photos[0])
    assert found.dtype == torch.float32
    assert (found.sum(dim=(2, 3)) - 1).abs().max() < 1e-5
    assert 0 < (found - exact).abs().max() < 0.1 * exact.max()


def test_stops_at_the_last_layers_attention(monkeypatch, tiny, golden_photos):
    passed = []
    attend = dinov2.sdpa_attention_forward
    monkeypatch.setattr(dinov2, "sdpa_attention_forward", lambda *a, **k: passed.append(1) or attend(*a, **k))
    backbone = Dinov2(tiny, grid=7)
    backbone._model.encoder.layer[-1].mlp.register_forward_hook(lambda *_: pytest.fail("ran past the attention"))
    backbone.attention(golden_photos[0])
    assert len(passed) == 2  # three layers, of which the last only gives q and k


def test_keys_are_those_of_the_last_layers_run_to_their_end(tiny, golden_photos):
    model = Dinov2Model.from_pretrained(tiny)
    expected = []
    for name, module in model.named_modules():
        if name.endswith((".key", ".k_proj")):
            module.register_forward_hook(lambda _module, _inputs, output: expected.append(output))
    backbone = Dinov2(tiny, grid=(5, 7))
    with torch.no_grad():
        model(backbone._normalised(backbone._resized(golden_photos[0])))
    found = backbone.keys(golden_photos[0], 2)
    assert found.shape == (2, 5, 7, 32)
    for layer, key in zip(found, expected[1:], strict=True):
        torch.testing.assert_close(layer.reshape(35, 32), key[0, 1:], atol=1e-5, rtol=1e-4)
    fresh = Dinov2(tiny, grid=(5, 7)).attention(golden_photos[0])
    torch.testing.assert_close(backbone.attention(golden_photos[0]), fresh)
    with pytest.raises(ValueError, match=r"keys of 4 layers, allowed: 1..3"):
        backbone.keys(golden_photos[0], 4)
