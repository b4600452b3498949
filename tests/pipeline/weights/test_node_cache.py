from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import s3fs

from m2n2.backbones.manifest import manifest_of
from m2n2.errors import InvalidWeights
from pipeline.storage.filesystem import Storage
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Store
from pipeline.weights.node_cache import upload_weights, weights_digest, weights_on_this_node
from tests.s3_server import S3Server, free_ports
from tests.weights import SPOILED, digest_of, write_weights

# One process of several that start together: counts its downloads as lines of a file, then asks for the weights.
ASK_AND_COUNT = """
import sys, time
from pathlib import Path
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from pipeline.weights.node_cache import weights_on_this_node
address, cache, count, start = sys.argv[1:]
get_file = Store.get_file
def counted(self, key, target):
    with open(count, "a") as file:
        file.write(key + "\\n")
    time.sleep(0.2)  # long enough for every other process to come to the lock
    get_file(self, key, target)
Store.get_file = counted
while not Path(start).exists():
    time.sleep(0.01)
print(weights_on_this_node(address, Storage(), cache=Path(cache)))
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "source")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_what_is_no_address_is_left_to_the_backbone(directory, cache):
    assert weights_on_this_node("dinov2-small", Storage(), cache=cache) == "dinov2-small"
    assert weights_digest(str(directory), Storage()) == digest_of(directory)
    assert not cache.exists()


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_refuses_what_is_not_what_was_fetched(directory, cache, spoil, message):
    spoil(directory)
    with pytest.raises(InvalidWeights, match=message):
        weights_on_this_node(directory.as_uri(), Storage(), cache=cache)
    assert not list(cache.glob("by-sha256/*/*"))  # nothing half-copied is left


def test_a_file_that_nobody_fetched_is_not_copied(directory, cache):
    (directory / "unet" / "more.safetensors").write_bytes(b"x")
    copy = Path(weights_on_this_node(directory.as_uri(), Storage(), cache=cache))
    assert not (copy / "unet" / "more.safetensors").exists()


def test_object_storage_without_manifest_is_refused(tmp_path, cache):
    with pytest.raises(InvalidWeights, match="m2n2 weights fetch"):
        weights_on_this_node(tmp_path.as_uri(), Storage(), cache=cache)


def test_the_jobs_sha256_is_compared_before_anything_is_copied(directory, cache, monkeypatch):
    monkeypatch.setattr(Store, "get_file", lambda *_: pytest.fail("copied"))
    with pytest.raises(InvalidWeights, match=f"{digest_of(directory)}, the job allows 000"):
        weights_on_this_node(directory.as_uri(), Storage(), sha256="0" * 64, cache=cache)


def test_a_copy_that_breaks_off_leaves_nothing(directory, cache, monkeypatch):
    def breaks_off(store, key, target):
        target.write_text("half")
        raise ConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "get_file", breaks_off)
        with pytest.raises(ConnectionError):
            weights_on_this_node(directory.as_uri(), Storage(), cache=cache)
    assert [path.suffix for path in (cache / "by-sha256").iterdir()] == [".lock"]
    assert Path(weights_on_this_node(directory.as_uri(), Storage(), cache=cache)).is_dir()


@pytest.mark.parametrize("damage", ["another byte", "a file is gone", "the manifest is gone"])
def test_a_copy_that_was_damaged_is_made_again(directory, cache, damage):
    copy = Path(weights_on_this_node(directory.as_uri(), Storage(), cache=cache))
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    sound = weights.read_bytes()
    if damage == "another byte":
        weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    else:
        (weights if damage == "a file is gone" else copy / "SHA256SUMS").unlink()
    assert weights_on_this_node(directory.as_uri(), Storage(), cache=cache) == str(copy)
    assert weights.read_bytes() == sound
    assert (copy / "SHA256SUMS").exists()


def test_eight_processes_of_a_node_copy_once(directory, cache, tmp_path):
    count, start = tmp_path / "count", tmp_path / "start"
    command = [sys.executable, "-c", ASK_AND_COUNT, directory.as_uri(), str(cache), str(count), str(start)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(8)]
    time.sleep(0.5)
    start.touch()
    places = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 8
    assert places == {str(cache / "by-sha256" / digest_of(directory))}
    assert sorted(count.read_text().split()) == ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    assert (Path(places.pop()) / "unet" / "config.json").exists()


def test_through_a_real_s3_server(s3, directory, cache):
    storage = Storage(endpoint_url=s3.endpoint_url)
    server = s3fs.S3FileSystem(endpoint_url=s3.endpoint_url)
    server.mkdir("weights-test")
    address = "s3://weights-test/models/mine"
    upload_weights(directory, address, storage)
    assert weights_digest(address, storage) == digest_of(directory)
    copy = Path(weights_on_this_node(address, storage, sha256=digest_of(directory), cache=cache))
    assert manifest_of(copy) == manifest_of(directory)
    server.pipe_file("weights-test/models/mine/unet/config.json", b"{}")
    with pytest.raises(InvalidWeights, match=r"sha256 of unet/config\.json"):
        weights_on_this_node(address, storage, cache=cache / "other")


@pytest.mark.slow  # a server of its own, stopped and started
def test_storage_that_is_away_for_a_moment_is_waited_for(directory, cache, tmp_path):
    server = S3Server(tmp_path / "server")
    server.start()
    try:
        storage = Storage(endpoint_url=server.endpoint_url, give_up_s=60.0)
        address = f"{server.bucket('weights')}/mine"
        upload_weights(directory, address, storage)
        server.stop()
        back = threading.Timer(2.0, server.start)
        back.start()
        assert Path(weights_on_this_node(address, storage, cache=cache)).is_dir()
        back.join()
    finally:
        server.stop()


def test_storage_that_does_not_answer_is_tried_for_as_long_as_the_job_says(cache):
    (port,) = free_ports(1)
    nobody = Storage(endpoint_url=f"http://127.0.0.1:{port}", give_up_s=2.0)
    with pytest.raises(StoreUnavailable, match="failed for 2 s"):
        weights_on_this_node("s3://bucket/weights", nobody, cache=cache)
