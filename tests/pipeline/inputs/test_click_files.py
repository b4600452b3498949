"""What an address, a folder or a pattern names, on a disk, in memory and on a real S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.clicks import InvalidClicks
from pipeline.inputs.click_files import find_click_files
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.s3_server import S3Server

ODD = "odd #1+2 %20 [x]? é"


@pytest.fixture(scope="module")
def click_bucket(s3: S3Server) -> Store:
    return Store(s3.bucket("click-files"), Storage(endpoint_url=s3.endpoint_url))


@pytest.fixture(params=["disk", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return Store(str(tmp_path))
    if request.param == "memory":
        return Store(f"memory://{uuid.uuid4().hex}")
    bucket: Store = request.getfixturevalue("click_bucket")
    return Store(bucket.url(uuid.uuid4().hex[:8]), bucket.storage)


@pytest.fixture
def names(store: Store) -> Callable[[str], list[str]]:
    """The files below the store that a pattern names."""

    def find(pattern: str) -> list[str]:
        root = store.address("").rstrip("/") + "/"
        return [entry.key.removeprefix(root) for entry in find_click_files([store.url(pattern)], store)]

    return find


def put(store: Store, *keys: str) -> None:
    for key in keys:
        store.put(key, b"x")


def test_a_folder_means_the_parquet_files_in_it(store: Store, names: Callable[[str], list[str]]) -> None:
    spark = [
        "_SUCCESS",
        "_metadata",
        "_common_metadata",
        ".part-0.parquet.crc",
        "._a.parquet",
        "_temporary/0/t.parquet",
    ]
    put(store, *(f"c/dt=1/{name}" for name in ["a.parquet", "category=dog/b.snappy.parquet", "C.PARQUET", *spark]))
    found = ["c/dt=1/C.PARQUET", "c/dt=1/a.parquet", "c/dt=1/category=dog/b.snappy.parquet"]
    for pattern in ("c", "c/", "c/dt=1", "c/dt=*/", "c/dt=*"):
        assert names(pattern) == found, pattern


def test_a_pattern_leaves_out_bookkeeping_and_folders(store: Store, names: Callable[[str], list[str]]) -> None:
    put(store, "c/a.parquet", "c/_b.parquet", "c/_SUCCESS", "c/_metadata", "c/.a.parquet.crc", "c/old/z.parquet")
    assert names("c/*") == ["c/_b.parquet", "c/a.parquet"]
    assert names("c/_*") == ["c/_SUCCESS", "c/_b.parquet", "c/_metadata"], "what is written out is meant"


def test_a_name_that_is_there_is_meant_as_it_stands(store: Store, names: Callable[[str], list[str]]) -> None:
    put(store, f"{ODD}/{ODD}.parquet", "run [1]/a.parquet", "run 1/b.parquet")
    assert names(f"{ODD}/{ODD}.parquet") == names(ODD) == [f"{ODD}/{ODD}.parquet"]
    assert names("run [1]") == names("run [1]/*.parquet") == ["run [1]/a.parquet"]
    assert names("run [01]/*.parquet") == ["run 1/b.parquet"], "brackets are wildcards where no name has them"


@pytest.mark.parametrize(
    ("files", "pattern", "message"),
    [
        (["c/a.parquet"], "d/*.parquet", "d/\\*.parquet: no such file; expected at least one Parquet file of clicks"),
        (
            ["c/clicks.csv", "c/_SUCCESS"],
            "c",
            "no Parquet file is there; found 1 files .* such as .*clicks.csv; allowed: \\*.parquet",
        ),
        (["c/a.parquet", "c/_delta_log/0.json"], "c", "found a table of Delta Lake .* allowed: plain Parquet files"),
        (["c/data/a.parquet", "c/metadata/v1.metadata.json"], "c", "found a table of Apache Iceberg"),
    ],
)
def test_what_names_no_clicks_is_said(
    store: Store, names: Callable[[str], list[str]], files: list[str], pattern: str, message: str
) -> None:
    put(store, *files)
    with pytest.raises(InvalidClicks, match=message):
        names(pattern)


def test_files_left_out_are_counted(
    store: Store, names: Callable[[str], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    put(store, "c/a.parquet", "c/readme.md", "c/b.csv")
    assert names("c") == ["c/a.parquet"]
    assert "left out 2 files that are hidden or not named as Parquet, such as" in caplog.text


def test_links_to_files_count_and_those_that_lead_nowhere_do_not(tmp_path: Path) -> None:
    (tmp_path / "real.parquet").write_bytes(b"123")
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "latest.parquet").symlink_to(tmp_path / "real.parquet")
    (folder / "gone.parquet").symlink_to(tmp_path / "nothing")
    for pattern in (folder, folder / "latest.parquet", folder / "*.parquet"):
        (only,) = find_click_files([str(pattern)], Store(""))
        assert (only.key, only.size) == (f"file://{folder}/latest.parquet", 3)
    assert [entry.key for entry in Store(str(folder)).listing("")] == ["latest.parquet"]
