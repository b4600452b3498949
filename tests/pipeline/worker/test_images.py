"""Images: every kind of file decodes in one defined way, and every refusal has its reason."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.config import Limits
from pipeline.failure import BadImage
from pipeline.storage.store import Store
from pipeline.worker.images import decode_image, decoded_bytes, fetch_image
from tests.pipeline.make_data import encode, picture


def file_of(image: Image.Image, file_format: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, file_format, **options)
    return sink.getvalue()


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


def test_sixteen_bit_samples_keep_their_upper_eight_bits() -> None:
    samples = (np.arange(72 * 96, dtype=np.uint16) * 9).reshape(72, 96)
    for file_format in ("PNG", "TIFF"):
        decoded = decode_image(file_of(Image.fromarray(samples), file_format), "x")
        np.testing.assert_array_equal(decoded[:, :, 1], (samples >> 8).astype(np.uint8))


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


def test_exif_orientation_is_ignored_unless_the_job_says_displayed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise for display
    data = file_of(Image.fromarray(picture()), "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(data, "x"), picture())
    np.testing.assert_array_equal(decode_image(data, "x", "displayed"), np.rot90(picture(), -1))


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
