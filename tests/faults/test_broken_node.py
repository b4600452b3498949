"""A node where no worker starts is left alone and named; the others label everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.backbones import BROKEN_NODE
from tests.faults.cluster import Cluster
from tests.faults.labelling import Labelling

Make = Callable[..., Labelling]


@pytest.fixture
def broken_node(cluster: Cluster) -> Iterator[None]:
    node = cluster.add_node(cpus=2, **{BROKEN_NODE: "1"})
    yield
    node.kill()


@pytest.mark.slow  # a node of its own; tests/pipeline/driver/test_nodes.py has the rules without one
@pytest.mark.usefixtures("broken_node")
def test_the_run_goes_on_without_a_node_that_cannot_load(
    labelling: Make, undisturbed: Labelling, cluster: Cluster
) -> None:
    run = labelling(workers={"count": "auto", "gpus": 0, "cpus": 1})
    driver = run.run(cluster)
    run.assert_nothing_lost(undisturbed)
    text = driver.log.read_text()
    assert "node not used any more" in text
    assert "uncorrectable ECC" in text
    failed = text.count("worker lost cause=crash")
    assert 3 <= failed <= 5, "workers were started on the node after it was given up"
