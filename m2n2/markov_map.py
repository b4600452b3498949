"""Markov-maps: how many steps of the chain reach each cell (sections 3 and 4 of docs/algorithm.md).

    s <- s P,  s <- s / max(s)      from the point's start state
    M = steps until s > tau, with the fraction of the last step interpolated linearly

All points advance together, one product a step; a point whose cells have all crossed leaves the batch. On a GPU, with
an operator in float16, a long chain goes on with the operator's fourth power: the last four states together, four steps
a product, so that every step is still seen.

Letters in names: P points, N = h * w cells of the grid.
"""

from __future__ import annotations

import logging
import math
from collections import deque

import numpy as np
import torch

from m2n2.errors import InvalidAttention
from m2n2.kernels.gpu.fourth_power import STEPS, pays_on
from m2n2.kernels.gpu.memory import is_out_of_device_memory
from m2n2.settings import Settings
from m2n2.transition import TransitionOperator

# Steps on a GPU between two questions whether all cells have crossed: each makes the host wait for the device. Steps in
# between change no cell that has crossed.
LOOK_EVERY = 8
# Steps to go for which the fourth power is made, as a share of the cells. At the full rates of an H100, 156 steps and
# more pay for it at 128 x 128 cells (an L4: 116); the estimate is low by up to e, so 66 are asked for.
STEPS_THAT_PAY = 1 / 250
BALANCED = 0.1  # residual of Sinkhorn below which sums of columns are near 1, and those of the fourth power too
SMALLEST = torch.finfo(torch.float32).tiny

log = logging.getLogger("m2n2.gpu")
_without_room: set[torch.device] = set()  # for a fourth power; in this process it is not tried there again


def markov_maps(operator: TransitionOperator, starts_PN: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Markov-maps of all start states: (P, N) float32 on the operator's device."""
    tau = settings.markov_threshold
    look_every = _look_every(starts_PN.device)
    chain = _Chain(operator, starts_PN, tau)
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
                chain.keep(still_open)
            if len(active_P) == 0:
                break
            chain.look(state_PN, open_PN)
        before_PN, state_PN = state_PN, chain.advance()
        rise_PN = state_PN - before_PN if step > 0 else torch.full_like(state_PN, 1.0 - tau)
        crossing_PN = open_PN & (state_PN > tau)
        value_PN = step + 1 - (state_PN - tau) / (rise_PN + 1e-6)
        map_PN[active_P] = torch.where(crossing_PN, value_PN, map_PN[active_P])
        open_PN &= ~crossing_PN
    return map_PN


class _Chain:
    """The states of all points, each divided by its largest value, one step after the other."""

    def __init__(self, operator: TransitionOperator, starts_PN: torch.Tensor, tau: float) -> None:
        self._operator, self._tau = operator, tau
        self._ahead: deque[torch.Tensor] = deque()
        self._power: TransitionOperator | None = None
        is_half = operator.kernel.dtype == torch.float16
        self._may_leap = is_half and operator.residual < BALANCED and _may_leap_on(starts_PN.device)
        self._last = deque([starts_PN], maxlen=STEPS if self._may_leap else 1)
        self._lowest: float | None = None  # state of an open cell, at the last look

    def advance(self) -> torch.Tensor:
        """The next states, (P, N)."""
        if not self._ahead:
            self._ahead.extend(self._next_ones())
        self._last.append(self._ahead.popleft())
        return self._last[-1]

    def keep(self, points_P: torch.Tensor) -> None:
        """Go on with these points alone."""
        self._last = deque((each[points_P] for each in self._last), maxlen=self._last.maxlen)
        self._ahead = deque(each[points_P] for each in self._ahead)

    def look(self, state_PN: torch.Tensor, open_PN: torch.Tensor) -> None:
        """From now on four steps a product, where the steps to go pay for the fourth power."""
        if not self._may_leap:
            return
        before, self._lowest = self._lowest, float(torch.where(open_PN, state_PN, 1.0).amin())
        if before is None or len(self._last) < STEPS:
            return
        if steps_to_go(before, self._lowest, self._tau) >= STEPS_THAT_PAY * state_PN.shape[1]:
            self._may_leap = False
            self._power = _fourth_power(self._operator)

    def _next_ones(self) -> list[torch.Tensor]:
        if self._power is None:
            state_PN = self._operator.step(self._last[-1])
            state_PN /= state_PN.amax(dim=1, keepdim=True)
            return [state_PN]
        last_4PN = torch.stack(tuple(self._last))
        next_4PN = self._power.step_many(last_4PN.flatten(0, 1)).view_as(last_4PN)
        next_4PN /= next_4PN.amax(dim=2, keepdim=True)
        return list(next_4PN)


def _may_leap_on(device: torch.device) -> bool:
    return device not in _without_room and pays_on(device)


def _fourth_power(operator: TransitionOperator) -> TransitionOperator | None:
    """None, with a warning, where it cannot be had: single steps give the same maps, only later."""
    device = operator.kernel.device
    try:
        return operator.fourth_power()
    except InvalidAttention as error:
        log.warning("the chain goes on a step a product, its fourth power has no balance: %s", error)
    except RuntimeError as error:
        if not is_out_of_device_memory(error):
            raise
        _without_room.add(device)
        log.warning("on %s chains go on a step a product, there is no room for a faster one: %s", device, error)
    return None


def steps_to_go(before: float, lowest: float, tau: float) -> float:
    """Until the lowest state is tau, if it goes on growing by the factor of the last `LOOK_EVERY` steps.

    States that grow evenly take up to e times as long in all as this says at its largest.
    """
    if lowest <= before:
        return math.inf
    return LOOK_EVERY * math.log(tau / lowest) / math.log(lowest / max(before, SMALLEST))


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
