"""Core-seconds an image: what the CPU does when network, operator, chain and upsampling are on a GPU.

CPU seconds of all threads, the least of `--repeats`, which other processes on the machine hardly change. `decode` is a
JPEG of quality 90; `resize` makes the network's input of Stable Diffusion, 1024 x 1024, and the working image of a grid
of 128 x 128; `refine` goes from the upsampled maps to the rows of the part: flood fill, candidates, thresholds, full
size, evidence, run lengths. Objects have eight clicks each. Driving the GPU is not in it.
"""

from __future__ import annotations

import io
import os
from functools import partial
from time import process_time
from unittest.mock import patch

import numpy as np
from PIL import Image

from benchmarks.head.case import make_attention, make_image, spread_points, warm_up
from benchmarks.head.timing import least
from m2n2 import Prompt, Scene, Settings
from m2n2.backbones.area_resize import area_resize
from m2n2.full_size import working_image, working_pixels
from m2n2.kernels.bounded_cache import BoundedCache
from m2n2.scene.click_maps import CLICK_CACHE_BYTES, ClickMaps
from pipeline.clicks import ObjectClicks
from pipeline.parts import mask_row
from pipeline.worker.images import decode_image

GRID, NETWORK_INPUT = 128, (1024, 1024)
MEGAPIXELS, CLICKS = (1.0, 12.0), (1, 8, 32)
CLICKS_AN_OBJECT = 8


def measure_cores(repeats: int) -> None:
    """Print the table."""
    warm_up()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; core-seconds, least of {repeats}\n")
    print("| megapixels | clicks | objects | decode | resize | refine | together |\n" + "|---:" * 7 + "|")
    for megapixels in MEGAPIXELS:
        image = make_image(None, megapixels)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=90)
        decode = least(partial(decode_image, file.getvalue(), "photo"), repeats, process_time)
        resize = least(partial(resized, image), repeats, process_time)
        scene = Scene(image, make_attention(None, image, GRID), overwrite_attention=True)
        for clicks in CLICKS:
            refine = refining(scene, image, clicks, repeats)
            objects = -(-clicks // CLICKS_AN_OBJECT)
            each = " | ".join(f"{value:.3f}" for value in (decode, resize, refine, decode + resize + refine))
            print(f"| {megapixels:g} | {clicks} | {objects} | {each} |", flush=True)
        del scene


def resized(image: np.ndarray) -> None:
    """What the network and the head are given."""
    area_resize(image, NETWORK_INPUT)
    working_image(image, working_pixels(Settings(), (GRID, GRID)))


def refining(scene: Scene, image: np.ndarray, clicks: int, repeats: int) -> float:
    """From upsampled maps, which are made before, to rows."""
    points = spread_points(clicks, image.shape[:2])
    groups = [points[first : first + CLICKS_AN_OBJECT] for first in range(0, clicks, CLICKS_AN_OBJECT)]
    prompts = [Prompt(group, [number % 2 == 0 for number in range(len(group))]) for group in groups]
    maps = dict(zip(points, scene._clicks.upsampled(points), strict=True))
    described = ObjectClicks("photo", "object", "object", (), None)

    def refine() -> None:
        scene._clicks._flooded, scene._reader._readings = (BoundedCache(CLICK_CACHE_BYTES) for _ in range(2))
        for mask in scene.masks(prompts):
            mask_row(described, mask.mask, mask.score, 0.0, mask.evidence)

    with patch.object(ClickMaps, "upsampled", lambda _, pixels: np.stack([maps[pixel] for pixel in pixels])):
        return least(refine, repeats, process_time)
