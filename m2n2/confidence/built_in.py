"""The calibration that masks have unless another is named, and the version of scores.

Bump SCORE_VERSION by hand whenever the same mask of the same clicks gets another score. It stands in every plan, so
that no run mixes two kinds of scores. Version 1 was the mask's stability alone.
"""

from __future__ import annotations

from m2n2.confidence.calibration import Calibration

SCORE_VERSION = 2

# python -m benchmarks.confidence fit, of masks by the default head and by the refined one, at 60,000 working pixels
BUILT_IN = Calibration(
    weights={
        "consensus": 3.541,
        "stability": 0.0,
        "centrality": 0.911,
        "log_roundness": 0.252,
        "log_correction": -0.456,
        "rivals": -0.858,
        "several_clicks": 0.682,
    },
    intercept=-1.838,
)
