from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from m2n2 import Settings
from m2n2 import markov_map as module
from m2n2.markov_map import markov_maps, start_states
from m2n2.transition import transition_operator
from tests.m2n2 import oracle, synthetic


@given(
    seed=st.integers(0, 1000),
    grid=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    points=st.integers(1, 4),
)
@example(seed=222, grid=(1, 7), size=(1, 1), points=1)  # 120 steps
@settings(max_examples=40, deadline=None)
def test_maps_are_the_oracles(seed: int, grid: tuple[int, int], size: tuple[int, int], points: int) -> None:
    rng = np.random.default_rng(seed)
    attention = synthetic.attention(rng, grid).reshape(grid[0] * grid[1], -1)
    pixels = [(int(rng.integers(size[1])), int(rng.integers(size[0]))) for _ in range(points)]
    starts = start_states(pixels, size, grid)
    operator = transition_operator(torch.from_numpy(attention), Settings(), overwrite=False)
    found = markov_maps(operator, torch.from_numpy(starts), Settings()).numpy()
    # The operator's own matrix: how near that is to the oracle's is for test_transition, and a chain that hardly moves
    # would multiply the difference.
    kernel = operator.kernel.double() * operator.row_scale.double()[:, None] * operator.column_scale.double()
    transition = kernel.numpy()
    for (x, y), start, map_N in zip(pixels, starts, found, strict=True):
        expected_start = oracle.start_state(x, y, size, grid)
        np.testing.assert_allclose(start, expected_start, atol=1e-6)
        # A cell that starts within rounding of tau is at 0 or not; later crossings are continuous.
        assume(np.abs(expected_start - Settings().markov_threshold).min() > 1e-5)
        np.testing.assert_allclose(map_N, oracle.markov_map(transition, expected_start), atol=2e-3)


def test_a_point_gets_the_same_map_alone_and_in_a_batch() -> None:
    attention = synthetic.attention(np.random.default_rng(0), (6, 6)).reshape(36, 36)
    operator = transition_operator(torch.from_numpy(attention), Settings(), overwrite=False)
    starts = torch.from_numpy(start_states([(3, 4), (20, 9), (0, 0)], (25, 30), (6, 6)))
    together = markov_maps(operator, starts, Settings())
    alone = torch.cat([markov_maps(operator, starts[p : p + 1], Settings()) for p in range(3)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("steps", [5, 1000])
def test_looking_at_times_whether_all_have_crossed_changes_nothing(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    attention = synthetic.attention(np.random.default_rng(1), (7, 5)).reshape(35, 35)
    operator = transition_operator(torch.from_numpy(attention), Settings(), overwrite=False)
    starts = torch.from_numpy(start_states([(3, 4), (20, 9), (0, 0)], (25, 30), (7, 5)))
    settings = Settings(markov_max_steps=steps)
    expected = markov_maps(operator, starts, settings)
    monkeypatch.setattr(module, "_look_every", lambda device: 8)
    assert torch.equal(markov_maps(operator, starts, settings), expected)


def test_cells_never_reached_get_the_most_steps() -> None:
    # Two blocks without a way from one to the other.
    attention = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
    operator = transition_operator(attention, Settings(), overwrite=False)
    starts = torch.from_numpy(start_states([(0, 0)], (2, 2), (2, 2)))
    found = markov_maps(operator, starts, Settings(markov_max_steps=17))
    assert found[0, 0] == 0
    assert found[0, 2:].tolist() == [17.0, 17.0]


def test_the_last_row_and_column_stay_inside_the_grid() -> None:
    starts = start_states([(99, 49)], (50, 100), (5, 10)).reshape(5, 10)
    assert starts[4, 9] == starts.max() == 1
    assert np.count_nonzero(starts) == 4
