"""Flood fill: from a semantic map to an instance's map (section 6 of docs/algorithm.md; the paper's "flood fill").

    g(p) = |m(p) - m(x)|        for the prompt's pixel x
    v(p) = min over 4-connected paths x .. p of the largest g on the path
    result = v / max(v)

v is the greatest solution of v(p) = max(g(p), min of v over p and its neighbours) with v(x) = 0. It is reached from
above by sweeps over the rows, down and up in turn: each row takes the smaller values of the rows beside it, then
passes them along itself to the right and to the left. A row is swept again only after a row beside it has changed, and
on photos few change after the fourth sweep. Values are exact, being costs of pixels that are only compared.

A path that turns up and down often, as in a maze, takes a sweep a turn: after `MOST_SWEEPS` the fill by ranks takes
over, whose cost is linear whatever the map is (m2n2/kernels/ranked_flood.py).
"""

from __future__ import annotations

import numpy as np

from m2n2.kernels.compiled import compiled
from m2n2.kernels.ranked_flood import ranked_flood

MOST_SWEEPS = 40


def flood_fill(map_HW: np.ndarray, x: int, y: int) -> np.ndarray:
    """Flood `map_HW` (float32) from pixel (x, y): smallest threshold that joins each pixel to it, over the largest."""
    cost_HW = _differences(map_HW, x, y)
    value_HW = np.full(map_HW.shape, np.inf, np.float32)
    value_HW[y, x] = 0
    _pass_along(cost_HW[y], value_HW[y])
    to_sweep_H = np.zeros(len(map_HW), np.bool_)
    to_sweep_H[max(0, y - 1) : y + 2] = True
    to_sweep_H[y] = False
    if not _sweep_until_still(cost_HW, value_HW, to_sweep_H):
        value_HW = ranked_flood(cost_HW, x, y)
    return _over_largest(value_HW)


def difference(map_HW: np.ndarray, x: int, y: int) -> np.ndarray:
    """The map without flooding: each pixel's difference `g` from pixel (x, y), over the largest."""
    return _over_largest(_differences(map_HW, x, y))


def _differences(map_HW: np.ndarray, x: int, y: int) -> np.ndarray:
    difference_HW: np.ndarray = map_HW - map_HW[y, x]
    np.abs(difference_HW, out=difference_HW)
    return difference_HW


@compiled()
def _sweep_until_still(cost_HW: np.ndarray, value_HW: np.ndarray, to_sweep_H: np.ndarray) -> bool:
    """Bring values down, from the marked rows on; False where `MOST_SWEEPS` times the rows were not enough."""
    height = to_sweep_H.size
    left, swept = 0, 0
    for row in range(height):
        left += to_sweep_H[row]
    downwards = True
    while left > 0 and swept < MOST_SWEEPS * height:
        for i in range(height):
            row = i if downwards else height - 1 - i
            if not to_sweep_H[row]:
                continue
            to_sweep_H[row] = False
            left -= 1
            swept += 1
            above, below = max(0, row - 1), min(row + 1, height - 1)
            if not _take_smaller(cost_HW[row], value_HW[above], value_HW[below], value_HW[row]):
                continue
            _pass_along(cost_HW[row], value_HW[row])
            for near in (above, below):
                if near != row and not to_sweep_H[near]:
                    to_sweep_H[near] = True
                    left += 1
        downwards = not downwards
    return left == 0


@compiled()
def _take_smaller(cost_W: np.ndarray, above_W: np.ndarray, below_W: np.ndarray, value_W: np.ndarray) -> bool:
    """Values that the rows beside this one bring down. Returns whether there are any."""
    changed = 0
    for j in range(value_W.size):
        value = max(cost_W[j], min(value_W[j], min(above_W[j], below_W[j])))
        changed |= value != value_W[j]
        value_W[j] = value
    return changed != 0


@compiled()
def _pass_along(cost_W: np.ndarray, value_W: np.ndarray) -> None:
    """Values that their own row brings down, to the right and then to the left."""
    value = value_W[0]
    for j in range(1, value_W.size):
        value = max(cost_W[j], min(value_W[j], value))
        value_W[j] = value
    for j in range(value_W.size - 2, -1, -1):
        value = max(cost_W[j], min(value_W[j], value))
        value_W[j] = value


def _over_largest(values_HW: np.ndarray) -> np.ndarray:
    """In place; unless all are 0."""
    largest = values_HW.max()
    if largest > 0:
        values_HW /= largest
    return values_HW
