"""A process that commits the parts of a planned run one after another: what an export meets on a busy output.

python -m tests.pipeline.export.export_race OUTPUT SECONDS_A_PART
"""

from __future__ import annotations

import sys
import time

from pipeline.plan import load_plan
from pipeline.storage.store import Store
from tests.pipeline.make_parts import make_part


def main(output: str, pause_s: float) -> None:
    store = Store(output)
    plan = load_plan(store)
    assert plan is not None
    for shard in plan.shards:
        make_part(store, plan, shard.index)
        time.sleep(pause_s)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
