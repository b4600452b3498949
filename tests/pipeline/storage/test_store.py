"""Object storage: whole objects or nothing, created once, listed afresh; on a disk and on a real S3 server."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

from pipeline.storage import listing
from pipeline.storage.filesystem import Storage
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Store
from tests.s3_server import S3Server, free_ports


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return Store(str(tmp_path / "root"))
    server: S3Server = request.getfixturevalue("s3")
    bucket = server.bucket(f"store-{uuid.uuid4().hex[:8]}")
    return Store(f"{bucket}/root/", Storage(endpoint_url=server.endpoint_url))


def test_an_object_is_created_once_and_never_replaced(store: Store) -> None:
    assert store.put_new("parts/a", b"first")
    assert not store.put_new("parts/a", b"second")
    assert store.read("parts/a") == b"first"


def test_a_file_of_this_machine_is_created_once_or_replaced_as_bytes_are(store: Store, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"first" * 1_000_000)
    second.write_bytes(b"second")
    assert store.put_new("index/a", first)
    assert not store.put_new("index/a", second)
    assert store.read("index/a") == first.read_bytes()
    store.put("index/a", second)
    assert store.read("index/a") == b"second"
    assert [entry.key for entry in store.listing("")] == ["index/a"]
    assert first.exists(), "it is copied"


def test_of_many_writers_exactly_one_creates(store: Store) -> None:
    created: list[bool] = []
    writers = [
        threading.Thread(target=lambda n=n: created.append(store.put_new("one", bytes([n]) * 10_000))) for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sum(created) == 1
    assert len(set(store.read("one"))) == 1


def test_a_listing_begins_and_ends_anywhere(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "KEYS_A_PAGE", 2)
    for name in ("a", "b", "c", "d", "e", "f/g"):
        store.put_new(f"parts/{name}", b"1234")
    store.put_new("parts-of-others/c", b"1")
    listed = list(store.listing("parts"))
    assert list(store.listing_between("parts", "parts/a", "parts/e")) == listed[1:5]
    assert list(store.listing_between("parts", "parts/", "parts/z")) == listed
    assert list(store.listing_between("parts", "parts/z", "parts/zz")) == []
    assert list(store.listing_between("nothing", "nothing/a", "nothing/b")) == []


def test_the_store_is_probed_for_create_if_absent(store: Store) -> None:
    assert store.honours_create_if_absent()
    assert list(store.listing("")) == []


def test_a_listing_is_sorted_and_always_fresh(store: Store) -> None:
    assert list(store.listing("parts")) == []
    for name in ("b", "a", "deeper/c"):
        store.put_new(f"parts/{name}", b"1234")
        assert f"parts/{name}" in [entry.key for entry in store.listing("parts")]
    entries = list(store.listing("parts"))
    assert [entry.key for entry in entries] == ["parts/a", "parts/b", "parts/deeper/c"]
    assert {entry.size for entry in entries} == {4}
    assert all(entry.modified.tzinfo for entry in entries)


def test_put_replaces_and_put_file_uploads(store: Store, tmp_path: Path) -> None:
    store.put("status.json", b"1")
    store.put("status.json", b"22")
    assert store.read("status.json") == b"22"
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    store.put_file("export/big", source)
    assert store.info("export/big").size == 100_000


def test_reading_can_be_cut(store: Store) -> None:
    store.put_new("k", b"0123456789")
    assert store.read_one_of_many("k", 4) == b"0123"
    assert store.read_one_of_many("k", 40) == b"0123456789"


def test_what_is_missing_is_said_at_once(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("nothing")
    assert not store.exists("nothing")


def test_glob_gives_full_addresses(store: Store) -> None:
    for day in (1, 2):
        store.put_new(f"clicks/dt={day}/a.parquet", b"x")
    store.put_new("clicks/readme.txt", b"x")
    found = [entry.key for entry in store.glob("clicks/*/*.parquet")]
    assert len(found) == 2
    assert store.read(found[0]) == b"x"


def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = Store("s3://bucket/x", Storage(endpoint_url=f"http://127.0.0.1:{free_ports(1)[0]}", give_up_s=0.5))
    with pytest.raises(StoreUnavailable):
        store.read("k")


@pytest.mark.parametrize("name", ["a b#1+2%20[x]é.png", "100%.png", "a?b*c.png", "[1]/[a-z].png"])
def test_odd_names_are_read_and_listed_as_they_stand(store: Store, name: str) -> None:
    store.put(f"odd/{name}", name.encode())
    assert store.read_one_of_many(f"odd/{name}", 100) == name.encode()
    assert [entry.key for entry in store.listing("odd")] == [f"odd/{name}"]
    assert [store.read(entry.key) for entry in store.glob(store.url(f"odd/{name}"), literally=True)] == [name.encode()]
