"""The calibrations that masks have unless another is named, and the version of scores.

Bump SCORE_VERSION by hand whenever the same mask of the same clicks gets another score, and keep the weights that were
before: the version stands in every plan, so that a run that was begun with them is finished with them. Version 1 was
the mask's stability alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from m2n2.confidence.calibration import Calibration

SCORE_VERSION = 3

# python -m benchmarks.confidence fit, of masks by the default head and by the refined one
BUILT_IN_OF: Mapping[int, Calibration] = {
    2: Calibration(  # at 60,000 working pixels
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
    ),
    3: Calibration(  # at the working size that follows the grid, the default since
        weights={
            "consensus": 3.819,
            "stability": 0.110,
            "centrality": 1.289,
            "log_roundness": 0.287,
            "log_correction": -0.438,
            "rivals": -0.638,
            "several_clicks": 0.652,
        },
        intercept=-2.282,
    ),
}
BUILT_IN = BUILT_IN_OF[SCORE_VERSION]
