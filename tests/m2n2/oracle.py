"""The equations of docs/algorithm.md, written out literally: dense, float64, one point at a time.

Slow, meant for small sizes. Nothing here is shared with the package, so that the two can only agree by being right.
"""

from __future__ import annotations

import heapq
import itertools
import math

import numpy as np


def transition(attention_NN: np.ndarray, temperature: float = 0.65, rounds: int = 2000) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logits_NN = np.log(attention_NN.astype(float)) / temperature
    matrix_NN = np.exp(logits_NN - logits_NN.max(axis=1, keepdims=True))
    matrix_NN /= matrix_NN.sum(axis=1, keepdims=True)
    for _ in range(rounds):
        matrix_NN = matrix_NN / matrix_NN.sum(axis=0, keepdims=True)
        matrix_NN = matrix_NN / matrix_NN.sum(axis=1, keepdims=True)
    return matrix_NN


def start_state(x: int, y: int, image_size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    (image_height, image_width), (height, width) = image_size, grid
    column, row = (width - 1) * x / image_width, (height - 1) * y / image_height
    state_hw = np.zeros(grid)
    for i, j in itertools.product(range(height), range(width)):
        state_hw[i, j] = max(0.0, 1 - abs(i - row)) * max(0.0, 1 - abs(j - column))
    return (state_hw / state_hw.max()).ravel()


def markov_map(transition_NN: np.ndarray, start_N: np.ndarray, tau: float = 0.3, steps: int = 1000) -> np.ndarray:
    map_N = np.where(start_N > tau, 0.0, np.nan)
    state_N = start_N
    for i in range(steps):
        before_N, state_N = state_N, state_N @ transition_NN
        state_N = state_N / state_N.max()
        for cell in np.flatnonzero(np.isnan(map_N) & (state_N > tau)):
            rise = state_N[cell] - before_N[cell] if i > 0 else 1 - tau
            map_N[cell] = i + 1 - (state_N[cell] - tau) / (rise + 1e-6)
        if not np.isnan(map_N).any():
            break
    return np.where(np.isnan(map_N), steps, map_N)


def bilinear(map_hw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    def weights(cells: int, pixels: int) -> np.ndarray:
        matrix = np.zeros((pixels, cells))
        for pixel in range(pixels):
            position = min(max((pixel + 0.5) * cells / pixels - 0.5, 0.0), cells - 1.0)
            low = min(math.floor(position), cells - 1)
            high = min(low + 1, cells - 1)
            matrix[pixel, low] += 1 - (position - low)
            matrix[pixel, high] += position - low
        return matrix

    return weights(map_hw.shape[0], size[0]) @ map_hw @ weights(map_hw.shape[1], size[1]).T


def upsampled(
    map_hw: np.ndarray, image_HW3: np.ndarray, sigma_cells: float = 1.0, sigma_colour: float = 0.1
) -> np.ndarray:
    height, width = image_HW3.shape[:2]
    smooth_HW = bilinear(map_hw, (height, width))
    colours_HW3 = image_HW3 / 255
    scale_y, scale_x = height / map_hw.shape[0] * sigma_cells, width / map_hw.shape[1] * sigma_cells
    result_HW = np.zeros((height, width))
    for y, x in itertools.product(range(height), range(width)):
        dy_HW, dx_HW = np.mgrid[-y : height - y, -x : width - x]
        squared_HW = (dy_HW / scale_y) ** 2 + (dx_HW / scale_x) ** 2
        colour_HW = ((colours_HW3 - colours_HW3[y, x]) ** 2).sum(axis=2)
        weight_HW = np.exp(-squared_HW / 2) * np.exp(-colour_HW / (2 * sigma_colour**2)) * (squared_HW <= 9)
        result_HW[y, x] = (weight_HW * smooth_HW).sum() / weight_HW.sum()
    return result_HW / result_HW.max() if result_HW.max() > 0 else result_HW


def neighbours(y: int, x: int, height: int, width: int) -> list[tuple[int, int]]:
    near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    return [(i, j) for i, j in near if 0 <= i < height and 0 <= j < width]


def flooded(map_HW: np.ndarray, x: int, y: int) -> np.ndarray:
    """By Dijkstra's method with the largest cost on a path for its length."""
    cost_HW = np.abs(map_HW - map_HW[y, x])
    value_HW = np.full(map_HW.shape, np.inf)
    queue = [(0.0, y, x)]
    while queue:
        value, i, j = heapq.heappop(queue)
        if value >= value_HW[i, j]:
            continue
        value_HW[i, j] = value
        for k, m in neighbours(i, j, *map_HW.shape):
            heapq.heappush(queue, (max(value, float(cost_HW[k, m])), k, m))
    return value_HW / value_HW.max() if value_HW.max() > 0 else value_HW


def gradient(map_HW: np.ndarray, levels: int) -> np.ndarray:
    padded = np.pad(map_HW, [(1, 1) if size > 1 else (0, 0) for size in map_HW.shape], mode="reflect")
    padded = np.pad(padded, [(0, 0) if size > 1 else (1, 1) for size in map_HW.shape], mode="edge")
    magnitude_HW = np.zeros(map_HW.shape, np.float32)
    for y, x in np.ndindex(map_HW.shape):
        window = padded[y : y + 3, x : x + 3]
        across = (window * [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).sum()
        down = (window * [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]).sum()
        magnitude_HW[y, x] = np.sqrt(np.float32(across**2 + down**2))
    if magnitude_HW.max() == 0:
        return np.zeros(map_HW.shape, int)
    # In float64, as the head does it: a value on the border of two levels must not fall to either by chance.
    return np.floor(levels * magnitude_HW.astype(float) / float(magnitude_HW.max())).astype(int)


def threshold(
    flooded_HW: np.ndarray, own_values: list[float], other_values: list[float], prior: float = 0.4, levels: int = 1024
) -> tuple[float, float]:
    """(lambda, score) of the first best candidate; (0, 0) if there is none."""
    height, width = flooded_HW.shape
    order = np.argsort(flooded_HW.ravel(), kind="stable")
    gradient_HW = gradient(flooded_HW, levels)
    best = (0.0, 0.0)
    inside: set[tuple[int, int]] = set()
    for rank, pixel in enumerate(order[:-1]):
        y, x = divmod(int(pixel), width)
        inside.add((y, x))
        border = {near for member in inside for near in neighbours(*member, height, width)} - inside
        value = float(flooded_HW[y, x])
        score = float(np.mean([gradient_HW[near] for near in border]))
        score *= (rank / (len(order) - 2) if len(order) > 2 else 0.0) < prior
        score *= np.mean([own <= value for own in own_values])
        score *= all(value < other for other in other_values) and value < flooded_HW.max()
        if rank == 0 or score > best[1]:
            best = (value, score)
    return best


def mask(
    flooded_PHW: list[np.ndarray], thresholds: list[float], points: list[tuple[int, int]], labels: list[bool]
) -> np.ndarray:
    height, width = flooded_PHW[0].shape
    mask_HW = np.zeros((height, width), bool)
    for y, x in itertools.product(range(height), range(width)):
        distances = [map_HW[y, x] / max(value, 1e-7) for map_HW, value in zip(flooded_PHW, thresholds, strict=True)]
        nearest = min(range(len(points)), key=lambda i: (distances[i], i))
        mask_HW[y, x] = labels[nearest] and distances[nearest] <= 1
    for (x, y), label in zip(points, labels, strict=True):
        mask_HW[y, x] = label
    return mask_HW


def segment(
    image_HW3: np.ndarray, attention_hwhw: np.ndarray, points: list[tuple[int, int]], labels: list[bool]
) -> np.ndarray:
    """All stages, from attention to one object's mask."""
    grid = attention_hwhw.shape[:2]
    transition_NN = transition(attention_hwhw.reshape(grid[0] * grid[1], -1))
    flooded_PHW = []
    for x, y in points:
        map_N = markov_map(transition_NN, start_state(x, y, image_HW3.shape[:2], grid))
        flooded_PHW.append(flooded(upsampled(map_N.reshape(grid), image_HW3), x, y))
    thresholds = []
    for map_HW, label in zip(flooded_PHW, labels, strict=True):
        own = [map_HW[y, x] for (x, y), other in zip(points, labels, strict=True) if other == label]
        rest = [map_HW[y, x] for (x, y), other in zip(points, labels, strict=True) if other != label]
        thresholds.append(threshold(map_HW, own, rest)[0])
    return mask(flooded_PHW, thresholds, points, labels)
