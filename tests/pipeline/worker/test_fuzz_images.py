"""Damaged images: each gives pixels or a BadImage with a reason; never another exception, never a dead process."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import Limits
from pipeline.failure import BadImage
from pipeline.storage.store import Store
from pipeline.worker.images import FORMATS, decode_image, decoded_bytes, exif_orientation, fetch_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # which pytest would show one by one
DAMAGED = 2000
LIMITS = Limits(max_image_pixels=1_000_000, max_image_bytes=5_000_000)


def whole_files() -> dict[str, bytes]:
    """An image of every format in every mode that it can hold."""
    files = {}
    rng = np.random.default_rng(0)
    picture = Image.fromarray(np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)))
    with_alpha = picture.copy()
    with_alpha.putalpha(Image.linear_gradient("L").resize(picture.size))
    modes = {mode: picture.convert(mode) for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "F", "I")}
    modes |= {"RGBA": with_alpha, "LA": with_alpha.convert("LA"), "I;16": modes["I"].convert("I;16")}
    exif = Image.Exif()
    exif[0x0112] = 6
    for image_format in FORMATS:
        for mode, image in modes.items():
            for name, options in _variants(image_format, exif.tobytes()).items():
                sink = io.BytesIO()
                try:
                    image.save(sink, image_format, **options)
                except (OSError, ValueError, KeyError, RuntimeError):  # this format has no such mode or variant
                    continue
                files[f"{image_format} {mode} {name}"] = sink.getvalue()
    return files


def _variants(image_format: str, exif: bytes) -> dict[str, dict[str, object]]:
    frames = {"save_all": True, "append_images": [Image.new("RGB", (64, 48), "red")]}
    return {
        "JPEG": {"plain": {}, "progressive": {"progressive": True}, "exif": {"exif": exif}},
        "PNG": {"plain": {}, "animated": frames, "exif": {"exif": exif}},
        "WEBP": {"plain": {}, "lossless": {"lossless": True}, "animated": frames},
        "TIFF": {"plain": {}, "lzw": {"compression": "tiff_lzw"}, "deflate": {"compression": "tiff_deflate"},
                 "jpeg": {"compression": "jpeg"}, "pages": frames},
        "BMP": {"plain": {}},
        "GIF": {"plain": {}, "interlaced": {"interlace": True}, "animated": frames},
        "AVIF": {"plain": {}, "animated": frames, "exif": {"exif": exif}},
        "HEIF": {"plain": {}, "animated": frames},
    }[image_format]  # fmt: skip


def damaged_files(count: int) -> Iterator[tuple[str, bytes]]:
    """Whole files cut short, with bytes flipped, runs of zeros, or the head of another format before them."""
    rng = random.Random(0)
    files = sorted(whole_files().items())
    for number in range(count):
        name, data = files[number % len(files)]
        changed = bytearray(data)
        harms = rng.sample(["cut", "flip", "zeros", "splice", "numbers"], k=rng.randint(1, 2))
        for harm in harms:
            at = min(
                int(rng.expovariate(4 / len(changed))), len(changed) - 1
            )  # mostly heads: that is where formats differ
            if harm == "cut":
                del changed[max(1, at) :]
            elif harm == "flip":
                for _ in range(rng.randint(1, 8)):
                    changed[min(at + rng.randrange(64), len(changed) - 1)] ^= 1 << rng.randrange(8)
            elif harm == "zeros":
                run = changed[at : at + rng.randint(1, 200)]
                changed[at : at + len(run)] = bytes(len(run))
            elif harm == "splice":
                changed[: rng.randint(2, 64)] = rng.choice(files)[1][: rng.randint(2, 64)]
            else:
                number_of_bytes = rng.choice([2, 4])
                changed[at : at + number_of_bytes] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"])
        yield f"{number} {name} {'+'.join(harms)}", bytes(changed)


def outcome(store: Store, key: str) -> str:
    """What the labeler does with an image: "pixels", or the reason why there are none."""
    try:
        data = fetch_image(store, key, LIMITS)
        size = decoded_bytes(data, key, LIMITS)
        assert exif_orientation(data, key) in range(1, 9)
        pixels = decode_image(data, key, orientation="displayed" if key.endswith("1") else "stored")
    except BadImage as error:
        return error.failure.reason
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert 0 < pixels.nbytes == size, "the budget of waiting images was counted wrongly"
    return "pixels"


@pytest.mark.parametrize("share", range(4))
def test_damaged_images_are_pixels_or_a_reason(tmp_path: Path, share: int) -> None:
    store = Store(str(tmp_path))
    found: Counter[str] = Counter()
    for number, (name, data) in enumerate(damaged_files(DAMAGED)):
        if number % 4 != share:
            continue
        key = f"{number}"
        (tmp_path / key).write_bytes(data)
        try:
            found[outcome(store, key)] += 1
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    assert found.total() == DAMAGED // 4
    assert found["pixels"] > 20, "all is refused: the damage is too great to test anything"
    assert found["image_undecodable"] > 100


def test_every_whole_file_is_pixels_or_says_why_not(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for name, data in whole_files().items():
        store.put(name, data)
        expected = "image_unsupported" if name.split()[1] in ("F", "I") and "TIFF" in name else "pixels"
        assert outcome(store, name) == expected, name


def test_sizes_that_are_only_declared_take_no_memory() -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(bytes(1000)))
        + _chunk(b"IEND", b"")
    )
    with pytest.raises(BadImage, match="found 60000x60000 pixels") as caught:
        decoded_bytes(png, "x", Limits())
    assert caught.value.failure.reason == "image_too_many_pixels"


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_bomb_in_the_metadata_is_refused_or_ignored(tmp_path: Path, kind: bytes) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    content = {b"iCCP": b"n\0\0" + bomb, b"zTXt": b"n\0\0" + bomb, b"iTXt": b"n\0\1\0\0\0" + bomb}[kind]
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(sink, "PNG")
    png = sink.getvalue()
    after_head = png.index(b"IHDR") + 4 + 13 + 4
    store = Store(str(tmp_path))
    store.put("x", png[:after_head] + _chunk(kind, content) + png[after_head:])
    tracemalloc.start()
    try:
        assert outcome(store, "x") in ("pixels", "image_undecodable")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000, "200 MB were unpacked"
    finally:
        tracemalloc.stop()


def test_an_image_without_pixels_is_not_decodable(tmp_path: Path) -> None:
    sink = io.BytesIO()
    Image.new("L", (3, 3)).save(sink, "GIF")
    gif = bytearray(sink.getvalue())
    gif[6:10] = bytes(4)
    at = gif.index(b",")
    gif[at + 5 : at + 9] = bytes(4)
    store = Store(str(tmp_path))
    store.put("x", bytes(gif))
    assert outcome(store, "x") == "image_undecodable"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
