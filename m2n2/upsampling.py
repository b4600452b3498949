"""Joint bilateral upsampling of all maps of an image at once (section 5 of docs/algorithm.md).

    u = bilinear(m) to H x W
    result(p) = sum_d weight(p, d) u(p + d) / sum_d weight(p, d),  then divided by its maximum
    weight(p, d) = exp(-1/2 (dx / (f_x sigma_s))^2 - 1/2 (dy / (f_y sigma_s))^2 - |I(p) - I(p + d)|^2 / (2 sigma_r^2))

over offsets d = (dx, dy) inside the image and within 3 sigma, f = image size / grid size. The weights depend on the
image alone and are shared by all maps; they are computed, not stored: a vectorised exponential is faster than memory.

Letters in names: P points, H x W image, h x w grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit

from m2n2.fast_exponential import exp2
from m2n2.parallel import run_parallel, strips
from m2n2.settings import Settings

STRIP_ROWS = 16
BLOCK_VALUES = 1 << 25  # values of one intermediate tensor of the torch path
FAR_COLOUR = 1e4  # a colour so far from any other that its weight is 0


def upsample(maps_Phw: torch.Tensor, image_HW3: np.ndarray, settings: Settings) -> np.ndarray:
    """Upsample low-resolution maps guided by the image, each divided by its maximum: (P, H, W) float32.

    Runs in numba on the CPU and in torch on the device of the maps anywhere else.
    """
    # Maps as a batch, not as channels: torch would round differently for different numbers of channels.
    bilinear_PHW = torch.nn.functional.interpolate(
        maps_Phw[:, None], size=image_HW3.shape[:2], mode="bilinear", align_corners=False
    )[:, 0]
    offsets = _Offsets.within(image_HW3.shape[:2], maps_Phw.shape[1:], settings)
    smoothed_PHW = (_smooth_cpu if maps_Phw.device.type == "cpu" else _smooth_torch)(bilinear_PHW, image_HW3, offsets)
    largest_P = smoothed_PHW.max(axis=(1, 2))
    largest_P[largest_P == 0] = 1.0
    smoothed_PHW /= largest_P[:, None, None]
    return smoothed_PHW


@dataclass(frozen=True)
class _Offsets:
    """Which offsets are summed, and their weights as powers of two.

    Attributes:
        dy: (K,) rows of offsets.
        reach: (K,) in row k, dx goes from `-reach[k]` to `reach[k]`.
        spatial_log2: (K, R) log2 of the spatial weight in row k at |dx|.
        colour_log2: log2 of the colour weight, a unit of squared distance of colours in 0..255.
    """

    dy: np.ndarray
    reach: np.ndarray
    spatial_log2: np.ndarray
    colour_log2: float

    @classmethod
    def within(cls, image_size: tuple[int, ...], grid: tuple[int, ...], settings: Settings) -> _Offsets:
        sigmas = [settings.spatial_sigma_cells * pixels / cells for pixels, cells in zip(image_size, grid, strict=True)]
        furthest_y, furthest_x = (int(settings.truncation_sigmas * sigma) for sigma in sigmas)
        dy_K = np.arange(-furthest_y, furthest_y + 1)
        dx_R = np.arange(furthest_x + 1)
        squared_KR = (dx_R[None, :] / sigmas[1]) ** 2 + (dy_K[:, None] / sigmas[0]) ** 2
        reach_K = (squared_KR <= settings.truncation_sigmas**2).sum(axis=1) - 1
        return cls(
            dy=dy_K,
            reach=reach_K,
            spatial_log2=(-0.5 / math.log(2) * squared_KR).astype(np.float32),
            colour_log2=-1.0 / (2 * (255 * settings.colour_sigma) ** 2 * math.log(2)),
        )


def _smooth_cpu(bilinear_PHW: torch.Tensor, image_HW3: np.ndarray, offsets: _Offsets) -> np.ndarray:
    maps_PHW = bilinear_PHW.numpy()
    planes_3HW = np.ascontiguousarray(image_HW3.transpose(2, 0, 1), dtype=np.float32)
    result_PHW = np.empty_like(maps_PHW)

    def work(rows: tuple[int, int]) -> None:
        _smooth_rows(
            maps_PHW,
            planes_3HW,
            offsets.dy,
            offsets.reach,
            offsets.spatial_log2,
            np.float32(offsets.colour_log2),
            rows[0],
            rows[1],
            result_PHW,
        )

    run_parallel(work, strips(maps_PHW.shape[1], STRIP_ROWS))
    return result_PHW


def _smooth_torch(bilinear_PHW: torch.Tensor, image_HW3: np.ndarray, offsets: _Offsets) -> np.ndarray:
    """One iteration a row of offsets and block of image rows; a window of dx is a view, nothing is copied for it."""
    device = bilinear_PHW.device
    count, height, width = bilinear_PHW.shape
    reach_x, reach_y = int(offsets.reach.max()), int(offsets.dy.max())
    margins = (reach_x, reach_x, reach_y, reach_y)
    image_3HW = torch.from_numpy(image_HW3).to(device).permute(2, 0, 1).float()
    padded_3HW = torch.nn.functional.pad(image_3HW, margins, value=FAR_COLOUR)
    padded_PHW = torch.nn.functional.pad(bilinear_PHW, margins)
    numerator_PHW = torch.zeros_like(bilinear_PHW)
    weight_HW = torch.zeros((height, width), device=device)
    rows_each = max(1, BLOCK_VALUES // ((2 * reach_x + 1) * width * max(3, count)))
    for first, last in strips(height, rows_each):
        for k, dy in enumerate(offsets.dy):
            reach = int(offsets.reach[k])
            rows = slice(first + reach_y + int(dy), last + reach_y + int(dy))
            columns = slice(reach_x - reach, reach_x + width + reach)
            near_3HWD = padded_3HW[:, rows, columns].unfold(2, 2 * reach + 1, 1)
            distance_HWD = (near_3HWD - image_3HW[:, first:last, :, None]).square_().sum(dim=0)
            dx_D = np.abs(np.arange(-reach, reach + 1))
            spatial_D = torch.from_numpy(offsets.spatial_log2[k, dx_D]).to(device)
            weights_HWD = torch.exp2(distance_HWD.mul_(offsets.colour_log2).add_(spatial_D))
            weight_HW[first:last] += weights_HWD.sum(dim=2)
            near_PHWD = padded_PHW[:, rows, columns].unfold(2, 2 * reach + 1, 1)
            numerator_PHW[:, first:last] += (near_PHWD * weights_HWD).sum(dim=3)
    result_PHW: np.ndarray = (numerator_PHW / weight_HW).cpu().numpy()
    return result_PHW


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _smooth_rows(
    maps_PHW: np.ndarray,
    planes_3HW: np.ndarray,
    dy_K: np.ndarray,
    reach_K: np.ndarray,
    spatial_log2_KR: np.ndarray,
    colour_log2: np.float32,
    first: int,
    last: int,
    result_PHW: np.ndarray,
) -> None:
    """The exact sum for rows first..last-1, a whole row of pixels at a time for each offset."""
    count, height, width = maps_PHW.shape
    weight_W = np.empty(width, np.float32)
    weight_sum_W = np.empty(width, np.float32)
    for y in range(first, last):
        for x in range(width):
            weight_sum_W[x] = 0
            for p in range(count):
                result_PHW[p, y, x] = 0
        for k in range(dy_K.size):
            near_y = y + dy_K[k]
            if near_y < 0 or near_y >= height:
                continue
            reach = min(reach_K[k], width - 1)
            for dx in range(-reach, reach + 1):
                left, right = max(0, -dx), min(width, width - dx)
                _add_weights(
                    planes_3HW[0, y, left:right],
                    planes_3HW[1, y, left:right],
                    planes_3HW[2, y, left:right],
                    planes_3HW[0, near_y, left + dx : right + dx],
                    planes_3HW[1, near_y, left + dx : right + dx],
                    planes_3HW[2, near_y, left + dx : right + dx],
                    spatial_log2_KR[k, abs(dx)],
                    colour_log2,
                    weight_W[left:right],
                    weight_sum_W[left:right],
                )
                for p in range(count):
                    _add_product(
                        weight_W[left:right], maps_PHW[p, near_y, left + dx : right + dx], result_PHW[p, y, left:right]
                    )
        for p in range(count):
            for x in range(width):
                result_PHW[p, y, x] /= weight_sum_W[x]


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_weights(
    red_X: np.ndarray,
    green_X: np.ndarray,
    blue_X: np.ndarray,
    near_red_X: np.ndarray,
    near_green_X: np.ndarray,
    near_blue_X: np.ndarray,
    spatial_log2: np.float32,
    colour_log2: np.float32,
    weight_X: np.ndarray,
    weight_sum_X: np.ndarray,
) -> None:
    """Weights of one offset for a run of pixels. One-dimensional arrays throughout, or the loop is not vectorised."""
    for x in range(weight_X.size):
        red = red_X[x] - near_red_X[x]
        green = green_X[x] - near_green_X[x]
        blue = blue_X[x] - near_blue_X[x]
        weight = exp2(spatial_log2 + colour_log2 * (red * red + green * green + blue * blue))
        weight_X[x] = weight
        weight_sum_X[x] += weight


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_product(weight_X: np.ndarray, near_X: np.ndarray, total_X: np.ndarray) -> None:
    for x in range(weight_X.size):
        total_X[x] += weight_X[x] * near_X[x]
