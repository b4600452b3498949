"""How a job names tars: a pattern, below whose folder the keys are."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pipeline.config import InvalidJob, Job, parse_job
from pipeline.containers.pattern import container_and_member, matches, root_of, suffix_of
from pipeline.image_key import normal_key


def job_with(images: str) -> Job:
    return parse_job({"images": images, "clicks": "c.parquet", "output": "s3://b/labels"}, "job.yaml")


@pytest.mark.parametrize(
    ("images", "root"),
    [
        ("s3://b/shards/*.tar", "s3://b/shards/"),
        ("s3://b/shards/one.tar", "s3://b/shards/"),
        ("s3://b/*/part-*.tar", "s3://b/"),
        ("/data/shards/a-?.tar", "/data/shards/"),
        ("*.tar", ""),
        ("s3://b/photos/", "s3://b/photos/"),
        ("/data/photos.tar/", "/data/photos.tar/"),
        ("s3://b/data/train-*.parquet", "s3://b/data/"),
        ("/data/photos.parquet/", "/data/photos.parquet/"),
    ],
)
def test_keys_are_below_the_folder_of_the_containers(images: str, root: str) -> None:
    assert root_of(images) == root
    assert (suffix_of(images) is not None) == (root != images)


def test_a_key_names_a_container_and_its_member() -> None:
    assert container_and_member("a.tar/b.parquet/7", ".parquet") == ("a.tar/b.parquet", "7")
    assert container_and_member("x/shard-1.tar/cats/7.jpg", ".tar") == ("x/shard-1.tar", "cats/7.jpg")
    assert container_and_member("7.jpg", ".tar") is None
    assert container_and_member("shard-1.tar", ".tar") is None
    assert matches("x/part-1.tar", "s3://b/*/part-*.tar")
    assert not matches("part-1.tar", "s3://b/*/part-*.tar")
    assert not matches("x/y/part-1.tar", "s3://b/*/part-*.tar")


def test_full_addresses_of_members_are_keys_below_the_root() -> None:
    [root] = job_with("s3://b/shards/*.tar").images_roots
    assert normal_key("s3://b/shards/one.tar/7.jpg", root) == "one.tar/7.jpg"


def test_images_of_one_tar_follow_one_another_whatever_tars_are_called() -> None:
    keys = [f"{tar}/{name}" for tar in ("a.tar", "a.tar.tar", "a.tar-b.tar", "a!.tar", "é.tar") for name in "09~"]
    tars = [key.rpartition("/")[0] for key in sorted(keys)]
    assert sum(one != other for one, other in pairwise(tars)) == 4


@pytest.mark.parametrize(
    ("images", "found"),
    [
        ("s3://b/shards/*.tar.gz", "compressed tar"),
        ("s3://b/shards/one.tgz", "compressed tar"),
        ("s3://b/shards/{000..099}.tar", "braces"),
        ("s3://b/data/{0..9}.parquet", "braces"),
        ("s3://b/photos/*.jpg", "a pattern of images"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can(images: str, found: str) -> None:
    with pytest.raises(InvalidJob, match=f"images: found .*{found}.*allowed: "):
        job_with(images)
