"""Images in Parquet on a real S3 server: what they are called, what is read of a file, what is told where it fails."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.config import Limits
from pipeline.containers import row_group
from pipeline.containers.parquets import Parquets
from pipeline.failure import BadImage
from pipeline.storage.filesystem import Storage
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Store
from pipeline.worker.images import fetch_image
from tests.pipeline.containers.make_parquets import IMAGE, parquet_of, written
from tests.s3_server import S3Server

PHOTOS = [(f"cats/{number:02d}.jpg", bytes([number]) * (1000 + number)) for number in range(20)]
Asked = list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def root(s3: S3Server) -> Store:
    store = Store(f"{s3.bucket('parquets')}/data/", Storage(endpoint_url=s3.endpoint_url, give_up_s=3.0))
    store.put("one.parquet", parquet_of(PHOTOS))
    return store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Every ranged read: key, first byte, how many."""
    reads: Asked = []
    original = Store.read_one_of_many

    def counted(self: Store, key: str, max_bytes: int, first: int = 0) -> bytes:
        reads.append((key, first, max_bytes))
        return original(self, key, max_bytes, first)

    monkeypatch.setattr(Store, "read_one_of_many", counted)
    return reads


def parquets(root: Store, indexes: Store | None = None) -> Parquets:
    return Parquets(root, root.url("*.parquet"), indexes)


def fetched(root: Store, key: str) -> bytes:
    return fetch_image(parquets(root), key, Limits())


def reason(root: Store, key: str, limits: Limits | None = None) -> tuple[str, str]:
    with pytest.raises(BadImage) as caught:
        fetch_image(parquets(root), key, limits or Limits())
    return caught.value.failure.reason, caught.value.failure.message


def test_images_are_called_by_the_path_of_their_row(root: Store) -> None:
    source = parquets(root)
    assert [fetch_image(source, f"one.parquet/{name}", Limits()) for name, _ in PHOTOS] == [data for _, data in PHOTOS]
    assert source.read("one.parquet/cats/07.jpg") == PHOTOS[7][1], "as an export copies it"
    root.put("odd.parquet", parquet_of([("./a//b.jpg", b"b"), ("é.jpg", b"e"), ("empty.jpg", b"")]))
    assert [fetched(root, f"odd.parquet/{name}") for name in ("a/b.jpg", "é.jpg", "empty.jpg")] == [b"b", b"e", b""]


def test_rows_without_a_path_of_their_own_are_called_by_their_number(root: Store) -> None:
    rows = [(None, b"zero"), ("twice.jpg", b"one"), ("a.jpg", b"two"), ("twice.jpg", b"three"), ("../up.jpg", b"four")]
    root.put("numbers.parquet", parquet_of(rows, rows_a_group=2))
    names = {"0": b"zero", "1": b"one", "a.jpg": b"two", "3": b"three", "4": b"four"}
    assert {name: fetched(root, f"numbers.parquet/{name}") for name in names} == names
    found, message = reason(root, "numbers.parquet/twice.jpg")
    assert (found, "rows 1 and 3 may both be meant" in message) == ("image_unreadable", True)
    assert reason(root, "numbers.parquet/2")[0] == "image_missing", "it is a.jpg: an image has one key"


@pytest.mark.parametrize("paths", [[None, "0"], ["1", None]])
def test_a_number_that_is_the_path_of_another_row_means_neither(root: Store, paths: list[str | None]) -> None:
    root.put("clash.parquet", parquet_of([(path, b"x") for path in paths]))
    number = str(paths.index(None))
    assert "rows 0 and 1 may both be meant; allowed: " in reason(root, f"clash.parquet/{number}")[1]


def test_columns_of_plain_bytes_and_several_columns(root: Store) -> None:
    plain, labels = pa.array([b"zero", b"one"], pa.large_binary()), pa.array([1, 2])
    images = pa.array([{"bytes": b"i0", "path": "a"}, {"bytes": b"i1", "path": "b"}], IMAGE)
    root.put("plain.parquet", written({"label": labels, "jpg": plain}))
    assert fetched(root, "plain.parquet/1") == b"one"
    root.put("image.parquet", written({"depth": images, "image": images, "raw": plain}))
    assert fetched(root, "image.parquet/b") == b"i1"
    root.put("two.parquet", written({"left": images, "right": images}))
    assert "columns of images: left, right; allowed: one column" in reason(root, "two.parquet/a")[1]
    root.put("none.parquet", written({"label": labels}))
    assert "columns: label; allowed: one column" in reason(root, "none.parquet/0")[1]


def test_images_that_lie_elsewhere_are_told(root: Store) -> None:
    root.put("elsewhere.parquet", parquet_of([("a.jpg", None), ("b.jpg", b"b"), (None, None)]))
    assert fetched(root, "elsewhere.parquet/b.jpg") == b"b"
    for name in ("a.jpg", "2"):
        found, message = reason(root, f"elsewhere.parquet/{name}")
        assert (found, "its bytes are null" in message) == ("image_missing", True)


def test_limits_and_reasons_are_those_of_files(root: Store) -> None:
    assert reason(root, "other.parquet/a.jpg") == (
        "image_missing",
        f"{root.url('other.parquet')}: there is no such Parquet file",
    )
    assert reason(root, "a.jpg")[1].endswith("allowed: shard.parquet/key.jpg")
    assert reason(root, "one.parquet/cats/09.jpg", Limits(max_image_bytes=1008))[0] == "image_too_many_bytes"
    assert len(parquets(root).read_one_of_many("one.parquet/cats/09.jpg", 10)) == 10


def test_only_the_row_groups_that_are_needed_are_read_once_each(root: Store, asked: Asked, tmp_path: Path) -> None:
    big = [(f"{number:02d}.jpg", bytes([number]) * 300_000) for number in range(16)]
    root.put("big.parquet", parquet_of(big, compression="none", use_dictionary=False))
    indexes = Store(str(tmp_path))
    source = parquets(root, indexes)
    with ThreadPoolExecutor(8) as threads:
        keys = [f"big.parquet/{number:02d}.jpg" for number in (12, 4, 5, 6, 7, 13)]
        found = list(threads.map(lambda key: fetch_image(source, key, Limits()), keys))
    assert [each[0] for each in found] == [12, 4, 5, 6, 7, 13]
    assert sum(size for _, _, size in asked) < 3_000_000, "two of four groups of 1.2 MB, each once"
    [kept] = indexes.listing("plan/containers")
    asked.clear()
    assert fetch_image(parquets(root, indexes), "big.parquet/09.jpg", Limits()) == big[9][1]
    assert sum(size for _, _, size in asked) < 1_300_000, "in another process: its row group, no index anew"
    indexes.put(kept.key, b"no Parquet")
    assert fetch_image(parquets(root, indexes), "big.parquet/09.jpg", Limits()) == big[9][1]


def test_a_large_group_comes_in_pieces(root: Store, asked: Asked) -> None:
    images = [(None, bytes([number]) * 3_000_000) for number in range(4)]
    root.put("pieces.parquet", parquet_of(images, compression="none", use_dictionary=False))
    assert fetched(root, "pieces.parquet/2") == images[2][1]
    assert max(size for _, _, size in asked) == 4 << 20


def test_a_replaced_file_gets_another_index(root: Store, tmp_path: Path) -> None:
    indexes = Store(str(tmp_path))
    root.put("new.parquet", parquet_of([("a.jpg", b"old")]))
    assert fetch_image(parquets(root, indexes), "new.parquet/a.jpg", Limits()) == b"old"
    root.put("new.parquet", parquet_of([("b.jpg", b"..."), ("a.jpg", b"new")]))
    assert fetch_image(parquets(root, indexes), "new.parquet/a.jpg", Limits()) == b"new"


def test_a_damaged_file_and_a_damaged_group(root: Store, tmp_path: Path) -> None:
    whole = parquet_of(PHOTOS, compression="none", use_dictionary=False)
    root.put("torn.parquet", whole[:-100])
    assert "no Parquet: it ends with" in reason(root, "torn.parquet/cats/01.jpg")[1]
    root.put("torn.parquet", b"")
    assert reason(root, "torn.parquet/cats/01.jpg")[0] == "image_unreadable"
    at = whole.index(PHOTOS[4][1])  # the second group; its first page begins before its first image
    root.put("group.parquet", whole[: at - 40] + b"\xff" * 40 + whole[at:])
    assert fetched(root, "group.parquet/cats/03.jpg") == PHOTOS[3][1]
    assert fetched(root, "group.parquet/cats/09.jpg") == PHOTOS[9][1]
    assert reason(root, "group.parquet/cats/05.jpg")[0] == "image_unreadable"


def test_a_row_group_that_is_too_large_is_refused(root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_group, "LARGEST_GROUP_BYTES", 4_000)
    found, message = reason(root, "one.parquet/cats/05.jpg")
    assert (found, "allowed: 4000; write the file with smaller row groups" in message) == ("image_unreadable", True)
    # One large value in a dictionary, for many rows: small in the file, and large on the disk.
    root.put("bomb.parquet", parquet_of([(None, bytes(1000))] * 9, rows_a_group=9))
    assert fetched(root, "bomb.parquet/3") == bytes(1000)
    assert reason(root, "bomb.parquet/4")[0] == "image_unreadable"


def test_neither_storage_nor_a_full_disk_is_an_image_s_fault(
    root: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = parquets(root)
    fetch_image(source, "one.parquet/cats/00.jpg", Limits())

    def outage(self: Store, key: str, max_bytes: int, first: int = 0) -> bytes:
        raise StoreUnavailable("object storage failed")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "read_one_of_many", outage)
        for each in (source, parquets(root)):
            with pytest.raises(StoreUnavailable, match="object storage failed"):
                fetch_image(each, "one.parquet/cats/05.jpg", Limits())
    assert fetch_image(source, "one.parquet/cats/05.jpg", Limits()) == PHOTOS[5][1]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UnusableStorage, match="gone"):
        fetch_image(source, "one.parquet/cats/09.jpg", Limits())
