"""Data sets as they lie on disks: what is found in each layout, and what is refused."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import InvalidJob
from pipeline.evaluation.checksums import sums_of_known_set, write_sums
from pipeline.evaluation.truths import KNOWN_SETS, InvalidTruth, TruthData, find_truths
from pipeline.storage.store import Store
from tests.conftest import SHARED
from tests.pipeline.evaluation.data import picture, png, write_coco, write_folders


def masks_of(data: TruthData) -> dict[tuple[str, str], np.ndarray]:
    return {(image.key, each.name): data.mask(image, each, (40, 56)) for image in data.images for each in image.objects}


@pytest.mark.parametrize("folders", [("images", "masks"), ("img", "gt"), ("data_GT", "boundary_GT")])
def test_a_folder_of_images_and_one_of_masks(tmp_path: Path, folders: tuple[str, str]) -> None:
    write_folders(tmp_path, 2, *folders)
    found = masks_of(find_truths(Store(str(tmp_path))))
    names = [(f"{folders[0]}/{seed}.png", f"{seed}#{number}") for seed in (0, 1) for number in (1, 2)]
    assert list(found) == names
    for (_, name), mask in found.items():
        seed, number = name.split("#")
        assert np.array_equal(mask, picture(int(seed))[1][int(number) - 1])


def test_any_value_above_zero_is_the_object_whatever_the_masks_format(tmp_path: Path) -> None:
    write_folders(tmp_path, 1)
    disc = picture(0)[1][0]
    for name in ("0#1", "0#2"):
        (tmp_path / "masks" / f"{name}.png").unlink()
    (tmp_path / "masks/0.png").write_bytes(png(np.stack([disc, 0 * disc, 0 * disc], axis=2).astype(np.uint8)))
    (mask,) = masks_of(find_truths(Store(str(tmp_path)))).values()
    assert np.array_equal(mask, disc)


@pytest.mark.parametrize("address", ["", "/instances.json"])
def test_coco_instances_without_crowds(tmp_path: Path, address: str) -> None:
    write_coco(tmp_path, 2)
    found = masks_of(find_truths(Store(f"{tmp_path}{address}")))
    assert list(found) == [("images/0.png", "0"), ("images/0.png", "1"), ("images/1.png", "10"), ("images/1.png", "11")]
    for (key, _), mask in zip(list(found)[:2], found.values(), strict=False):
        assert key == "images/0.png"
        assert mask.any()
    assert np.array_equal(found["images/1.png", "10"], picture(1)[1][0])
    assert np.array_equal(found["images/1.png", "11"], picture(1)[1][1])


def test_sbd_counts_its_instances(tmp_path: Path) -> None:
    from scipy.io import savemat

    pixels, (disc, square) = picture(0)
    for folder in ("img", "inst"):
        (tmp_path / folder).mkdir()
    (tmp_path / "img/a.jpg").write_bytes(png(pixels))
    segmentation = disc.astype(np.uint8) + 2 * square.astype(np.uint8)
    savemat(tmp_path / "inst/a.mat", {"GTinst": {"Segmentation": segmentation}})
    savemat(tmp_path / "inst/b.mat", {"GTinst": {"Segmentation": segmentation}})
    (tmp_path / "val.txt").write_text("a\n")
    found = masks_of(find_truths(Store(str(tmp_path))))
    assert list(found) == [("img/a.jpg", "1"), ("img/a.jpg", "2")]
    assert np.array_equal(found["img/a.jpg", "2"], square)


def test_the_limit_takes_the_first_images(tmp_path: Path) -> None:
    write_folders(tmp_path, 3)
    assert [image.key for image in find_truths(Store(str(tmp_path)), limit=2).images] == [
        "images/0.png",
        "images/1.png",
    ]


def test_a_list_of_sums_is_written_once_and_checked_from_then_on(tmp_path: Path) -> None:
    write_folders(tmp_path, 1)
    data = find_truths(Store(str(tmp_path)))
    assert data.keys == ["images/0.png", "masks/0#1.png", "masks/0#2.png"]
    written = write_sums(data.store, data.keys)
    checked = subprocess.run(["sha256sum", "-c", written], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert checked.stdout.count(": OK") == 3
    assert find_truths(Store(str(tmp_path))).sums.keys() == set(data.keys)
    with pytest.raises(InvalidJob, match="there is a list already"):
        write_sums(data.store, data.keys)


def test_the_list_of_a_known_set_is_held_to_a_copy_of_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listed = sums_of_known_set("grabcut")
    assert len(listed) == 100
    assert len({Path(key).stem for key in listed}) == 50
    assert sums_of_known_set("davis") == {}  # no copy was at hand
    monkeypatch.setitem(KNOWN_SETS, "grabcut", 1)
    for key in ("images/doll.png", "masks/doll.png"):
        (tmp_path / key).parent.mkdir()
        (tmp_path / key).write_bytes(png(np.full((4, 4), 9, np.uint8)))
    data = find_truths(Store(str(tmp_path)), "grabcut")
    with pytest.raises(InvalidTruth, match=r"images/doll.png: sha256 is [0-9a-f]{64}, the list of grabcut has"):
        data.read("images/doll.png")
    (tmp_path / "masks/doll.png").rename(tmp_path / "masks/doll.bmp")
    assert find_truths(Store(str(tmp_path)), "grabcut").sums == {}
    assert "1 of 2 files are not in the list of grabcut" in caplog.text


@pytest.mark.skipif(not (SHARED / "datasets").is_dir(), reason="../shared/datasets is not here")
def test_the_copy_at_hand_is_the_one_that_is_listed() -> None:
    data = find_truths(Store(str(SHARED / "datasets/grabcut")), "grabcut")
    assert data.sums_source == "the list of grabcut"
    assert all(data.read(key) for key in data.keys)


class TestRefused:
    def test_a_known_set_of_another_size(self, tmp_path: Path) -> None:
        write_folders(tmp_path, 3)
        with pytest.raises(InvalidTruth, match="found 6 objects, grabcut has 50"):
            find_truths(Store(str(tmp_path)), "grabcut")

    def test_a_folder_that_is_no_data_set(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidTruth, match="no data set is here; allowed: images/ and masks/"):
            find_truths(Store(str(tmp_path)))

    def test_an_image_without_a_mask_and_a_mask_without_an_image(self, tmp_path: Path) -> None:
        write_folders(tmp_path, 2)
        (tmp_path / "images/new.png").write_bytes(png(picture(0)[0]))
        with pytest.raises(InvalidTruth, match=r"images/new.png: this image has no mask"):
            find_truths(Store(str(tmp_path)))
        (tmp_path / "images/new.png").unlink()
        (tmp_path / "images/1.png").unlink()
        with pytest.raises(InvalidTruth, match=r"masks/1#1.png: this mask has no image"):
            find_truths(Store(str(tmp_path)))

    def test_a_mask_of_another_size_and_an_empty_one(self, tmp_path: Path) -> None:
        write_folders(tmp_path, 1)
        data = find_truths(Store(str(tmp_path)))
        with pytest.raises(InvalidTruth, match=r"masks/0#1.png: the mask has 56x40 pixels, its image 10x10"):
            data.mask(data.images[0], data.images[0].objects[0], (10, 10))
        (tmp_path / "masks/0#1.png").write_bytes(png(np.zeros((40, 56), np.uint8)))
        with pytest.raises(InvalidTruth, match=r"masks/0#1.png: the mask has no pixel above 0"):
            data.mask(data.images[0], data.images[0].objects[0], (40, 56))

    def test_a_file_that_is_not_the_one_the_list_of_sums_says(self, tmp_path: Path) -> None:
        write_folders(tmp_path, 1)
        files = sorted(path for path in tmp_path.rglob("*.png"))
        lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(tmp_path)}" for path in files]
        (tmp_path / "SHA256SUMS").write_text("\n".join(lines) + "\n")
        data = find_truths(Store(str(tmp_path)))
        assert len(masks_of(data)) == 2
        (tmp_path / "masks/0#1.png").write_bytes(png(np.full((40, 56), 255, np.uint8)))
        with pytest.raises(InvalidTruth, match=r"masks/0#1.png: sha256 is [0-9a-f]{64}, .*SHA256SUMS has [0-9a-f]{64}"):
            masks_of(data)
