"""Parity with the published head on real photos, stage by stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from m2n2 import Prompt, Scene, Settings, markov_map
from m2n2.flood_fill import flood_fill
from m2n2.scene.affinity import read_affinity
from m2n2.scene.click_maps import ClickMaps
from m2n2.scene.two_sizes import ImageAtTwoSizes
from m2n2.transition import TransitionOperator, transition_operator
from tests.conftest import SHARED

IN_PROJECT = sorted((Path(__file__).parents[1] / "data").glob("*_24.npz"))
BESIDE_PROJECT = ["189080_24", "21077_32", "llama_32", "person1_24", "sheep_24"]

CASES = [
    *(pytest.param(path, id=path.stem) for path in IN_PROJECT),
    *(
        pytest.param(
            path := SHARED / "golden" / f"{name}.npz",
            id=name,
            marks=pytest.mark.skipif(not path.exists(), reason=f"photos for research use are not here: {path.parent}"),
        )
        for name in BESIDE_PROJECT
    ),
]


@pytest.fixture(scope="module", params=CASES)
def golden(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    with np.load(request.param) as file:
        return dict(file)


@pytest.fixture(scope="module")
def default_scene(golden: dict[str, np.ndarray]) -> Scene:
    return scene_of(golden, Settings(working_pixels=1_000_000))


@pytest.fixture(scope="module", params=["reference", "default"])
def scene(request: pytest.FixtureRequest, golden: dict[str, np.ndarray], default_scene: Scene) -> Scene:
    return scene_of(golden, Settings.reference()) if request.param == "reference" else default_scene


def scene_of(golden: dict[str, np.ndarray], settings: Settings) -> Scene:
    attention = golden["attention"].astype(np.float32)
    return Scene(golden["image"], attention / attention.sum(axis=1, keepdims=True), settings)


def test_the_golden_files_of_the_project_are_there() -> None:
    assert len(IN_PROJECT) == 3


def test_operator(golden: dict[str, np.ndarray], scene: Scene) -> None:
    attention = torch.from_numpy(golden["attention"].astype(np.float32))
    operator = transition_operator(attention, scene.settings, overwrite=False)
    row0 = operator.row_scale[0] * operator.kernel[0] * operator.column_scale
    diagonal = operator.row_scale * operator.kernel.diagonal() * operator.column_scale
    np.testing.assert_allclose(row0.numpy(), golden["doubly_stochastic_row0"], atol=1e-6)
    np.testing.assert_allclose(diagonal.numpy(), golden["doubly_stochastic_diag"], atol=1e-6)


def test_markov_maps(golden: dict[str, np.ndarray], scene: Scene) -> None:
    affinity = read_affinity(golden["attention"].astype(np.float32), scene.settings, overwrite=False)
    image = ImageAtTwoSizes(golden["image"], scene.settings, affinity.grid)
    found = np.stack(ClickMaps(affinity, image, scene.settings).on_grid(image.pixels(golden["points"])))
    np.testing.assert_allclose(found, golden["markov_maps"].reshape(found.shape), atol=5e-4)


def test_upsampled_and_flooded_maps(golden: dict[str, np.ndarray], scene: Scene) -> None:
    points = golden["points"][:2].tolist()
    upsampled = scene.markov_maps(points)
    np.testing.assert_allclose(upsampled, golden["upsampled"], atol=1e-4)
    for (x, y), map_HW, expected in zip(points, upsampled, golden["flooded"], strict=True):
        np.testing.assert_allclose(flood_fill(map_HW, x, y), expected, atol=1e-4)


def test_masks_after_every_click(golden: dict[str, np.ndarray], scene: Scene) -> None:
    height, width = golden["image"].shape[:2]
    points, labels = golden["points"].tolist(), golden["labels"].tolist()
    found = scene.segment([Prompt(points[:clicks], labels[:clicks]) for clicks in range(1, len(points) + 1)])
    for mask, packed in zip(found, golden["masks"], strict=True):
        expected = np.unpackbits(packed)[: height * width].reshape(height, width).astype(bool)
        assert np.mean(mask.mask == expected) >= 0.999
        assert (mask.mask & expected).sum() >= 0.995 * (mask.mask | expected).sum()


@pytest.mark.parametrize("leaps", [False, True], ids=["single steps", "four steps a product"])
def test_masks_from_an_operator_in_half_precision(
    golden: dict[str, np.ndarray], default_scene: Scene, leaps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if leaps:  # as early as it can be: these chains are short
        monkeypatch.setattr(markov_map, "_look_every", lambda device: 4)
        monkeypatch.setattr(markov_map, "STEPS_THAT_PAY", 0.0)
        monkeypatch.setattr(markov_map, "pays_on", lambda device: True)
    made: list[TransitionOperator] = []
    original = TransitionOperator.fourth_power

    def fourth_power(operator: TransitionOperator) -> TransitionOperator:
        made.append(original(operator))
        return made[-1]

    monkeypatch.setattr(TransitionOperator, "fourth_power", fourth_power)
    points, labels = golden["points"].tolist(), golden["labels"].tolist()
    prompts = [Prompt(points, labels), Prompt(points[:1], labels[:1])]
    half = scene_of(golden, Settings(operator_dtype="float16", working_pixels=1_000_000)).segment(prompts)
    assert bool(made) == leaps
    for mask, other in zip(half, default_scene.segment(prompts), strict=True):
        assert np.mean(mask.mask == other.mask) >= 0.999
        assert (mask.mask & other.mask).sum() >= 0.995 * (mask.mask | other.mask).sum()
