"""The paper's ablations: each setting does the one thing it says, and the rest stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2n2 import Prompt, Scene, Settings
from m2n2.attention_map import attention_maps
from m2n2.errors import InvalidAttention
from m2n2.flood_fill import difference
from m2n2.markov_map import start_states
from m2n2.settings import Score
from m2n2.threshold import point_threshold, scored_candidates
from tests.m2n2 import synthetic


def test_an_attention_map_is_minus_the_logarithm_of_the_points_row() -> None:
    rng = np.random.default_rng(0)
    attention_NN = synthetic.attention(rng, (4, 5)).reshape(20, 20)
    starts_PN = start_states([(7, 3), (0, 0)], (16, 20), (4, 5))
    looks_PN = starts_PN @ attention_NN
    expected = np.log(looks_PN.max(axis=1, keepdims=True)) - np.log(looks_PN)
    found = attention_maps(torch.from_numpy(attention_NN * 3), torch.from_numpy(starts_PN))  # rows are normalised
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_attention_of_zero_is_as_far_as_a_float_can_say() -> None:
    attention_NN = torch.eye(4)
    found = attention_maps(attention_NN, torch.eye(4)[:1])
    assert found[0, 0] == 0
    assert torch.isfinite(found).all()
    assert (found[0, 1:] > 80).all()


@pytest.mark.parametrize("fault", [-1.0, float("nan"), float("inf")])
def test_a_fault_in_a_row_that_is_used_is_named(fault: float) -> None:
    attention_NN = torch.full((4, 4), 0.25)
    attention_NN[2, 1] = fault
    with pytest.raises(InvalidAttention, match="attention of cell 2 to cell 1"):
        attention_maps(attention_NN, torch.eye(4)[1:3])


def test_a_scene_reads_raw_attention_where_the_settings_say_so() -> None:
    rng = np.random.default_rng(1)
    image, attention = synthetic.image(rng, (40, 50)), synthetic.attention(rng, (6, 7))
    markov, raw = (Scene(image, attention, Settings(map=kind)) for kind in ("markov", "attention"))  # type: ignore[arg-type]
    warmer = Scene(image, attention, Settings(map="attention", temperature=0.3, markov_threshold=0.7))
    points = [(10.0, 12.0), (33.0, 30.0)]
    assert not np.allclose(raw.markov_maps(points), markov.markov_maps(points), atol=0.05)
    assert np.array_equal(raw.markov_maps(points), warmer.markov_maps(points))  # neither temperature nor tau takes part


def test_without_flood_fill_a_value_is_the_difference_from_the_prompts_pixel() -> None:
    map_HW = np.array([[0.2, 0.9, 0.2], [0.2, 0.9, 0.1]], np.float32)
    np.testing.assert_allclose(difference(map_HW, 0, 0), np.array([[0, 1, 0], [0, 1, 1 / 7]]), rtol=1e-6)
    assert not difference(np.full((2, 2), 0.5, np.float32), 1, 1).any()


def test_without_flood_fill_a_mask_may_have_parts_that_nothing_joins() -> None:
    image = np.zeros((24, 48, 3), np.uint8)
    image[8:16, 8:16], image[8:16, 32:40] = 255, 255
    cells = image[::4, ::4, 0].reshape(-1).astype(np.float32) / 255
    attention = np.exp(-4 * np.abs(cells[:, None] - cells)).reshape(6, 12, 6, 12)
    settings = Settings(map="attention")
    (one,) = Scene(image, attention, settings).segment([Prompt([(12, 12)])])
    (both,) = Scene(image, attention, replace(settings, flood_fill=False)).segment([Prompt([(12, 12)])])
    assert one.mask[12, 12]
    assert not one.mask[12, 36]
    assert both.mask[12, 12]
    assert both.mask[12, 36]


def literal_threshold(flooded_HW: np.ndarray, own: np.ndarray, other: np.ndarray, chosen: Settings) -> float:
    """The product of the factors that count, candidate by candidate; the candidates' edges are the project's own."""
    whole = scored_candidates(flooded_HW, Settings(score=Score(prior=False)))
    count = flooded_HW.size - 1
    scores = []
    for k, value in enumerate(whole.lambdas):
        share = k / (count - 1) if count > 1 else 0.0
        factors = {
            "prior": share < chosen.prior_max_share,
            "edge": whole.edges[k],
            "positive": np.mean(own <= value),
            "negative": bool((value < other).all() and value < flooded_HW.max()),
        }
        scores.append(np.prod([float(factors[name]) for name in factors if getattr(chosen.score, name)]))
    return float(whole.lambdas[int(np.argmax(scores))])


@given(seed=st.integers(0, 10_000), parts=st.tuples(*[st.booleans()] * 4))
@settings(max_examples=80, deadline=None)
def test_each_factor_of_the_score_can_be_left_out(seed: int, parts: tuple[bool, bool, bool, bool]) -> None:
    rng = np.random.default_rng(seed)
    flooded_HW = synthetic.flat_map(rng, (5, 6), 17)
    flooded_HW[2, 3] = 0
    own = np.array([0.0, *rng.choice(flooded_HW.ravel(), 2)], np.float32)
    other = rng.choice(flooded_HW.ravel(), 1)
    chosen = Settings(score=Score(*parts))
    found = point_threshold(scored_candidates(flooded_HW, chosen), own, other, chosen)
    assert found.value == literal_threshold(flooded_HW, own, other, chosen)
