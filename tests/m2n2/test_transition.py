from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from m2n2 import Settings
from m2n2 import transition as module
from m2n2.errors import InvalidAttention
from m2n2.kernels import parallel, sinkhorn
from m2n2.transition import TransitionOperator, transition_operator
from tests.m2n2 import oracle, synthetic


def dense(operator: TransitionOperator) -> np.ndarray:
    kernel = operator.kernel.double().numpy()
    return operator.row_scale.double().numpy()[:, None] * kernel * operator.column_scale.double().numpy()


def matrix(seed: int, grid: tuple[int, int], sharpness: float = 1.0) -> torch.Tensor:
    n = grid[0] * grid[1]
    return torch.from_numpy(synthetic.attention(np.random.default_rng(seed), grid, sharpness).reshape(n, n))


@given(
    seed=st.integers(0, 1000),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    sharpness=st.floats(0, 1),
    temperature=st.sampled_from([0.5, 0.65, 1.0, 2.0]),
)
@settings(max_examples=40, deadline=None)
def test_it_is_the_doubly_stochastic_limit(
    seed: int, grid: tuple[int, int], sharpness: float, temperature: float
) -> None:
    attention = matrix(seed, grid, sharpness)
    expected = oracle.transition(attention.numpy(), temperature)
    # Sinkhorn shrinks its error by the square of this a round: nearer to 1, the reference misses the limit too.
    singular = np.linalg.svd(expected, compute_uv=False)
    assume(len(singular) == 1 or singular[1] < 0.95)
    for chosen in (Settings(temperature=temperature), Settings(temperature=temperature, sinkhorn_tolerance=0)):
        operator = transition_operator(attention, chosen, overwrite=False)
        # float32 leaves about 1e-6 of each entry; slowly mixing matrices amplify the stopping tolerance
        np.testing.assert_allclose(dense(operator), expected, rtol=2e-4, atol=1e-6)


def test_acceleration_takes_fewer_rounds_and_reports_them() -> None:
    attention = matrix(3, (12, 12), 2.0)
    fast = transition_operator(attention, Settings(), overwrite=False)
    plain = transition_operator(
        attention, Settings(sinkhorn_tolerance=0, sinkhorn_max_rounds=fast.rounds), overwrite=False
    )
    assert fast.residual <= 1e-6 < plain.residual
    assert fast.rounds == plain.rounds < Settings().sinkhorn_max_rounds


@pytest.mark.parametrize("leak", [1e-2, 1e-3, 1e-4])
def test_nearly_separate_parts_reach_the_limit_that_plain_rounds_miss(leak: float) -> None:
    attention = np.random.default_rng(0).random((36, 36))
    attention[:18, 18:] *= leak
    attention[18:, :18] *= leak
    attention[0, 18] = 0.5  # mass has to move to the other part, and hardly can
    limit = oracle.transition(attention, rounds=200_000)
    assert np.abs(limit.sum(axis=0) - 1).max() < 1e-12
    accelerated = transition_operator(torch.from_numpy(attention), Settings(), overwrite=False)
    plain = transition_operator(torch.from_numpy(attention), Settings.reference(), overwrite=False)
    assert accelerated.rounds < plain.rounds
    np.testing.assert_allclose(dense(accelerated), limit, atol=2e-6)
    assert np.abs(dense(plain) - limit).max() > 1e-3


def test_rounds_are_limited() -> None:
    operator = transition_operator(matrix(3, (8, 8), 3.0), Settings(sinkhorn_max_rounds=2), overwrite=False)
    assert operator.rounds == 2
    assert operator.residual > 1e-6


def test_a_matrix_without_a_limit_still_ends() -> None:
    # Triangular: the off-diagonal mass can only fade slowly, which sends the acceleration astray.
    attention = torch.tril(torch.rand(64, 64, generator=torch.Generator().manual_seed(0))) + 1e-3 * torch.eye(64)
    operator = transition_operator(attention, Settings(), overwrite=False)
    assert np.isfinite(dense(operator)).all()
    np.testing.assert_allclose(dense(operator).sum(axis=1), 1, atol=1e-5)


def test_half_precision_is_close() -> None:
    attention = matrix(1, (10, 10))
    expected = dense(transition_operator(attention, Settings(), overwrite=False))
    half = transition_operator(attention, Settings(operator_dtype="float16"), overwrite=False)
    assert half.kernel.dtype == torch.float16
    assert half.row_scale.max() <= 1  # states times these are within float16's range
    np.testing.assert_allclose(dense(half), expected, rtol=2e-3, atol=1e-7)
    states = torch.rand(3, 100, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(half.step(states).numpy(), states.numpy() @ expected, rtol=2e-3)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 3.0])
def test_the_fourth_power_takes_four_steps(sharpness: float) -> None:
    operator = transition_operator(matrix(1, (10, 9), sharpness), Settings(operator_dtype="float16"), overwrite=False)
    power = operator.fourth_power()
    expected = np.linalg.matrix_power(dense(operator), 4)
    np.testing.assert_allclose(dense(power), expected, rtol=3e-3, atol=1e-8)
    np.testing.assert_allclose(dense(power).sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(dense(power).sum(axis=0), 1, atol=1e-4)
    states = torch.rand(7, 90, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(power.step_many(states).numpy(), states.numpy() @ dense(power), rtol=5e-5)


def test_the_fourth_power_of_cells_that_stay_alone_is_within_float16() -> None:
    operator = transition_operator(torch.eye(300), Settings(operator_dtype="float16"), overwrite=False)
    np.testing.assert_allclose(dense(operator.fourth_power()), np.eye(300), atol=1e-3)


@pytest.mark.parametrize("points", [1, 2, 5])
def test_a_step_is_the_product(points: int) -> None:
    operator = transition_operator(matrix(2, (7, 9)), Settings(), overwrite=False)
    states = torch.rand(points, 63, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(operator.step(states).numpy(), states.numpy() @ dense(operator), rtol=1e-5)


def test_the_attention_is_overwritten_only_if_allowed() -> None:
    attention = matrix(0, (6, 6))
    before = attention.clone()
    kept = transition_operator(attention, Settings(), overwrite=False)
    assert torch.equal(attention, before)
    reused = transition_operator(attention, Settings(), overwrite=True)
    assert reused.kernel.data_ptr() == attention.data_ptr()
    assert torch.equal(kept.kernel, reused.kernel)


def test_the_torch_path_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = matrix(5, (9, 8))
    expected = transition_operator(attention, Settings(), overwrite=False)
    monkeypatch.setattr(module, "_temper_cpu", module._temper_torch)
    monkeypatch.setattr(sinkhorn, "_sweep_cpu", sinkhorn.SWEEP.torch_form)
    monkeypatch.setattr(parallel, "DEVICE_BLOCK_VALUES", 72 * 7)  # several blocks, the last one shorter
    found = transition_operator(attention, Settings(), overwrite=False)
    assert found.rounds == expected.rounds
    np.testing.assert_allclose(dense(found), dense(expected), rtol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1])
@pytest.mark.parametrize("path", ["cpu", "torch"])
def test_faulty_values_are_refused_with_their_place(value: float, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path == "torch":
        monkeypatch.setattr(module, "_temper_cpu", module._temper_torch)
    attention = matrix(0, (10, 10))
    attention[83, 4] = value
    with pytest.raises(InvalidAttention, match=r"cell 83 to cell 4 is (not finite|negative)"):
        transition_operator(attention, Settings(), overwrite=False)


def test_rows_and_columns_of_zeros_are_refused() -> None:
    attention = matrix(0, (10, 10))
    attention[71] = 0
    with pytest.raises(InvalidAttention, match="row 71 of the attention is zero"):
        transition_operator(attention, Settings(), overwrite=False)
    attention = matrix(0, (10, 10))
    attention[:, 7] = 0
    with pytest.raises(InvalidAttention, match="column 7 of the attention is zero"):
        transition_operator(attention, Settings(), overwrite=False)


def test_single_zeros_and_negative_zeros_are_fine() -> None:
    attention = matrix(0, (5, 5))
    attention[3, 4] = 0.0
    attention[4, 3] = -0.0
    operator = transition_operator(attention, Settings(), overwrite=False)
    np.testing.assert_allclose(dense(operator), oracle.transition(attention.abs().numpy()), rtol=2e-4, atol=1e-7)
    assert dense(operator)[3, 4] == 0
