"""Tars on a real S3 server: what is read, what is told where it cannot be, and how often storage is asked."""

from __future__ import annotations

import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from pipeline.config import Limits
from pipeline.containers.source import ImageSource, read_together
from pipeline.containers.tars import Tars
from pipeline.failure import BadImage
from pipeline.storage.filesystem import Storage
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Entry, Store
from pipeline.worker.images import fetch_image
from tests.pipeline.containers.make_tars import tar_of
from tests.s3_server import S3Server

FILES = {f"cats/{number:02d}.jpg": bytes([number]) * (1000 + number) for number in range(40)}
LONG = "/".join(["a-long-name" * 9] * 3) + "/é.jpg"


@pytest.fixture(scope="module")
def root(s3: S3Server) -> Store:
    store = Store(f"{s3.bucket('containers')}/shards/", Storage(endpoint_url=s3.endpoint_url, give_up_s=3.0))
    store.put("one.tar", tar_of(FILES))
    store.put("pax.tar", tar_of({LONG: b"long", "./dot.jpg": b"dot", "empty.jpg": b""}, tarfile.PAX_FORMAT))
    store.put("gnu.tar", tar_of({LONG: b"long", "twice.jpg": b"first", "./twice.jpg": b"second"}))
    return store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Every ranged read: key, first byte, how many."""
    reads: list[tuple[str, int, int]] = []
    original = Store.read_one_of_many

    def counted(self: Store, key: str, max_bytes: int, first: int = 0) -> bytes:
        reads.append((key, first, max_bytes))
        return original(self, key, max_bytes, first)

    monkeypatch.setattr(Store, "read_one_of_many", counted)
    return reads


def tars_of(root: Store, indexes: Store | None = None, pattern: str = "*.tar") -> Tars:
    return Tars(root, root.url(pattern), indexes)


def reason(source: ImageSource, key: str, **limits: Any) -> tuple[str, str]:
    with pytest.raises(BadImage) as caught:
        fetch_image(source, key, Limits(**limits))
    return caught.value.failure.reason, caught.value.failure.message


def test_members_are_read_whatever_wrote_the_tar(root: Store) -> None:
    tars = tars_of(root)
    assert {name: fetch_image(tars, f"one.tar/{name}", Limits()) for name in FILES} == FILES
    assert tars.read("one.tar/cats/07.jpg") == FILES["cats/07.jpg"], "as an export copies it"
    assert fetch_image(tars, f"pax.tar/{LONG}", Limits()) == b"long"
    assert fetch_image(tars, "pax.tar/dot.jpg", Limits()) == b"dot"
    assert fetch_image(tars, "pax.tar/empty.jpg", Limits()) == b""
    assert fetch_image(tars, f"gnu.tar/{LONG}", Limits()) == b"long"
    assert fetch_image(tars, "gnu.tar/twice.jpg", Limits()) == b"second", "as tar itself unpacks it"


def test_the_reasons_are_those_of_files_and_name_the_tar(root: Store) -> None:
    tars = tars_of(root, pattern="o*.tar")
    assert reason(tars, "one.tar/no.jpg") == (
        "image_missing",
        f"{root.url('one.tar/no.jpg')}: the tar has no such file",
    )
    assert reason(tars, "other.tar/a.jpg") == ("image_missing", f"{root.url('other.tar')}: there is no such tar")
    assert reason(tars, "pax.tar/dot.jpg")[0] == "image_missing", "it is not among o*.tar"
    assert reason(tars, "a.jpg")[1].endswith("allowed: shard.tar/key.jpg")
    assert reason(tars, "one.tar/cats/09.jpg", max_image_bytes=1008)[0] == "image_too_many_bytes"


def test_a_damaged_tar_gives_what_stands_before_the_damage(root: Store) -> None:
    whole = tar_of(FILES)
    third = whole.index(b"cats/02.jpg")
    root.put("torn.tar", whole[: third + 600])
    root.put("header.tar", whole[:third] + b"\xff" * 512 + whole[third + 512 :])
    root.put("gzip.tar", b"\x1f\x8b" + bytes(600))
    tars = tars_of(root)
    for name in ("torn", "header"):
        assert fetch_image(tars, f"{name}.tar/cats/01.jpg", Limits()) == FILES["cats/01.jpg"]
        found, message = reason(tars, f"{name}.tar/cats/05.jpg")
        assert (found, "cannot be read to its end" in message) == ("image_unreadable", True)
    assert "ends too soon" in reason(tars, "torn.tar/cats/02.jpg")[1]
    assert reason(tars, "gzip.tar/a.jpg")[0] == "image_unreadable"


def test_the_index_is_made_once_and_a_replaced_tar_gets_another(root: Store, asked: list[tuple[str, int, int]]) -> None:
    indexes = replace(root, root=root.url("labels/"))
    root.put("new.tar", tar_of({"a.jpg": b"old"}))
    with ThreadPoolExecutor(4) as threads:
        tars = tars_of(root, indexes)
        assert set(threads.map(lambda _: fetch_image(tars, "new.tar/a.jpg", Limits()), range(8))) == {b"old"}
    [kept] = indexes.listing("plan/containers")
    asked.clear()
    assert fetch_image(tars_of(root, indexes), "new.tar/a.jpg", Limits()) == b"old"
    assert asked == [("new.tar", 512, 3)], "one request in another process: the index is there"
    root.put("new.tar", tar_of({"b.jpg": b"......", "a.jpg": b"new"}))
    assert fetch_image(tars_of(root, indexes), "new.tar/a.jpg", Limits()) == b"new"
    indexes.put(kept.key, b"no Parquet")
    root.put("new.tar", tar_of({"a.jpg": b"old"}))
    assert fetch_image(tars_of(root, indexes), "new.tar/a.jpg", Limits()) == b"old"


def test_neighbours_come_by_one_request(root: Store, asked: list[tuple[str, int, int]]) -> None:
    tars = tars_of(root)
    keys = [f"one.tar/{name}" for name in FILES] + ["one.tar/no.jpg", "gnu.tar/twice.jpg"]
    tars.place(keys[0])
    asked.clear()
    together = read_together(tars, keys)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda key: fetch_image(together, key, Limits()), keys[:40]))
    assert found == list(FILES.values())
    assert len(asked) == 1
    assert reason(together, "one.tar/no.jpg")[0] == "image_missing"
    assert fetch_image(together, "gnu.tar/twice.jpg", Limits()) == b"second"
    assert reason(together, keys[9], max_image_bytes=100)[0] == "image_too_many_bytes"


def test_an_outage_is_no_image_s_fault_and_told_to_all_who_wait(root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    outages: list[str] = []

    def outage(self: Store, key: str) -> Entry:
        outages.append(key)
        time.sleep(0.2)  # long enough for all to wait for it
        raise StoreUnavailable("object storage failed")

    monkeypatch.setattr(Store, "info_one_of_many", outage)
    tars = tars_of(root)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(fetch_image, tars, "one.tar/cats/01.jpg", Limits()) for _ in range(8)]
    assert {type(each.exception()) for each in asked} == {StoreUnavailable}
    assert len(outages) < 8, "each would wait as long as the first, one after the other"
    monkeypatch.undo()
    assert fetch_image(tars, "one.tar/cats/01.jpg", Limits()) == FILES["cats/01.jpg"]


def test_an_index_that_cannot_be_written_is_not_an_image_s_fault(root: Store, tmp_path: Any) -> None:
    (tmp_path / "plan").write_text("a file where a folder is needed")
    with pytest.raises(UnusableStorage, match="plan/containers"):
        fetch_image(tars_of(root, Store(str(tmp_path))), "one.tar/cats/01.jpg", Limits())
