"""SIGKILL of the driver, of a worker, of a whole node, at random moments; and SIGTERM, after which a driver drains."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.faults.cluster import Cluster, Node
from tests.faults.conftest import a_store
from tests.faults.labelling import Labelling
from tests.faults.processes import wait_until
from tests.pipeline.containers.contained_photos import ContainedPhotos, ParquetPhotos, TarPhotos
from tests.s3_server import S3Server

Make = Callable[..., Labelling]
# The first seed belongs to the normal suite.
MOMENTS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))]


def let_it_work(labelling: Labelling, seed: int) -> None:
    """Until some parts are there, a random number, and a little longer."""
    moment = random.Random(seed)
    labelling.wait_for_parts(moment.randrange(1, 9), labelling.drivers[-1])
    time.sleep(moment.uniform(0.0, 0.4))


@pytest.mark.parametrize("seed", MOMENTS)
def test_a_driver_is_killed_and_then_workers_of_the_next_one(
    labelling: Make, undisturbed: Labelling, cluster: Cluster, seed: int
) -> None:
    run = labelling()
    driver = run.start()  # with a Ray of its own, which dies with it
    let_it_work(run, seed)
    workers = driver.workers()
    assert workers
    [raylet] = [each for each in driver.family if each.name() == "raylet"]
    assert raylet.environ()["RAY_AUTH_MODE"] == "token", "a Ray of our own lets anybody in"
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    already_there = {key: run.output.info(key).etag for key in run.parts()}

    driver = run.start(cluster, workers={"count": 2, "gpus": 0, "cpus": 1})
    wait_until(lambda: bool(cluster.workers()), driver.text)  # the dead driver's worker may still have finished a part
    run.wait_for_parts(len(run.parts()) + 1, driver)
    victims = random.Random(seed).sample(found := cluster.workers(), k=random.Random(seed).randint(1, len(found)))
    for victim in victims:
        victim.kill()
    assert driver.wait() == 0, driver.text()
    run.assert_nothing_lost(undisturbed)
    assert {key: run.output.info(key).etag for key in already_there} == already_there
    assert not psutil.wait_procs(workers, timeout=60)[1], "a worker outlived its driver"


@pytest.fixture
def second_node(cluster: Cluster) -> Iterator[Node]:
    node = cluster.add_node(cpus=2)
    yield node
    node.kill()


@pytest.mark.faults
@pytest.mark.parametrize("seed", MOMENTS)
def test_a_node_dies_with_everything_on_it(
    labelling: Make, undisturbed: Labelling, cluster: Cluster, second_node: Node, seed: int
) -> None:
    run = labelling(workers={"count": 3, "gpus": 0, "cpus": 1})  # more than fit on one of the nodes
    driver = run.start(cluster)
    wait_until(lambda: bool(second_node.workers()), driver.text)
    let_it_work(run, seed)
    assert second_node.workers()
    second_node.kill()
    assert driver.wait() == 0, driver.text()
    run.assert_nothing_lost(undisturbed)
    # A node that goes away is nobody's fault: no shard runs alone or is taken apart for it.
    assert "cause=node" in driver.text()
    assert "cause=crash" not in driver.text()


@pytest.mark.faults
def test_sigterm_lets_running_shards_finish(labelling: Make, undisturbed: Labelling, cluster: Cluster) -> None:
    run = labelling()
    driver = run.start(cluster)
    let_it_work(run, seed=0)
    workers = cluster.workers()
    driver.kill(signal.SIGTERM)
    assert driver.wait() == 1, driver.text()
    assert "shards are not done; start the same job again to go on" in driver.text()
    assert not psutil.wait_procs(workers, timeout=60)[1], "a worker outlived its driver"
    run.run(cluster)
    run.assert_nothing_lost(undisturbed)


@pytest.mark.slow  # the driver starts a Ray of its own, which no other test can share
def test_a_signal_to_the_whole_process_group_reaches_the_driver_and_not_its_ray(
    labelling: Make, undisturbed: Labelling, cluster: Cluster
) -> None:
    """As `timeout`, systemd and Kubernetes send it: running shards finish, and the outcome is told."""
    run = labelling()
    driver = run.start()
    let_it_work(run, seed=0)
    driver.look()
    os.killpg(driver.process.pid, signal.SIGTERM)
    assert driver.wait() == 1
    assert "start the same job again to go on" in driver.text()
    assert "Traceback" not in driver.text()

    run.run(cluster)
    run.assert_nothing_lost(undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize("kind", [TarPhotos, ParquetPhotos])
def test_a_run_over_containers_that_is_killed_goes_on_to_the_same_bytes(
    s3: S3Server, labelling: Make, cluster: Cluster, kind: type[ContainedPhotos]
) -> None:
    photos = kind(a_store(s3, f"containers-{kind.suffix[1:]}"), 24).write()
    undisturbed = labelling(photos)
    undisturbed.run_here()
    run = labelling(photos)
    driver = run.start()
    run.wait_for_parts(2, driver)
    driver.kill()
    driver.wait()
    already_there = {key: run.output.info(key).etag for key in run.parts()}
    run.run(cluster)
    run.assert_nothing_lost(undisturbed)
    assert {key: run.output.info(key).etag for key in already_there} == already_there
    assert len(list(run.output.listing("plan/containers"))) == 3, "an index a container, made once"
