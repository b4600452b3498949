"""A picture of the stages: three panels above, three below, each with its name and its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from m2n2.explain.stages import Stages
from m2n2.prompt import Prompt

PANEL_WIDTH = 420
GAP, CAPTION = 12, 50
# Dark to light, so that it also reads in grey: black, violet, red, yellow, white.
COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)
INK, PAPER, LINE, GRID = (30, 30, 30), (255, 255, 255), (188, 55, 84), (225, 225, 225)
LIT = np.array([255, 80, 60], np.float32)


def draw_stages(stages: Stages, prompt: Prompt, image_size: tuple[int, int]) -> Image.Image:
    """The picture of an image's stages; `image_size` is its (width, height), in which the prompt's points are."""
    height = round(PANEL_WIDTH * stages.image_hw3.shape[0] / stages.image_hw3.shape[1])
    size = PANEL_WIDTH, height
    attention, steps = stages.attention, stages.markov_map
    threshold, mask = stages.mask.thresholds[0], stages.mask
    panels = [
        (_heat(attention**0.5, size), "1 Attention of the click", f"{attention.shape[1]} x {attention.shape[0]} cells"),
        (_heat(-steps, size), "2 Markov-map", f"1 to {steps.max():.0f} steps until the chain arrives"),
        (_heat(-stages.upsampled_hw, size), "3 Upsampled along colours", _pixels(stages.image_hw3)),
        (_heat(-stages.flooded_hw, size), "4 Flooded from the click", "what is not joined to it is far"),
        (_curve(stages, size), "5 Score of every threshold", f"the best is {threshold:.3f}"),
        (_mask(stages, size), "6 Mask", f"{mask.mask.mean():.1%} of the image, score {mask.score:.2f}"),
    ]
    sheet = Image.new("RGB", (3 * PANEL_WIDTH + 4 * GAP, 2 * (height + CAPTION + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (panel, title, numbers) in enumerate(panels):
        if number != 4:
            _mark_clicks(panel, prompt if number == 5 else _first(prompt), image_size)
        left, top = GAP + number % 3 * (PANEL_WIDTH + GAP), number // 3 * (height + CAPTION + GAP)
        draw.text((left, top + 4), title, INK, ImageFont.load_default(18))
        draw.text((left, top + 27), numbers, INK, ImageFont.load_default(14))
        sheet.paste(panel, (left, top + CAPTION))
    return sheet


def _first(prompt: Prompt) -> Prompt:
    return Prompt(prompt.points[:1], prompt.labels[:1])


def _pixels(image_hw3: np.ndarray) -> str:
    return f"{image_hw3.shape[1]} x {image_hw3.shape[0]} pixels"


def _heat(values_hw: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Values from dark to light."""
    low, high = float(values_hw.min()), float(values_hw.max())
    places = (values_hw - low) / (high - low or 1.0) * (len(COLOURS) - 1)
    colours_3hw = [np.interp(places, np.arange(len(COLOURS)), COLOURS[:, channel]) for channel in range(3)]
    return Image.fromarray(np.stack(colours_3hw, axis=2).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def _mask(stages: Stages, size: tuple[int, int]) -> Image.Image:
    pixels = stages.image_hw3.astype(np.float32)
    pixels[stages.mask.mask] = 0.45 * pixels[stages.mask.mask] + 0.55 * LIT
    return Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)


def _curve(stages: Stages, size: tuple[int, int]) -> Image.Image:
    """Score over threshold, and a line at the click's own."""
    panel = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(panel)
    lambdas, scores = stages.candidates.lambdas, stages.candidates.edges
    left, right, top, bottom = 14, size[0] - 14, 14, size[1] - 28
    if not len(lambdas):
        return panel
    widest, highest = float(lambdas.max()) or 1.0, float(scores.max()) or 1.0

    def place(value: float, score: float) -> tuple[float, float]:
        return left + value / widest * (right - left), bottom - score / highest * (bottom - top)

    draw.line([(left, bottom), (right, bottom)], GRID, 2)
    own, _ = place(min(stages.mask.thresholds[0], widest), 0)
    draw.line([(own, top), (own, bottom)], LINE, 2)
    chosen = np.linspace(0, len(lambdas) - 1, min(len(lambdas), 4000)).astype(np.int64)
    points: Sequence[tuple[float, float]] = [place(float(lambdas[k]), float(scores[k])) for k in chosen]
    draw.line(list(points), INK, 1)
    font = ImageFont.load_default(13)
    draw.text((left, bottom + 6), "0", INK, font)
    draw.text((right, bottom + 6), f"threshold {widest:.2f}", INK, font, anchor="ra")
    return panel


def _mark_clicks(panel: Image.Image, prompt: Prompt, image_size: tuple[int, int]) -> None:
    draw = ImageDraw.Draw(panel)
    for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
        across = (x + 0.5) / image_size[0] * panel.width
        down = (y + 0.5) / image_size[1] * panel.height
        ring = (across - 6, down - 6, across + 6, down + 6)
        draw.ellipse(ring, fill="lime" if label else "red", outline="white", width=2)
