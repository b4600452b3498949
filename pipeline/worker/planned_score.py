"""How a plan's masks are scored: as its first driver meant it, whatever this version would do with a new plan."""

from __future__ import annotations

from collections.abc import Callable

from m2n2.confidence.built_in import BUILT_IN_OF
from m2n2.confidence.calibration import parse_calibration
from m2n2.confidence.evidence import Evidence
from pipeline.plan import PlanHead, score_version


def score_of(plan: PlanHead) -> Callable[[Evidence], float]:
    """Makes a mask's score of its evidence."""
    version = score_version(plan)
    if version == 1:
        return lambda evidence: evidence.stability
    calibration = plan.identity["calibration"]
    return (parse_calibration(calibration) if calibration else BUILT_IN_OF[version]).estimate
