from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from m2n2 import Settings
from m2n2 import markov_map as module
from m2n2.errors import InvalidAttention
from m2n2.markov_map import LOOK_EVERY, markov_maps, start_states, steps_to_go
from m2n2.transition import TransitionOperator, transition_operator
from tests.m2n2 import oracle, synthetic

HALF = Settings(operator_dtype="float16")


@pytest.fixture(autouse=True)
def room_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_without_room", set())


@contextmanager
def as_on_a_gpu(*, leaps: bool = True) -> Iterator[list[TransitionOperator]]:
    """The chain looks and leaps as it does on a GPU; the fourth powers that were made."""
    made: list[TransitionOperator] = []
    original = TransitionOperator.fourth_power

    def fourth_power(operator: TransitionOperator) -> TransitionOperator:
        made.append(original(operator))
        return made[-1]

    with (
        patch.object(module, "_look_every", lambda device: LOOK_EVERY),
        patch.object(module, "pays_on", lambda device: leaps),
        patch.object(TransitionOperator, "fourth_power", fourth_power),
    ):
        yield made


def two_parts(leak: float, cells: int = 36) -> torch.Tensor:
    """Attention between two halves of a grid, with a little from one to the other."""
    attention = torch.rand(cells, cells, generator=torch.Generator().manual_seed(0))
    attention[: cells // 2, cells // 2 :] *= leak
    attention[cells // 2 :, : cells // 2] *= leak
    return attention


def dense(operator: TransitionOperator) -> np.ndarray:
    kernel = operator.kernel.double() * operator.row_scale.double()[:, None] * operator.column_scale.double()
    return kernel.numpy()


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
    transition = dense(operator)
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


@given(
    seed=st.integers(0, 1000),
    grid=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    sharpness=st.floats(0.5, 4),
    points=st.integers(1, 33),
)
@example(seed=0, grid=(1, 7), sharpness=4.0, points=1)
@example(seed=59, grid=(8, 6), sharpness=4.0, points=33)
@settings(max_examples=25, deadline=None)
def test_four_steps_a_product_reach_cells_when_single_steps_do(
    seed: int, grid: tuple[int, int], sharpness: float, points: int
) -> None:
    rng = np.random.default_rng(seed)
    attention = synthetic.attention(rng, grid, sharpness).reshape(grid[0] * grid[1], -1)
    operator = transition_operator(torch.from_numpy(attention), HALF, overwrite=False)
    pixels = [(int(rng.integers(40)), int(rng.integers(30))) for _ in range(points)]
    starts = torch.from_numpy(start_states(pixels, (30, 40), grid))
    assume(float((starts - HALF.markov_threshold).abs().min()) > 1e-5)
    with as_on_a_gpu():
        found = markov_maps(operator, starts, HALF).numpy()
    transition = dense(operator)
    for start, map_N in zip(starts[:3].numpy(), found[:3], strict=True):
        np.testing.assert_allclose(map_N, oracle.markov_map(transition, start), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found, markov_maps(operator, starts, HALF).numpy(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("leak", "most_steps", "leaps"),
    [
        (1.0, 1000, False),
        (3e-2, 1000, True),
        (1e-2, 1000, True),
        (1e-2, 17, True),
        (1e-2, 203, True),
        (0.0, 1000, True),
    ],
    ids=["short", "medium", "long", "ends at once", "ends within a product", "never"],
)
def test_long_chains_leap_and_end_where_single_steps_do(leak: float, most_steps: int, leaps: bool) -> None:
    operator = transition_operator(two_parts(leak), HALF, overwrite=False)
    starts = torch.from_numpy(start_states([(0, 0), (35, 0)], (1, 36), (1, 36)))
    settings = Settings(operator_dtype="float16", markov_max_steps=most_steps)
    with as_on_a_gpu() as made:
        found = markov_maps(operator, starts, settings)
    assert len(made) == leaps
    expected = markov_maps(operator, starts, settings)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)
    reached = expected < most_steps
    assert torch.equal(found < most_steps, reached)
    assert reached.all() == (leak > 0 and most_steps == 1000)


@pytest.mark.parametrize("why", ["float32", "not balanced"])
def test_single_steps_go_on_where_a_leap_would_not_do(why: str) -> None:
    settings = Settings() if why == "float32" else HALF
    operator = transition_operator(two_parts(1e-2), settings, overwrite=False)
    if why == "not balanced":
        operator = replace(operator, residual=0.2)
    starts = torch.from_numpy(start_states([(0, 0)], (1, 36), (1, 36)))
    with as_on_a_gpu() as made:
        found = markov_maps(operator, starts, settings)
    assert not made
    assert torch.equal(found, markov_maps(operator, starts, settings))


def test_a_leap_waits_until_there_are_four_states_to_leap_from(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = transition_operator(two_parts(1e-2), HALF, overwrite=False)
    starts = torch.from_numpy(start_states([(0, 0), (35, 0)], (1, 36), (1, 36)))
    expected = markov_maps(operator, starts, HALF)
    monkeypatch.setattr(module, "STEPS_THAT_PAY", 0.0)
    with as_on_a_gpu() as made:
        monkeypatch.setattr(module, "_look_every", lambda device: 1)
        found = markov_maps(operator, starts, HALF)
    assert len(made) == 1
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)


def two_chains(error: Exception) -> int:
    """Single steps go on with both, where the fourth power cannot be made; how often it was tried."""
    operator = transition_operator(two_parts(1e-2), HALF, overwrite=False)
    starts = torch.from_numpy(start_states([(0, 0)], (1, 36), (1, 36)))
    tries = []

    def fails(operator: TransitionOperator) -> TransitionOperator:
        tries.append(operator)
        raise error

    with as_on_a_gpu(), patch.object(TransitionOperator, "fourth_power", fails):
        found = [markov_maps(operator, starts, HALF) for _ in range(2)]
    expected = markov_maps(operator, starts, HALF)
    assert all(torch.equal(each, expected) for each in found)
    return len(tries)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("tried to allocate 512 MiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_where_there_is_no_room_for_the_fourth_power_it_is_tried_once_and_said_once(
    error: RuntimeError, caplog: pytest.LogCaptureFixture
) -> None:
    assert two_chains(error) == 1
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith(str(error))


def test_a_fourth_power_without_a_balance_is_its_images_own_matter(caplog: pytest.LogCaptureFixture) -> None:
    assert two_chains(InvalidAttention("column 7 of the attention is zero")) == 2
    assert [record.getMessage()[-33:] for record in caplog.records] == 2 * ["column 7 of the attention is zero"]


def test_other_errors_of_the_device_are_raised() -> None:
    with pytest.raises(RuntimeError, match="illegal memory access"):
        two_chains(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_steps_to_go_are_exact_for_a_state_that_grows_by_a_factor_and_low_for_one_that_grows_evenly() -> None:
    assert steps_to_go(0.3 * 2**-8, 0.3 * 2**-6, 0.3) == pytest.approx(3 * LOOK_EVERY)
    for most in (100, 400, 1000):
        evenly = [0.3 * step / most for step in range(LOOK_EVERY, most, LOOK_EVERY)]
        found = [steps_to_go(before, lowest, 0.3) for before, lowest in pairwise(evenly)]
        to_go = [most - LOOK_EVERY * (2 + index) for index in range(len(found))]
        assert all(each <= left for each, left in zip(found, to_go, strict=True))
        assert most / math.e * 0.85 < max(found) <= most / math.e
    assert steps_to_go(0.1, 0.1, 0.3) == math.inf
    assert steps_to_go(0.0, 0.0, 0.3) == math.inf
    assert steps_to_go(0.0, 0.1, 0.3) < 1
