"""What a night finds of the images that are there."""

from __future__ import annotations

from pathlib import Path

from pipeline.library.changes import read_etags, write_etags
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.s3_server import S3Server


def test_images_are_sorted_also_where_the_storage_lists_them_otherwise(tmp_path: Path, s3: S3Server) -> None:
    store = Store(s3.bucket("etags"), Storage(endpoint_url=s3.endpoint_url))
    keys = ["a-b.png", "a.png", "a/b.png", "a/c.png", "b.png"]
    for key in reversed(keys):
        store.put(key, key.encode())
    listed = {entry.key: entry.etag for entry in store.listing("")}
    assert list(listed) != keys, "this server lists a folder before files whose names go on with - or ."
    write_etags(store, tmp_path / "etags.parquet")
    assert list(read_etags(tmp_path / "etags.parquet")) == [(key, listed[key]) for key in keys]
    assert [path.name for path in tmp_path.glob("*.unsorted")] == []
