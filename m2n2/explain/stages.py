"""The stages of one click, each as the picture that the paper shows of it; the mask is that of all clicks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from m2n2.flood_fill import flood_fill
from m2n2.full_size import working_image, working_pixels
from m2n2.markov_map import markov_maps, start_states
from m2n2.prompt import Prompt
from m2n2.scene import Mask, Scene
from m2n2.settings import Settings
from m2n2.threshold import Candidates, scored_candidates
from m2n2.transition import transition_operator
from m2n2.upsampling import upsample


@dataclass(frozen=True)
class Stages:
    """What became of the first click, on the working image (h, w) and the attention's grid (rows, columns).

    Attributes:
        image_hw3: the working image, uint8.
        attention: (rows, columns) float32, where the click's cells look.
        markov_map: (rows, columns) float32, steps of the chain until it reaches each cell.
        upsampled_hw: float32 in 0..1, the map carried to the image along its colours.
        flooded_hw: float32 in 0..1, the smallest threshold that joins each pixel to the click.
        candidates: thresholds, and the score of each.
        mask: of all clicks together, with the threshold of each.
    """

    image_hw3: np.ndarray
    attention: np.ndarray
    markov_map: np.ndarray
    upsampled_hw: np.ndarray
    flooded_hw: np.ndarray
    candidates: Candidates
    mask: Mask


def stages_of(image: np.ndarray, attention: torch.Tensor, prompt: Prompt, settings: Settings) -> Stages:
    """All stages of the paper's head for a prompt.

    Args:
        image: (H, W, 3) uint8, RGB.
        attention: (rows, columns, rows, columns) of its grid.
        prompt: points on the image.
        settings: of the paper's head; `threshold` and `more_clicks` change the mask alone.

    Raises:
        ValueError: settings that read no attention or make no Markov-map.
        InvalidImage, InvalidAttention, InvalidPrompt: as `Scene`.
    """
    if settings.affinity != "attention" or settings.map != "markov":
        raise ValueError(
            "the stages that are shown are those of attention and Markov-maps; allowed: affinity attention"
        )
    grid = attention.shape[:2]
    small_hw3 = working_image(image, working_pixels(settings, grid))
    height, width = small_hw3.shape[:2]
    scale = width / image.shape[1], height / image.shape[0]
    points = [((x + 0.5) * scale[0] - 0.5, (y + 0.5) * scale[1] - 0.5) for x, y in prompt.points]
    mask = Scene(small_hw3, attention, settings).segment([Prompt(points, prompt.labels)])[0]
    x, y = (round(value) for value in points[0])
    attention_NN = attention.reshape(grid[0] * grid[1], -1).float()
    start_1N = torch.from_numpy(start_states([(x, y)], (height, width), (grid[0], grid[1])))
    look_1N = start_1N @ attention_NN
    map_1N = markov_maps(transition_operator(attention_NN, settings, overwrite=False), start_1N, settings)
    upsampled_hw = upsample(map_1N.reshape(1, *grid), small_hw3, settings)[0]
    flooded_hw = flood_fill(upsampled_hw, x, y)
    return Stages(
        image_hw3=small_hw3,
        attention=look_1N.reshape(grid).numpy(),
        markov_map=map_1N.reshape(grid).numpy(),
        upsampled_hw=upsampled_hw,
        flooded_hw=flooded_hw,
        candidates=scored_candidates(flooded_hw, settings),
        mask=mask,
    )
