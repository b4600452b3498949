"""A disk that is full: the run says so, blames no image, and goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.storage.store import Store
from tests.faults.cluster import Cluster
from tests.faults.labelling import Labelling


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
