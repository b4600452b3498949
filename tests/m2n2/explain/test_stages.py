"""The picture of a mask's stages shows what the head itself does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from m2n2 import Prompt, Scene, Settings
from m2n2.explain.picture import draw_stages
from m2n2.explain.stages import Stages, stages_of

PHOTO = Path(__file__).parents[2] / "data" / "coffee_24.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(PHOTO) as file:
        return dict(file)


@pytest.fixture(scope="module")
def prompt(golden: dict[str, np.ndarray]) -> Prompt:
    return Prompt(golden["points"][:2].tolist(), golden["labels"][:2].tolist())


@pytest.fixture(scope="module")
def stages(golden: dict[str, np.ndarray], prompt: Prompt) -> Stages:
    attention = torch.from_numpy(golden["attention"].astype(np.float32)).reshape(24, 24, 24, 24)
    return stages_of(golden["image"], attention, prompt, Settings.reference())


def test_the_stages_are_those_of_the_scene(golden: dict[str, np.ndarray], prompt: Prompt, stages: Stages) -> None:
    scene = Scene(golden["image"], golden["attention"].astype(np.float32), Settings.reference())
    mask = scene.segment([prompt])[0]
    np.testing.assert_array_equal(stages.mask.mask, mask.mask)
    assert stages.mask.thresholds == mask.thresholds
    np.testing.assert_allclose(stages.upsampled_hw, scene.markov_maps(prompt.points[:1])[0], atol=1e-5)
    np.testing.assert_allclose(stages.flooded_hw, golden["flooded"][0], atol=1e-4)
    assert stages.attention.shape == stages.markov_map.shape == (24, 24)
    assert mask.thresholds[0] in stages.candidates.lambdas


def test_the_picture_has_six_panels_and_marks_the_clicks_where_they_are(prompt: Prompt, stages: Stages) -> None:
    sheet = np.asarray(draw_stages(stages, prompt, (150, 100)))
    width = 420
    assert sheet.shape == (2 * (280 + 50 + 12), 3 * width + 4 * 12, 3)
    mask_panel = sheet[-280 - 12 : -12, -width - 12 : -12]
    for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
        centre = mask_panel[round((y + 0.5) * 2.8), round((x + 0.5) * 2.8)].tolist()
        assert centre == ([0, 255, 0] if label else [255, 0, 0])


def test_a_large_image_is_shown_at_its_working_size(golden: dict[str, np.ndarray], prompt: Prompt) -> None:
    attention = torch.from_numpy(golden["attention"].astype(np.float32)).reshape(24, 24, 24, 24)
    large = np.kron(golden["image"], np.ones((4, 4, 1), np.uint8))
    points = [(4 * x + 1, 4 * y + 1) for x, y in prompt.points]
    found = stages_of(large, attention, Prompt(points, prompt.labels), Settings(working_pixels=15_000))
    assert found.image_hw3.shape == (100, 150, 3)
    assert found.mask.mask.shape == (100, 150)


def test_settings_without_attention_are_refused() -> None:
    with pytest.raises(ValueError, match="allowed: affinity attention"):
        stages_of(np.zeros((8, 8, 3), np.uint8), torch.ones(2, 2, 2, 2), Prompt([(1, 1)]), Settings.refined())
