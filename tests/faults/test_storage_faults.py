"""The S3 server goes away, freezes, loses requests half way; a PUT is cut off by its sender's death; a disk is full."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.faults.cluster import Cluster
from tests.faults.conftest import a_store
from tests.faults.labelling import Labelling
from tests.faults.processes import wait_until
from tests.faults.proxy import Harm, HarmfulProxy, Trouble
from tests.s3_server import S3Server

Make = Callable[..., Labelling]
STOPPED_S, FROZEN_S = 20.0, 10.0


@pytest.fixture
def unsteady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server of the test's own, to be stopped."""
    server = S3Server(tmp_path_factory.mktemp("unsteady"))
    server.start()
    yield server
    server.stop()


@pytest.mark.slow  # more than a minute, whatever the machine
def test_the_server_is_stopped_for_20_s_and_frozen_for_10_s(
    labelling: Make, undisturbed: Labelling, unsteady: S3Server, cluster: Cluster
) -> None:
    run = labelling(store=a_store(unsteady, "output"))
    run.move_inputs_to(unsteady)
    driver = run.start(cluster, limits={"image_timeout_s": 15.0})  # less than the outage, which must not count
    run.wait_for_parts(2, driver)
    unsteady.stop()
    time.sleep(STOPPED_S)
    unsteady.start()
    before = len(run.parts())
    run.wait_for_parts(before + 1, driver)
    unsteady.freeze()
    time.sleep(FROZEN_S)
    unsteady.thaw()
    assert driver.wait() == 0, driver.text()
    run.assert_nothing_lost()
    assert run.masks() == undisturbed.masks()
    assert "worker lost" not in driver.text(), "an outage was blamed on a worker"


@pytest.mark.faults
def test_requests_are_lost_half_way_and_a_driver_and_a_worker_are_killed_inside_theirs(
    labelling: Make, undisturbed: Labelling, s3: S3Server, cluster: Cluster
) -> None:
    """All in one run, so that it costs one. The slow tests below have each alone, and others."""
    plan, parts = "PUT .*/plan/plan.json", "PUT .*/parts/"
    of_the_driver, of_a_worker = Trouble(plan, "stall the body"), Trouble(parts, "stall the body")
    lost = [Trouble(parts, "cut the body", times=3), Trouble(parts, "swallow the answer", times=3)]
    proxy = HarmfulProxy(s3.ports[0], of_the_driver, *lost, of_a_worker)
    with proxy.running() as endpoint_url:
        run = labelling(store=a_store(s3, "output", endpoint_url))
        killed = run.start(cluster)
        wait_until(of_the_driver.met.is_set, killed.text)
        killed.kill()
        killed.wait()
        driver = run.start(cluster)
        wait_until(of_a_worker.met.is_set, driver.text)
        [worker] = cluster.workers()
        worker.kill()
        assert driver.wait() == 0, driver.text()
        assert all(trouble.met.is_set() for trouble in lost)
        run.assert_nothing_lost(undisturbed)


@pytest.mark.slow  # a run each
@pytest.mark.parametrize(
    ("request_line", "harm"),
    [
        ("PUT .*/parts/", "cut the body"),
        ("PUT .*/parts/", "swallow the answer"),
        ("PUT .*/plan/plan.json", "cut the body"),
        ("PUT .*/plan/plan.json", "swallow the answer"),
        ("GET .*/photos/", "swallow the answer"),
    ],
)
def test_a_request_that_is_lost_half_way_is_made_again(
    labelling: Make, undisturbed: Labelling, s3: S3Server, cluster: Cluster, request_line: str, harm: Harm
) -> None:
    trouble = Trouble(request_line, harm, times=3)
    with HarmfulProxy(s3.ports[0], trouble).running() as endpoint_url:
        run = labelling(store=a_store(s3, "output", endpoint_url))
        run.run(cluster)
        assert trouble.met.is_set()
        run.assert_nothing_lost(undisturbed)


@pytest.mark.slow  # two runs each
@pytest.mark.parametrize("request_line", ["PUT .*/plan/plan.json", "PUT .*/plan/shard-0000", "PUT .*/export/"])
def test_a_driver_is_killed_inside_a_put(
    labelling: Make, undisturbed: Labelling, s3: S3Server, cluster: Cluster, request_line: str
) -> None:
    trouble = Trouble(request_line, "stall the body")
    output = a_store(s3, "output")
    with HarmfulProxy(s3.ports[0], trouble).running() as endpoint_url:
        run = labelling(store=Store(output.root, Storage(endpoint_url=endpoint_url)))
        driver = run.start(cluster)
        wait_until(trouble.met.is_set, driver.text)
        driver.kill()
        driver.wait()
        run.output = output
        run.run(cluster)
    run.assert_nothing_lost(undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own in memory, of a few pages."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"only the administrator can make a small disk: {made.stderr.decode()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow  # needs the administrator's rights, and two runs
def test_a_full_disk_ends_the_run_and_a_larger_one_lets_it_go_on(
    labelling: Callable[..., Labelling], undisturbed: Labelling, cluster: Cluster, small_disk: Path
) -> None:
    disturbed = labelling(
        store=Store(str(small_disk)), storage={"endpoint_url": undisturbed.output.storage.endpoint_url}
    )
    driver = disturbed.start(cluster)
    assert driver.wait() == 1, driver.text()
    assert "disk full" in driver.text()
    assert "Traceback" not in driver.text()
    assert "worker lost" not in driver.text(), "nobody crashed"
    assert 0 < len(disturbed.parts()) < undisturbed.photos.count // 2, "it was full when workers wrote to it"
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    disturbed.run(cluster)
    disturbed.assert_nothing_lost()
    assert disturbed.masks() == undisturbed.masks()
