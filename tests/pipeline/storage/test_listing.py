"""Listings come in the order of keys, from a disk as from S3, and are not in memory as a whole."""

from __future__ import annotations

import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import s3fs

from pipeline.storage import listing
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.s3_server import S3Server

KEYS = ["a-b", "a.txt", "a/b/c", "a0", "b", "é/ü", "日/本"]


@pytest.fixture
def stores(tmp_path: Path, s3: S3Server) -> list[Store]:
    return [Store(str(tmp_path)), Store(s3.bucket("listing"), Storage(endpoint_url=s3.endpoint_url))]


def test_the_same_is_listed_from_a_disk_and_from_s3(stores: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "KEYS_A_PAGE", 3)
    listed = []
    for store in stores:
        for key in KEYS:
            store.put(key, key.encode())
        listed.append([(entry.key, entry.size) for entry in store.listing("")])
        assert [entry.key for entry in store.listing("a")] == ["a/b/c"]
    assert listed[0] == sorted(listed[1]) == sorted((key, len(key.encode())) for key in KEYS)


def test_s3_is_asked_for_a_page_when_its_turn_comes(stores: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[str] = []
    call = s3fs.S3FileSystem.call_s3

    def noting(self: Any, method: str, **options: Any) -> Any:
        requests.append(method)
        return call(self, method, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", noting)
    monkeypatch.setattr(listing, "KEYS_A_PAGE", 2)
    for number in range(9):
        stores[1].put(f"photos/{number}", b"x")
    requests.clear()
    entries = stores[1].listing("photos")
    assert [entry.key for entry in islice(entries, 3)] == ["photos/0", "photos/1", "photos/2"]
    assert requests == ["list_objects_v2"] * 2
    assert len(list(entries)) == 6
    assert requests == ["list_objects_v2"] * 5


def test_memory_grows_with_one_folder_and_not_with_all(tmp_path: Path) -> None:
    folders, files = 40, 100
    for folder in range(folders):
        (tmp_path / f"{folder:03d}").mkdir()
        for file in range(files):
            (tmp_path / f"{folder:03d}" / f"photo-{file:06d}.jpg").touch()
    store = Store(str(tmp_path))
    next(store.listing(""))
    tracemalloc.start()
    try:
        number = sum(1 for _ in store.listing(""))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert number == folders * files
    assert peak < 50 * number, f"{peak / number:.0f} bytes a file"


def test_a_link_to_a_file_is_listed_as_the_file_and_a_folder_behind_a_link_is_not(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "big.jpg").write_bytes(b"12345")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.jpg").symlink_to(tmp_path / "elsewhere" / "big.jpg")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    (root / ".tmp-in-the-making").touch()
    assert [(entry.key, entry.size) for entry in Store(str(root)).listing("")] == [("link.jpg", 5)]
    assert list(Store(str(root)).listing("link.jpg")) == []
