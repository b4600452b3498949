"""One image, one key: every spelling of an image becomes the same key, and what is ambiguous becomes none."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.image_key import normal_key, normal_keys, outside_root


@pytest.mark.parametrize("root", ["/data/photos", "/data/photos/", "/data//photos", "file:///data/photos/"])
@pytest.mark.parametrize(
    "spelling",
    [
        *("sub/x.jpg", "./sub/x.jpg", "sub//x.jpg", "sub/./x.jpg", ".//sub/x.jpg", "sub/x.jpg/"),
        *("/data/photos/sub/x.jpg", "file:///data/photos/sub/x.jpg", "FILE:///data/photos//sub/./x.jpg"),
    ],
)
def test_every_spelling_on_a_disk_is_one_key(root: str, spelling: str) -> None:
    assert normal_key(spelling, root) == "sub/x.jpg"
    assert normal_keys(pa.array([spelling, None, "a.jpg"]), [root]).to_pylist() == ["sub/x.jpg", None, "a.jpg"]


@pytest.mark.parametrize("root", ["s3://bucket/photos", "s3a://bucket/photos/", "S3://bucket/photos/"])
@pytest.mark.parametrize(
    "spelling",
    [
        "sub/x.jpg",
        "./sub/./x.jpg",
        "s3://bucket/photos/sub/x.jpg",
        "S3A://bucket/photos/./sub/x.jpg",
        "s3n://bucket/photos/sub/x.jpg",
    ],
)
def test_every_spelling_in_an_object_store_is_one_key(root: str, spelling: str) -> None:
    assert normal_key(spelling, root) == "sub/x.jpg"


def test_two_slashes_name_another_object_in_an_object_store() -> None:
    assert normal_key("sub//x.jpg", "s3://bucket/photos") == "sub//x.jpg"
    assert outside_root("sub//x.jpg") is None
    assert outside_root(normal_key("s3://bucket/photos//x.jpg", "s3://bucket/photos")) == "it is an address of its own"


@pytest.mark.parametrize(
    "name", ["a%20b.jpg", "a b#1+2?.jpg", "a[1].jpg", "..a..b.jpg", ".hidden/x.jpg", "図/ü.jpg", "..."]
)
@pytest.mark.parametrize("root", ["/data/photos", "s3://bucket/photos"])
def test_names_are_taken_as_they_stand(name: str, root: str) -> None:
    assert normal_key(name, root) == name
    assert normal_key(f"{root}/{name}", root) == name
    assert outside_root(name) is None


def test_a_relative_root_is_the_folder_it_names(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    assert normal_key(f"file://{tmp_path}/photos/a.jpg", "photos/") == "a.jpg"
    assert normal_key("photos/a.jpg", "photos/") == "photos/a.jpg"
    for name in ("photos/a.jpg", "./photos//a.jpg", "a.jpg", f"{tmp_path}/photos/a.jpg"):
        assert normal_key(name, f"{tmp_path}/photos/", "photos/") == "a.jpg", "below the root as the file has it"


@pytest.mark.parametrize(
    "key",
    [
        *("../a.jpg", "a/../../b.jpg", "a/../b.jpg", "/data/photos/../x", "a\\..\\b", "a\0", ".", "./", "/"),
        *("/etc/passwd", "/data/photos", "/data/photoshop/a.jpg", "s3://other/a.jpg", "file:///a", "http://h/a"),
    ],
)
def test_what_leaves_the_root_or_is_ambiguous_stays_outside(key: str) -> None:
    assert outside_root(normal_key(key, "/data/photos"))


def test_an_address_outside_has_one_spelling_too() -> None:
    assert normal_key("FILE:///other//a.jpg", "/data") == normal_key("/other/./a.jpg", "/data") == "/other/a.jpg"
    assert normal_key("S3A://b/./a.jpg", "/data") == "s3://b/a.jpg"


@given(st.text("ab./:%s3", max_size=12), st.sampled_from(["/a/b", "s3://a/b", "a"]))
def test_the_normal_form_of_a_normal_form_is_itself(key: str, root: str) -> None:
    once = normal_key(key, root)
    assert normal_key(once, root) == once
