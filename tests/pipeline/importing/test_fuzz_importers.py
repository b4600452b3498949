"""Damaged files of every importer: refused in one line or counted, never a crash, and nothing half written."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from pipeline.clicks import InvalidClicks
from pipeline.importing.import_clicks import FORMATS, FormatName
from tests.pipeline.importing.test_formats import SAMPLES
from tests.pipeline.importing.writers import CLICKS, imported, write_csv, write_keypoints, write_label_studio

FILES = 300
SEED = 14
PIECES = [b"null", b"1e999", b"-1", b"[", b'"', b"\x00", b"\xed\xa0\x80", b"{}"]
VIA = (
    '{"a.png1": {"filename": "a.png", "regions": [{"shape_attributes": {"name": "point", "cx": 5, "cy": 6}, '
    '"region_attributes": {"class": "cat", "object": "1"}}, {"shape_attributes": {"name": "rect", "x": 1, "y": 2, '
    '"width": 10, "height": 8}, "region_attributes": {"class": {"dog": true}}}]}}'
)
MASKS = (
    '{"images": [{"id": 1, "file_name": "a", "width": 9, "height": 7}], "categories": [{"id": 1, "name": "c"}], '
    '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 7, 1, 7, 6, 1, 6]]}, '
    '{"id": 2, "image_id": 1, "category_id": 1, "segmentation": {"size": [7, 9], "counts": "92230201V1"}}]}'
)
JSON_LINES = '{"image": "a.png", "object": "1", "x": 3.5, "y": 4, "label": true}\n' * 3


def samples(folder: Path) -> dict[FormatName, Path]:
    """A sound file of every format."""
    texts = {"via.json": VIA, "masks.json": MASKS, "clicks.jsonl": JSON_LINES}
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "clicks.tsv").write_text(write_csv(CLICKS, folder / "clicks.csv").read_text().replace(",", "\t"))
    (folder / "boxes.csv").write_text("image,x0,y0,x1,y1,category\na,1,2,30,40,cat\nb,5,6,7.5,8,dog\n")
    shutil.copytree(SAMPLES / "yolo", folder / "yolo")
    return {
        "csv": folder / "clicks.csv",
        "tsv": folder / "clicks.tsv",
        "jsonl": folder / "clicks.jsonl",
        "boxes": folder / "boxes.csv",
        "coco-keypoints": write_keypoints(CLICKS, folder / "keypoints.json"),
        "coco-boxes": SAMPLES / "boxes.json",
        "coco-masks": folder / "masks.json",
        "labelstudio": write_label_studio(CLICKS, folder / "tasks.json"),
        "cvat": SAMPLES / "cvat.xml",
        "via": folder / "via.json",
        "yolo": folder / "yolo" / "labels" / "a.txt",
    }


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The file cut off, with bytes changed, a piece twice, or a value in it replaced by another."""
    at, kind = chance.randrange(len(data)), chance.randrange(5)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + chance.randbytes(chance.randrange(1, 4)) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[max(0, at - 30) :]
    if kind == 3:
        return (
            data[:at]
            + chance.choice([b"null", b"1e999", b"-1", b"[", b'"', b"\x00", b"\xed\xa0\x80", b"{}"])
            + data[at:]
        )
    digits = [place for place, byte in enumerate(data) if chr(byte).isdigit()]
    place = chance.choice(digits)
    return data[:place] + chance.choice([b"1e300", b"nan", b'"x"', b"999999999999999999999", b"-0"]) + data[place + 1 :]


@pytest.mark.parametrize("form", list(FORMATS))
def test_damaged_files_are_refused_or_counted(tmp_path: Path, form: FormatName) -> None:
    source, target = samples(tmp_path)[form], tmp_path / "out" / "clicks.parquet"
    sound, chance = source.read_bytes(), random.Random(f"{SEED} {form}")
    source = tmp_path / "damaged" if form != "yolo" else source
    read, refusals = 0, []
    for number in range(FILES // len(FORMATS) + 1):
        source.write_bytes(damaged(sound, chance))
        try:
            imported(tmp_path / "yolo" if form == "yolo" else source, form, target, skip_bad=number % 2 == 0)
            read += 1
            shutil.rmtree(target.parent)
        except InvalidClicks as error:
            refusals.append(str(error))
        assert not target.parent.exists(), "a refused import left something behind"
    assert read
    assert refusals
    assert not any("\n" in refusal for refusal in refusals)
