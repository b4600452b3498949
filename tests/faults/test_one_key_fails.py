"""A key that always answers 500 while others answer: the key is named and blamed, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pipeline.config import Limits
from pipeline.failure import BadImage
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.storage import witness
from pipeline.storage.filesystem import Storage
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Store
from pipeline.worker.images import fetch_image
from tests.faults.cluster import Cluster
from tests.faults.conftest import a_store
from tests.faults.data import CLICKS, Photos
from tests.faults.labelling import Labelling
from tests.faults.proxy import ALWAYS, HarmfulProxy, Trouble
from tests.pipeline.make_data import click_rows, parquet
from tests.s3_server import S3Server

Make = Callable[..., Labelling]
GIVE_UP_S = 2.0


@pytest.fixture(autouse=True)
def nothing_was_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "_last_read", {})


@pytest.fixture
def bad_key(s3: S3Server) -> Iterator[Store]:
    """A store whose keys that contain `bad` answer 500, whoever asks."""
    proxy = HarmfulProxy(s3.ports[0], Trouble("GET .*bad", "answer 500", ALWAYS))
    with proxy.running() as endpoint_url:
        store = a_store(s3, "one-key")
        for key in ("bad", "good"):
            store.put(key, b"bytes")
        yield Store(store.root, Storage(endpoint_url, give_up_s=GIVE_UP_S))


@pytest.mark.parametrize("witnessed", [True, False])
def test_the_key_is_blamed_with_its_address_and_code(bad_key: Store, witnessed: bool) -> None:
    if witnessed:
        assert fetch_image(bad_key, "good", Limits()) == b"bytes"
    with pytest.raises(BadImage) as caught:
        fetch_image(bad_key, "bad", Limits())
    failure = caught.value.failure
    assert (failure.reason, failure.retryable) == ("image_unavailable", True)
    assert bad_key.url("bad") in failure.message
    assert "InternalError" in failure.message
    assert "while others were answered" in failure.message


def test_an_outage_is_not_blamed_on_a_key(s3: S3Server) -> None:
    outage = Trouble("GET .*", "answer 500", times=0)
    proxy = HarmfulProxy(s3.ports[0], outage)
    with proxy.running() as endpoint_url:
        store = Store(a_store(s3, "outage").root, Storage(endpoint_url, give_up_s=GIVE_UP_S))
        store.put("good", b"bytes")
        fetch_image(store, "good", Limits())
        outage.times = ALWAYS
        with pytest.raises(StoreUnavailable, match="object storage failed for 2 s"):
            fetch_image(store, "good", Limits())
        with pytest.raises(StoreUnavailable, match="object storage failed for 2 s"):
            fetch_image(store, "other", Limits())


@pytest.mark.parametrize("key", ["bad.parquet", "bad*.parquet"])
def test_a_click_file_that_fails_is_named(bad_key: Store, key: str) -> None:
    bad_key.put("bad.parquet", parquet(click_rows("a.png")))
    with pytest.raises(StoreUnavailable, match=r"bad.*parquet: OSError: .*InternalError"):
        ClickTable(find_click_files([bad_key.url(key)], bad_key), bad_key, [])


@pytest.mark.slow  # the tests above have it without a cluster
def test_a_run_ends_with_an_error_row_for_the_key_and_masks_for_the_rest(
    labelling: Make, undisturbed: Labelling, s3: S3Server, cluster: Cluster
) -> None:
    proxy = HarmfulProxy(s3.ports[0], Trouble(f"GET .*/photos/{Photos.name(7)}", "answer 500", ALWAYS))
    with proxy.running() as endpoint_url:
        run = labelling(store=a_store(s3, "output", endpoint_url), limits={"max_failed_share": 1.0})
        run.run(cluster, storage={"endpoint_url": endpoint_url, "give_up_s": GIVE_UP_S})
        run.assert_nothing_lost()
        found = {(row["image"], row["object"]): row["error"]["reason"] for row in run.rows() if row["error"]}
        assert found == {(Photos.name(7), each): "image_unavailable" for each in CLICKS}
        assert run.masks() == {key: mask for key, mask in undisturbed.masks().items() if key[0] != Photos.name(7)}
