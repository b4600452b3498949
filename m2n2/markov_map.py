"""Markov-maps: how many steps of the chain reach each cell (sections 3 and 4 of docs/algorithm.md).

    s <- s P,  s <- s / max(s)      from the point's start state
    M = steps until s > tau, with the fraction of the last step interpolated linearly

All points advance together, one product a step; a point whose cells have all crossed leaves the batch.

Letters in names: P points, N = h * w cells of the grid.
"""

from __future__ import annotations

import numpy as np
import torch

from m2n2.settings import Settings
from m2n2.transition import TransitionOperator

# Steps on a GPU between two questions whether all cells have crossed: each makes the host wait for the device. Steps in
# between change no cell that has crossed.
LOOK_EVERY = 8


def markov_maps(operator: TransitionOperator, starts_PN: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Markov-maps of all start states: (P, N) float32 on the operator's device."""
    tau = settings.markov_threshold
    look_every = _look_every(starts_PN.device)
    state_PN = starts_PN
    map_PN = torch.full_like(state_PN, float(settings.markov_max_steps))
    map_PN[state_PN > tau] = 0.0
    open_PN = state_PN <= tau
    active_P = torch.arange(len(state_PN), device=state_PN.device)
    for step in range(settings.markov_max_steps):
        if step % look_every == 0:
            still_open = open_PN.any(dim=1)
            if not bool(still_open.all()):
                active_P, state_PN, open_PN = active_P[still_open], state_PN[still_open], open_PN[still_open]
            if len(active_P) == 0:
                break
        before_PN = state_PN
        state_PN = operator.step(before_PN)
        state_PN /= state_PN.amax(dim=1, keepdim=True)
        rise_PN = state_PN - before_PN if step > 0 else torch.full_like(state_PN, 1.0 - tau)
        crossing_PN = open_PN & (state_PN > tau)
        value_PN = step + 1 - (state_PN - tau) / (rise_PN + 1e-6)
        map_PN[active_P] = torch.where(crossing_PN, value_PN, map_PN[active_P])
        open_PN &= ~crossing_PN
    return map_PN


def _look_every(device: torch.device) -> int:
    return 1 if device.type == "cpu" else LOOK_EVERY


def start_states(pixels: list[tuple[int, int]], image_size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Each point's unit mass spread bilinearly over its four cells, the largest cell scaled to 1: (P, N) float32.

    Args:
        pixels: (x, y) of each point in the image.
        image_size: (height, width) of the image.
        grid: (h, w) of the attention's grid.
    """
    image_height, image_width = image_size
    height, width = grid
    start_Phw = np.zeros((len(pixels), height, width), np.float32)
    for p, (x, y) in enumerate(pixels):
        column, row = (width - 1) * x / image_width, (height - 1) * y / image_height
        left, top = int(column), int(row)
        right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
        to_right, to_bottom = column - left, row - top
        start_Phw[p, top, left] += (1 - to_right) * (1 - to_bottom)
        start_Phw[p, top, right] += to_right * (1 - to_bottom)
        start_Phw[p, bottom, left] += (1 - to_right) * to_bottom
        start_Phw[p, bottom, right] += to_right * to_bottom
        start_Phw[p] /= start_Phw[p].max()
    return start_Phw.reshape(len(pixels), height * width)
