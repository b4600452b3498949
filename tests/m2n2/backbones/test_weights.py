from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from m2n2.backbones.manifest import MANIFEST
from m2n2.backbones.weights import resolve_weights, weights_digest
from m2n2.errors import InvalidWeights
from tests.weights import SPOILED, digest_of, write_weights


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "source")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


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


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_refuses_what_is_not_what_was_fetched(directory, cache, spoil, message):
    spoil(directory)
    with pytest.raises(InvalidWeights, match=message):
        resolve_weights(directory, cache)


def test_a_file_that_nobody_fetched_is_refused(directory, cache):
    (directory / "unet" / "more.safetensors").write_bytes(b"x")
    with pytest.raises(InvalidWeights, match=r"more\.safetensors is not listed"):
        resolve_weights(directory, cache)


def test_an_address_says_in_one_line_what_to_do(directory, cache):
    with pytest.raises(InvalidWeights, match=r"found an address; allowed: .*`m2n2 weights cache ADDRESS`") as refused:
        resolve_weights(directory.as_uri(), cache)
    assert "\n" not in str(refused.value)


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
