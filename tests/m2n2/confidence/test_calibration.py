"""From evidence to a score: each piece counts one way, and a file that is no calibration is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from m2n2.confidence.built_in import BUILT_IN
from m2n2.confidence.calibration import INPUTS, Calibration, InvalidCalibration, parse_calibration
from m2n2.confidence.evidence import Evidence
from m2n2.confidence.fit import agreement, fit_calibration

MIDDLING = Evidence(0.5, 0.5, 0.5, 0.4, 0.5, 0.0, 2)


def some_evidence(rng: np.random.Generator) -> Evidence:
    stability, consensus, centrality, roundness, correction = rng.random(5).tolist()
    return Evidence(stability, consensus, centrality, roundness, 2 * correction, float(rng.random() < 0.2), 1)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"consensus": 0.9}, {"consensus": 0.1}),
        ({"centrality": 1.0}, {"centrality": 0.1}),
        ({"roundness": 0.7}, {"roundness": 0.1}),
        ({"correction": 0.0}, {"correction": 2.0}),
        ({"rivals": 0.0}, {"rivals": 1.0}),
    ],
)
def test_each_piece_of_evidence_counts_one_way(better: dict[str, float], worse: dict[str, float]) -> None:
    high, low = BUILT_IN.estimate(replace(MIDDLING, **better)), BUILT_IN.estimate(replace(MIDDLING, **worse))
    assert 0 < low < high < 1


def test_the_built_in_weights_have_their_signs() -> None:
    assert parse_calibration(json.loads(json.dumps(BUILT_IN.as_plain()))) == BUILT_IN


def test_a_fit_finds_what_the_ious_were_made_of() -> None:
    rng = np.random.default_rng(0)
    truth = Calibration({**dict.fromkeys(INPUTS, 0.0), "consensus": 4.0, "rivals": -2.0}, -2.0)
    evidence = [some_evidence(rng) for _ in range(3000)]
    found = fit_calibration(evidence, [truth.estimate(each) for each in evidence])
    assert found.weights["consensus"] == pytest.approx(4.0, abs=0.2)
    assert found.weights["rivals"] == pytest.approx(-2.0, abs=0.2)
    assert max(abs(found.weights[name]) for name in ("stability", "centrality", "log_roundness")) < 0.1


def test_a_weight_never_crosses_to_the_wrong_side() -> None:
    rng = np.random.default_rng(0)
    evidence = [some_evidence(rng) for _ in range(200)]
    found = fit_calibration(evidence, [1 - each.consensus for each in evidence])
    assert found.weights["consensus"] == 0


def test_a_handful_of_masks_changes_an_earlier_calibration_little_and_many_decide() -> None:
    rng = np.random.default_rng(0)
    evidence = [some_evidence(rng) for _ in range(2000)]
    bad = [0.1] * len(evidence)
    before = np.mean([BUILT_IN.estimate(each) for each in evidence])
    after = {}
    for number in (1, len(evidence)):
        calibration = fit_calibration(evidence[:number], bad[:number], BUILT_IN)
        after[number] = np.mean([calibration.estimate(each) for each in evidence])
    assert abs(after[1] - before) < 0.1
    assert after[len(evidence)] == pytest.approx(0.1, abs=0.02)


def test_agreement_is_spearmans_and_the_mean_gap_in_ten_bins() -> None:
    found = agreement([0.11, 0.12, 0.55, 0.95], [0.2, 0.2, 0.5, 0.9])
    assert found.objects == 4
    assert found.rank_correlation == pytest.approx(0.9486833)  # scipy.stats.spearmanr
    assert found.reliability_error == pytest.approx((0.09 + 0.08 + 0.05 + 0.05) / 4)
    assert np.isnan(agreement([0.5, 0.5], [0.1, 0.9]).rank_correlation)
    assert agreement([], []).objects == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "found []; allowed: what `m2n2 calibrate` writes"),
        ({"weights": {"consensus": 1.0}}, "weights: found consensus; allowed: consensus, stability, "),
        ({"intercept": "high"}, "intercept: found 'high'; allowed: a finite number"),
        ({"weights": {**BUILT_IN.weights, "rivals": 1.0}}, "weights.rivals: found 1; allowed: at most 0"),
        ({"weights": {**BUILT_IN.weights, "consensus": float("nan")}}, "consensus: found nan; allowed: a finite"),
    ],
)
def test_what_is_no_calibration_is_refused_in_one_line(change: Any, message: str) -> None:
    document = BUILT_IN.as_plain() | change if isinstance(change, dict) else change
    with pytest.raises(InvalidCalibration) as caught:
        parse_calibration(document)
    assert message in str(caught.value)
