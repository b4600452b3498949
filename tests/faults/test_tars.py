"""A run over tars whose driver and worker are killed goes on to the same bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.cluster import Cluster
from tests.faults.conftest import a_store
from tests.faults.labelling import Labelling
from tests.faults.tar_photos import TarPhotos
from tests.s3_server import S3Server


@pytest.mark.faults
def test_a_run_over_tars_that_is_killed_goes_on_to_the_same_bytes(
    s3: S3Server, labelling: Callable[..., Labelling], cluster: Cluster
) -> None:
    photos = TarPhotos(a_store(s3, "tars"), 24).write()
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
    assert len(list(run.output.listing("plan/containers"))) == 3, "an index a tar, made once"
