import numpy as np
import pytest

from m2n2.evaluation import compare_paired


def test_a_constant_gain_is_certain() -> None:
    first = np.random.default_rng(0).random(30)
    found = compare_paired(first.tolist(), (first + 0.1).tolist())
    assert found.difference == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1)
    assert found.p_value <= 1e-4


def test_the_interval_is_about_two_standard_errors_and_the_p_value_that_of_a_t_test() -> None:
    from scipy.stats import ttest_rel

    random = np.random.default_rng(1)
    first = random.random(80)
    second = first + random.normal(0.03, 0.15, 80)
    found = compare_paired(first.tolist(), second.tolist())
    error = np.std(second - first, ddof=1) / np.sqrt(80)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert found.p_value == pytest.approx(ttest_rel(first, second).pvalue, abs=0.02)


def test_no_difference_is_no_evidence() -> None:
    assert compare_paired([0.1, 0.5], [0.1, 0.5]).p_value == 1.0


def test_results_of_other_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 objects"):
        compare_paired([0.1, 0.5], [0.1])
