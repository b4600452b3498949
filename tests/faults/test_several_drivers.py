"""Two drivers on one output, and what an earlier one left half done."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.cluster import Cluster
from tests.faults.labelling import Labelling

Make = Callable[..., Labelling]


@pytest.mark.faults
def test_two_drivers_on_one_output_do_every_shard_once(
    labelling: Make, undisturbed: Labelling, cluster: Cluster
) -> None:
    run = labelling()
    # Different numbers of workers, and so, left to themselves, different shard sizes.
    drivers = [run.start(cluster, shard_images="auto", workers={"count": n, "gpus": 0, "cpus": 0.5}) for n in (1, 2)]
    assert [driver.wait() for driver in drivers] == [0, 0], "\n".join(driver.text() for driver in drivers)
    run.assert_nothing_lost()
    assert not any(row["error"] for row in run.rows())
    assert but_for_the_list_of_parts(run) == but_for_the_list_of_parts(undisturbed)


@pytest.mark.slow  # tests/pipeline/plan/test_writing.py has it without the processes
def test_a_plan_half_written_is_written_anew(labelling: Make, undisturbed: Labelling, cluster: Cluster) -> None:
    run = labelling()
    # What a driver that died leaves: shards, some of another plan, and no seal.
    for number in (0, 1, 40):
        run.output.put(f"plan/shard-{number:05d}-00000000.parquet", b"a shard of another plan")
    run.run(cluster)
    run.assert_nothing_lost(undisturbed)


def but_for_the_list_of_parts(run: Labelling) -> dict[str, Any]:
    """What was exported. Other shards are other parts, whose list's digest stands in the file."""
    document: dict[str, Any] = json.loads(run.export())
    del document["info"]["parts"]
    return document
