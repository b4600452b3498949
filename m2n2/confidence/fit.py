"""Fit a calibration to masks whose IoU is known, and say how well scores agree with IoUs.

Logistic regression on IoUs as they are, between 0 and 1, with every weight on its side of 0, by projected gradients
with Nesterov's momentum. A penalty draws the weights to those of an earlier calibration, in units of each input's
spread: a handful of objects changes little, thousands decide by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m2n2.confidence.calibration import INPUTS, Calibration
from m2n2.confidence.evidence import Evidence

PENALTY = 3.0  # about what three masks say about each input
ROUNDS = 5000
BINS = 10


@dataclass(frozen=True)
class Agreement:
    """How scores and IoUs of the same masks agree.

    Attributes:
        objects: how many.
        rank_correlation: Spearman's, ties at their mean rank; nan where either does not vary.
        reliability_error: mean difference of mean score and mean IoU in ten bins of the score, weighted by objects.
    """

    objects: int
    rank_correlation: float
    reliability_error: float


def fit_calibration(
    evidence: Sequence[Evidence],
    ious: Sequence[float],
    towards: Calibration | None = None,
    weights: Sequence[float] | None = None,
) -> Calibration:
    """The calibration of these masks.

    Args:
        evidence, ious: of the same masks, at least one.
        towards: what the penalty draws to; None: to weights of 0.
        weights: how much each mask counts, 1 each if not said.
    """
    inputs = np.array([[read(each) for read, _ in INPUTS.values()] for each in evidence], np.float64)
    count_N = np.ones(len(inputs)) if weights is None else np.asarray(weights, np.float64)
    mean = np.average(inputs, axis=0, weights=count_N)
    spread = np.sqrt(np.average((inputs - mean) ** 2, axis=0, weights=count_N))
    spread[spread < 1e-6] = 1.0
    design = np.hstack([(inputs - mean) / spread, np.ones((len(inputs), 1))])
    prior = np.zeros(len(INPUTS) + 1)
    if towards is not None:
        raw = np.array([towards.weights[name] for name in INPUTS])
        prior = np.append(raw * spread, towards.intercept + raw @ mean)
    penalty = np.full(len(prior), PENALTY)
    if towards is None:
        penalty[-1] = 0.0
    fitted = _descend(design, np.asarray(ious, np.float64), count_N, prior, penalty)
    found = fitted[:-1] / spread
    return Calibration(dict(zip(INPUTS, found.tolist(), strict=True)), float(fitted[-1] - found @ mean))


def agreement(scores: Sequence[float], ious: Sequence[float]) -> Agreement:
    """How well scores tell the IoUs of the same masks; of no masks nothing is known (nan)."""
    score_N, iou_N = np.asarray(scores, np.float64), np.asarray(ious, np.float64)
    if not len(score_N):
        return Agreement(0, float("nan"), float("nan"))
    bin_N = np.minimum((score_N * BINS).astype(np.int64), BINS - 1)
    error = sum(abs(float((score_N - iou_N)[bin_N == each].sum())) for each in range(BINS)) / len(score_N)
    varies = np.ptp(score_N) > 0 and np.ptp(iou_N) > 0
    correlation = float(np.corrcoef(_ranks(score_N), _ranks(iou_N))[0, 1]) if varies else float("nan")
    return Agreement(len(score_N), correlation, error)


def _descend(
    design: np.ndarray, iou_N: np.ndarray, count_N: np.ndarray, prior: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    signs = np.array([sign for _, sign in INPUTS.values()] + [0])
    low, high = np.where(signs > 0, 0.0, -np.inf), np.where(signs < 0, 0.0, np.inf)
    curvature = 0.25 * np.linalg.eigvalsh((design.T * count_N) @ design)[-1] + penalty.max()
    found: np.ndarray = np.clip(prior, low, high)
    ahead = found
    momentum = 1.0
    for _ in range(ROUNDS):
        estimate_N = 1 / (1 + np.exp(-np.clip(design @ ahead, -700, 700)))
        slope = design.T @ (count_N * (estimate_N - iou_N)) + penalty * (ahead - prior)
        better: np.ndarray = np.clip(ahead - slope / curvature, low, high)
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = better + (momentum - 1) / next_momentum * (better - found)
        if np.abs(better - found).max() < 1e-10:
            return better
        found, momentum = better, next_momentum
    return found


def _ranks(values_N: np.ndarray) -> np.ndarray:
    _, place_N, count_U = np.unique(values_N, return_inverse=True, return_counts=True)
    last_U = np.cumsum(count_U)
    mean_rank_U: np.ndarray = last_U - (count_U - 1) / 2
    return mean_rank_U[place_N]
