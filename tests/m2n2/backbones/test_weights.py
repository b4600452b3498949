from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import s3fs
import torch
from safetensors.torch import save_file

from m2n2.backbones import weights as weights_module
from m2n2.backbones.manifest import MANIFEST, manifest_of
from m2n2.backbones.weights import resolve_weights, upload_weights, weights_digest
from m2n2.errors import InvalidWeights

# One process of several that start together: counts its downloads as lines of a file, then resolves.
RESOLVE_AND_COUNT = """
import sys, time
from pathlib import Path
from m2n2.backbones import weights
url, cache, count, start = sys.argv[1:]
download = weights._download
def counted(*arguments):
    with open(count, "a") as file:
        file.write("downloaded\\n")
    time.sleep(0.5)  # long enough for every other process to come to the lock
    download(*arguments)
weights._download = counted
while not Path(start).exists():
    time.sleep(0.01)
print(weights.resolve_weights(url, cache=Path(cache)))
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A small directory of weights with its manifest."""
    root = tmp_path / "source"
    (root / "unet").mkdir(parents=True)
    (root / "unet" / "config.json").write_text(json.dumps({"layers": 2}))
    save_file({"a": torch.arange(1000.0)}, root / "unet" / "diffusion_pytorch_model.safetensors")
    (root / MANIFEST).write_text(manifest_of(root))
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def digest_of(directory: Path) -> str:
    return hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest()


def test_the_manifest_is_what_sha256sum_reads(directory):
    checked = subprocess.run(["sha256sum", "-c", MANIFEST], cwd=directory, capture_output=True, text=True, check=False)
    assert checked.returncode == 0
    assert checked.stdout.count(": OK") == 2


def test_a_local_directory_is_checked_and_used_as_it_is(directory, cache):
    assert resolve_weights(directory, cache) == directory
    assert resolve_weights(str(directory), cache, sha256=digest_of(directory)) == directory
    assert weights_digest(directory) == digest_of(directory)


def test_a_bare_name_is_found_in_the_cache(directory, monkeypatch, cache):
    cache.mkdir()
    directory.rename(cache / "mine")
    monkeypatch.setenv("M2N2_CACHE", str(cache))
    assert resolve_weights("mine") == cache / "mine"


def test_a_directory_without_manifest_has_the_digest_it_would_have_with_one(directory):
    digest = digest_of(directory)
    (directory / MANIFEST).unlink()
    assert weights_digest(directory) == digest
    assert resolve_weights(directory, sha256=digest) == directory
    with pytest.raises(InvalidWeights, match="the job allows"):
        resolve_weights(directory, sha256="0" * 64)


def change_a_file(root):
    (root / "unet" / "config.json").write_text("{}")


def remove_a_file(root):
    (root / "unet" / "config.json").unlink()


def list_a_pickle(root):
    (root / MANIFEST).write_text(f"{'0' * 64}  unet/model.bin\n")


def list_a_file_elsewhere(root):
    (root / MANIFEST).write_text(f"{'0' * 64}  ../secret.json\n")


def replace_the_manifest(root):
    (root / MANIFEST).write_text("<html>not found</html>")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_a_file, r"sha256 of unet/config\.json is 44136fa"),
        (remove_a_file, r"unet/config\.json is (missing|listed in SHA256SUMS but not there)"),
        (list_a_pickle, r"unet/model\.bin, allowed: .*pickles"),
        (list_a_file_elsewhere, "allowed: names inside the directory"),
        (replace_the_manifest, "found line '<html>"),
    ],
)
@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_refuses_what_is_not_what_was_fetched(directory, cache, spoil, message, remote):
    spoil(directory)
    with pytest.raises(InvalidWeights, match=message):
        resolve_weights(directory.as_uri() if remote else directory, cache)
    assert not list(cache.glob("by-sha256/*/*"))  # nothing half-copied is left


def test_a_file_that_nobody_fetched_is_refused_here_and_not_copied_from_there(directory, cache):
    (directory / "unet" / "more.safetensors").write_bytes(b"x")
    with pytest.raises(InvalidWeights, match=r"more\.safetensors is not listed"):
        resolve_weights(directory, cache)
    copy = resolve_weights(directory.as_uri(), cache)
    assert not (copy / "unet" / "more.safetensors").exists()


def test_a_flipped_bit_of_a_large_file_is_found(directory):
    file = directory / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InvalidWeights, match="diffusion_pytorch_model"):
        resolve_weights(directory)


def test_what_is_nowhere_says_what_is_allowed(cache):
    with pytest.raises(InvalidWeights, match="hub id such as org/name"):
        resolve_weights("no-such-weights", cache)


def test_object_storage_without_manifest_is_refused(tmp_path, cache):
    with pytest.raises(InvalidWeights, match="m2n2 weights fetch"):
        resolve_weights(tmp_path.as_uri(), cache)


def test_the_jobs_sha256_is_compared_before_anything_is_copied(directory, cache, monkeypatch):
    monkeypatch.setattr(weights_module, "_download", lambda *_: pytest.fail("copied"))
    with pytest.raises(InvalidWeights, match=f"{digest_of(directory)}, the job allows 000"):
        resolve_weights(directory.as_uri(), cache, sha256="0" * 64)


def test_a_copy_that_breaks_off_leaves_nothing(directory, cache, monkeypatch):
    def breaks_off(url, options, manifest, target):
        (target / "half").write_text("half")
        raise ConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(weights_module, "_download", breaks_off)
        with pytest.raises(ConnectionError):
            resolve_weights(directory.as_uri(), cache)
    assert [path.suffix for path in (cache / "by-sha256").iterdir()] == [".lock"]
    assert resolve_weights(directory.as_uri(), cache).is_dir()


def test_eight_processes_of_a_node_copy_once(directory, cache, tmp_path):
    count, start = tmp_path / "count", tmp_path / "start"
    command = [sys.executable, "-c", RESOLVE_AND_COUNT, directory.as_uri(), str(cache), str(count), str(start)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(8)]
    time.sleep(0.5)
    start.touch()
    places = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 8
    assert places == {str(cache / "by-sha256" / digest_of(directory))}
    assert count.read_text() == "downloaded\n"
    assert (Path(places.pop()) / "unet" / "config.json").exists()


def test_through_a_real_s3_server(s3, directory, cache):
    options = {"endpoint_url": s3.endpoint_url}
    s3fs.S3FileSystem(**options).mkdir("weights-test")
    url = "s3://weights-test/models/mine"
    upload_weights(directory, url, options)
    assert weights_digest(url, storage_options=options) == digest_of(directory)
    copy = resolve_weights(url, cache, options, sha256=digest_of(directory))
    assert manifest_of(copy) == manifest_of(directory)
    s3fs.S3FileSystem(**options).pipe_file("weights-test/models/mine/unet/config.json", b"{}")
    with pytest.raises(InvalidWeights, match=r"sha256 of unet/config\.json"):
        resolve_weights(url, cache / "other", options)
