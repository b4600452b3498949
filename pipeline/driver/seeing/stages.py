"""Where a run's time went: seconds of each stage, added up over workers and drivers, for the report.

Threads work beside each other, so the stages of a run add up to more than the run took.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.driver.plan_notes import read_notes, write_notes
from pipeline.storage.store import Store

STAGES_KEY = "status/stages.json"


def write_stages(store: Store, fingerprint: str, stages: Mapping[str, float]) -> None:
    """Replace what stands there; of several drivers the last one's sums."""
    rounded = {stage: round(seconds, 3) for stage, seconds in stages.items()}
    write_notes(store, STAGES_KEY, fingerprint, {"seconds": rounded})


def plus_stages(stages: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Both added up, in the order in which they are first named."""
    return {stage: stages.get(stage, 0.0) + more.get(stage, 0.0) for stage in dict.fromkeys([*stages, *more])}


def read_stages(store: Store, fingerprint: str) -> dict[str, float]:
    """What drivers before measured of the plan with this fingerprint; nothing where there was none."""
    notes = read_notes(store, STAGES_KEY, fingerprint)
    return dict(notes["seconds"]) if notes else {}
