"""Addresses in click files reach no further than the job does, and never what is link-local."""

from __future__ import annotations

import pytest

from pipeline.config import InvalidJob, parse_job
from pipeline.storage.filesystem import Storage
from pipeline.storage.reach import is_link_local, out_of_reach
from pipeline.storage.store import Store

OWN = ["s3://photos/2026/", "https://images.example:8443/a/", "s3://labels/"]


@pytest.mark.parametrize("address", ["a.jpg", "s3://other/a.jpg", "https://images.example/b.jpg"])
def test_the_jobs_own_protocols_and_hosts_are_reachable(address: str) -> None:
    assert out_of_reach(address, OWN) is None


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("/etc/passwd", "its protocol is file, the job's own are https, s3"),
        ("file:///etc/passwd", "its protocol is file"),
        ("http://images.example/a.jpg", "its protocol is http,"),
        ("https://elsewhere.example/a.jpg", "its host is elsewhere.example, the job's own are images.example"),
        ("https://169.254.169.254/latest/meta-data/", "link-local"),
        ("simplecache::s3://photos/a.jpg", "a chain"),
        ("memory://a.jpg", "its protocol is memory"),
    ],
)
def test_nothing_else_is(address: str, why: str) -> None:
    assert why in (out_of_reach(address, OWN) or "")


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "2852039166", "0xa9fea9fe", "169.254.43518", "[fe80::1%eth0]", "::ffff:169.254.1.1"]
)
def test_link_local_is_seen_however_it_is_written(host: str) -> None:
    assert is_link_local(host)
    assert not is_link_local("10.0.0.1")
    assert not is_link_local("images.example")


def test_a_name_or_a_redirect_that_leads_there_is_refused_when_it_is_connected_to() -> None:
    with pytest.raises(ValueError, match=r"169\.254\.1\.1 is a link-local address"):
        Store("http://169.254.1.1", Storage(give_up_s=5.0)).read("a.jpg")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": "S3://b/photos"}, "images: found 'S3://b/photos'; .*found protocol S3://.*allowed: s3://"),
        ({"output": "s4://b/labels"}, "output: .*found protocol s4://, which nobody here speaks"),
        ({"images": "http://169.254.169.254/a"}, "images: .*link-local addresses are refused"),
        ({"storage": {"endpoint_url": "http://169.254.169.254:80"}}, "link-local addresses are refused"),
    ],
)
def test_a_job_with_such_an_address_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        parse_job({"images": "a", "clicks": "b", "output": "c"} | changed, "job.yaml")
