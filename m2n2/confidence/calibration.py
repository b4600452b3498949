"""From evidence to an estimate of the mask's IoU: a few logistic weights, each piece of evidence counting one way.

score = 1 / (1 + exp(-(intercept + sum of weight · input)))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from m2n2.confidence.evidence import Evidence

# By name: an input of the model, and whether more of it means a better mask (1) or a worse one (-1).
INPUTS: dict[str, tuple[Callable[[Evidence], float], int]] = {
    "consensus": (lambda evidence: evidence.consensus, 1),
    "stability": (lambda evidence: evidence.stability, 1),
    "centrality": (lambda evidence: evidence.centrality, 1),
    "log_roundness": (lambda evidence: math.log(evidence.roundness + 0.01), 1),
    "log_correction": (lambda evidence: math.log(evidence.correction + 0.1), -1),
    "rivals": (lambda evidence: evidence.rivals, -1),
    "several_clicks": (lambda evidence: float(evidence.clicks > 1), 1),
}


class InvalidCalibration(ValueError):
    """Not a calibration: the message says what was found and what is allowed."""


@dataclass(frozen=True)
class Calibration:
    """What was fitted.

    Attributes:
        weights: of every input, of its sign or 0.
        intercept: what is added to their sum.
    """

    weights: Mapping[str, float]
    intercept: float

    def estimate(self, evidence: Evidence) -> float:
        """The mask's IoU with what was meant, as far as the evidence tells: 0 to 1."""
        inputs = {name: read(evidence) for name, (read, _) in INPUTS.items()}
        logit = self.intercept + sum(self.weights[name] * value for name, value in inputs.items())
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, logit))))

    def as_plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {"weights": dict(self.weights), "intercept": self.intercept}


def parse_calibration(document: Any) -> Calibration:
    """The calibration that JSON values are. Raises InvalidCalibration."""
    weights = document.get("weights") if isinstance(document, dict) else None
    if not isinstance(weights, dict):
        raise InvalidCalibration(f"found {_shown(document)}; allowed: what `m2n2 calibrate` writes")
    if weights.keys() != INPUTS.keys():
        raise InvalidCalibration(f"weights: found {', '.join(weights) or 'none'}; allowed: {', '.join(INPUTS)}")
    for name, value in {**weights, "intercept": document.get("intercept")}.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidCalibration(f"{name}: found {_shown(value)}; allowed: a finite number")
    for name, (_, sign) in INPUTS.items():
        if weights[name] * sign < 0:
            allowed = "at least 0" if sign > 0 else "at most 0"
            raise InvalidCalibration(f"weights.{name}: found {weights[name]:g}; allowed: {allowed}")
    return Calibration({name: float(weights[name]) for name in INPUTS}, float(document["intercept"]))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
