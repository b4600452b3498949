"""Where a run's time went: seconds of each stage, added up over workers and drivers, for the report.

Threads work beside each other, so the stages of a run add up to more than the run took.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from pipeline.storage.store import Store

STAGES_KEY = "status/stages.json"


def write_stages(store: Store, fingerprint: str, stages: Mapping[str, float]) -> None:
    """Replace what stands there; of several drivers the last one's sums."""
    rounded = {stage: round(seconds, 3) for stage, seconds in stages.items()}
    store.put(STAGES_KEY, json.dumps({"fingerprint": fingerprint, "seconds": rounded}).encode())


def read_stages(store: Store, fingerprint: str) -> Counter[str]:
    """What drivers before measured of the plan with this fingerprint; nothing where there was none."""
    try:
        document = json.loads(store.read(STAGES_KEY))
    except FileNotFoundError:
        return Counter()
    return Counter(document["seconds"] if document["fingerprint"] == fingerprint else {})
