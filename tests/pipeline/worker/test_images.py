"""Images: every kind of file decodes in one defined way, and every refusal has its reason."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.config import Limits
from pipeline.failure import BadImage
from pipeline.storage.store import Store
from pipeline.worker.images import (
    FORMATS,
    decode_image,
    decoded_bytes,
    exif_orientation,
    fetch_image,
    unread_formats,
)
from tests.pipeline.make_data import encode, picture


def file_of(image: Image.Image, file_format: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, file_format, **options)
    return sink.getvalue()


def deep_png(samples: np.ndarray) -> bytes:
    """A PNG of (H, W, 1, 3 or 4) uint16 samples, which Pillow does not write."""
    height, width, channels = samples.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "WEBP"])
def test_lossless_formats_decode_to_the_stored_pixels(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    np.testing.assert_array_equal(decode_image(encode(picture(), file_format, **options), "x"), picture())


def test_jpeg_and_gif_decode_to_nearly_the_stored_pixels() -> None:
    for data in (encode(picture(), "JPEG", quality=98), file_of(Image.fromarray(picture()).quantize(), "GIF")):
        decoded = decode_image(data, "x")
        assert decoded.shape == (72, 96, 3)
        assert np.abs(decoded.astype(int) - picture().astype(int)).mean() < 3


def test_grayscale_palette_and_cmyk_become_rgb() -> None:
    gray = Image.fromarray(picture()).convert("L")
    decoded = decode_image(file_of(gray, "PNG"), "x")
    np.testing.assert_array_equal(decoded, np.repeat(np.asarray(gray)[:, :, None], 3, axis=2))
    palette = Image.fromarray(picture()).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(decode_image(file_of(palette, "PNG"), "x"), np.asarray(palette.convert("RGB")))
    cmyk = Image.fromarray(picture()).convert("CMYK")
    np.testing.assert_array_equal(decode_image(file_of(cmyk, "TIFF"), "x"), np.asarray(cmyk.convert("RGB")))
    one_bit = Image.fromarray(picture()).convert("1")
    assert set(np.unique(decode_image(file_of(one_bit, "PNG"), "x"))) == {0, 255}


def test_sixteen_bits_in_use_keep_their_upper_eight() -> None:
    samples = (np.arange(72 * 96, dtype=np.uint16) * 9).reshape(72, 96)
    for file_format in ("PNG", "TIFF"):
        decoded = decode_image(file_of(Image.fromarray(samples), file_format), "x")
        np.testing.assert_array_equal(decoded[:, :, 1], (samples >> 8).astype(np.uint8))


@pytest.mark.parametrize("bits", [7, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_samples_are_scaled_by_the_bits_in_use(bits: int, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 1 << bits, (20, 30, channels)).astype(np.uint16)
    samples[0, 0, :3] = (1 << bits) - 1
    samples[..., 3:] = 65535  # opaque
    expected = (samples[..., :3] >> max(0, bits - 8)).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(deep_png(samples), "x"), np.broadcast_to(expected, (20, 30, 3)))


def test_sixteen_bit_transparency_has_its_own_bits() -> None:
    samples = np.full((4, 4, 4), 4095, np.uint16)
    samples[0, :, 3] = 0
    samples[:, :, :3] = 1000
    samples[3, 3, :3] = 4095
    decoded = decode_image(deep_png(samples), "x")
    assert (decoded[0] == 255).all(), "transparent: white"
    assert (decoded[1] == 1000 >> 4).all(), "opaque at 4095"


def test_sixteen_bit_tiff_with_white_as_zero_is_not_a_negative() -> None:
    samples = np.arange(96, dtype=np.uint16).reshape(8, 12) * 40
    tiff = bytearray(file_of(Image.fromarray(samples), "TIFF"))
    black_is_zero = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    at = bytes(tiff).index(black_is_zero)
    tiff[at : at + len(black_is_zero)] = struct.pack("<HHIHH", 262, 3, 1, 0, 0)
    np.testing.assert_array_equal(decode_image(bytes(tiff), "x")[:, :, 0], 255 - (samples >> 4))


def test_transparency_is_laid_over_white() -> None:
    pixels = np.dstack([picture(), np.full((72, 96), 255, np.uint8)])
    pixels[:10, :, 3] = 0
    decoded = decode_image(file_of(Image.fromarray(pixels), "PNG"), "x")
    assert (decoded[:10] == 255).all()
    np.testing.assert_array_equal(decoded[10:], picture()[10:])


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
    for file_format in ("GIF", "TIFF", "PNG"):
        data = file_of(frames[0], file_format, save_all=True, append_images=frames[1:])
        assert (np.abs(decode_image(data, "x").astype(int) - 10) <= 1).all()


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_ignored_unless_the_job_says_displayed(file_format: str, orientation: int) -> None:
    if file_format not in FORMATS:
        pytest.skip("this Pillow reads no AVIF")
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}.get(file_format, {})
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(Image.fromarray(picture()), file_format, exif=exif.tobytes(), **lossless)
    displayed = ImageOps.exif_transpose(Image.open(io.BytesIO(encode(picture(), exif=exif))))
    assert exif_orientation(data, "x") == orientation
    for how, expected in (("stored", picture()), ("displayed", np.asarray(displayed))):
        decoded = decode_image(data, "x", how)  # type: ignore[arg-type]
        assert decoded.shape == expected.shape
        assert np.abs(decoded.astype(int) - expected.astype(int)).max() <= (9 if file_format == "AVIF" else 0)


def test_heic_is_read_turned_as_it_says_itself() -> None:
    pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(Image.fromarray(picture()), "HEIF", quality=100, exif=exif.tobytes())
    assert exif_orientation(data, "x") == 1
    for how in ("stored", "displayed"):
        decoded = decode_image(data, "x", how)  # type: ignore[arg-type]
        assert np.abs(decoded.astype(int) - np.rot90(picture(), -1).astype(int)).mean() < 3


@pytest.mark.parametrize(
    ("start", "found"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC; to read it: pip install 'm2n2[heif]'"),
        (b"\0\0\0\x18ftypavif", "AVIF; to read it: pip install 'pillow>=11.3'"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"P6 8 8 255\n", "PNM"),
    ],
)
def test_a_format_that_is_not_read_is_named(start: bytes, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.worker.images.FORMATS", ("JPEG", "PNG"))
    monkeypatch.setattr("pipeline.worker.images.UNREAD", unread_formats(readable=("JPEG", "PNG")))
    with pytest.raises(BadImage, match=re.escape(f"x: found {found}; allowed: JPEG, PNG")) as caught:
        decoded_bytes(start + bytes(200), "x", Limits())
    assert caught.value.failure.reason == "image_unsupported"


def test_a_thumbnail_of_a_camera_raw_file_is_refused() -> None:
    for tag, value in ((254, 1), (50706, b"\1\4\0\0")):
        data = file_of(Image.fromarray(picture()), "TIFF", tiffinfo={tag: value})
        with pytest.raises(BadImage, match="a TIFF whose first page is a thumbnail") as caught:
            decoded_bytes(data, "x", Limits())
        assert caught.value.failure.reason == "image_unsupported"


JPEGS: list[dict[str, Any]] = [
    {},
    {"progressive": True},
    {"quality": 95, "subsampling": 0},
    {"restart_marker_blocks": 1},
]


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("kind", ["noise", "discs", "grey"])
def test_a_jpeg_without_its_end_is_read_if_no_pixel_is_missing(options: dict[str, Any], kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (72, 96, 3), np.uint8)
    pixels = {"noise": noise, "discs": picture(), "grey": np.full((72, 96, 3), 128, np.uint8)}[kind]
    data = encode(pixels, "JPEG", **options)
    whole = decode_image(data, "x")
    for cut in (1, 2):
        np.testing.assert_array_equal(decode_image(data[:-cut], "x"), whole)
    refused = 0
    for cut in range(3, 40):
        try:
            np.testing.assert_array_equal(decode_image(data[:-cut], "x"), whole, f"pixels made up, {cut} bytes cut")
        except BadImage:
            refused += 1
    assert refused > 25


@pytest.mark.parametrize(("mode", "file_format"), [("F", "TIFF"), ("I", "TIFF")])
def test_samples_of_unknown_range_are_refused(mode: str, file_format: str) -> None:
    with pytest.raises(BadImage, match="found samples of mode") as caught:
        decode_image(file_of(Image.new(mode, (4, 4)), file_format), "x.tif")
    assert caught.value.failure.reason == "image_unsupported"


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"%PDF-1.7", encode(picture())[:20]])
def test_what_is_no_image_is_refused_with_its_first_bytes(data: bytes) -> None:
    with pytest.raises(BadImage, match=r"photos/x: not an image; allowed: JPEG.*starts with") as caught:
        decoded_bytes(data, "photos/x", Limits())
    assert caught.value.failure.reason == "image_undecodable"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_image_is_refused(file_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encode(noise, file_format)
    with pytest.raises(BadImage) as caught:
        decode_image(data[: len(data) // 2], "x")
    assert caught.value.failure.reason == "image_undecodable"


def test_the_limit_on_pixels_is_checked_before_decoding() -> None:
    data = encode(picture())
    assert decoded_bytes(data, "x", Limits(max_image_pixels=96 * 72)) == 3 * 96 * 72
    with pytest.raises(BadImage, match=r"found 96x72 pixels; allowed: 6911 \(limits.max_image_pixels\)") as caught:
        decoded_bytes(data, "x", Limits(max_image_pixels=96 * 72 - 1))
    assert caught.value.failure.reason == "image_too_many_pixels"


def test_fetching_names_what_is_missing_or_too_large(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("a.png", b"0123456789")
    assert fetch_image(store, "a.png", Limits(max_image_bytes=10)) == b"0123456789"
    with pytest.raises(BadImage) as caught:
        fetch_image(store, "a.png", Limits(max_image_bytes=9))
    assert caught.value.failure.reason == "image_too_many_bytes"
    with pytest.raises(BadImage, match="there is no such object") as caught:
        fetch_image(store, "b.png", Limits())
    assert caught.value.failure.reason == "image_missing"
    assert caught.value.failure.retryable
