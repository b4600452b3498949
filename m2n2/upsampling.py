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

from m2n2.kernels.compiled import compiled
from m2n2.kernels.fast_exponential import exp2
from m2n2.kernels.gpu.choice import Choice
from m2n2.kernels.gpu.copies import to_host, upload
from m2n2.kernels.parallel import run_parallel, strips
from m2n2.settings import Settings

STRIP_ROWS = 16
BLOCK_VALUES = 1 << 25  # values of one intermediate tensor of the torch path
FAR_COLOUR = 1e4  # a colour so far from any other that its weight is 0
OFFSETS_AT_ONCE = 4  # whose products with a map are added in one pass over its row
NO_WEIGHT_LOG2 = np.float32(-1e6)


def upsample(maps_Phw: torch.Tensor, image_HW3: np.ndarray, settings: Settings) -> np.ndarray:
    """Upsample low-resolution maps guided by the image, each divided by its maximum: (P, H, W) float32.

    Runs in numba on the CPU, and on a GPU in Triton or torch (m2n2/kernels/gpu/choice.py).
    """
    smoothed_PHW = weighted_means(maps_Phw, image_HW3, settings)
    largest_P = smoothed_PHW.max(axis=(1, 2))
    largest_P[largest_P == 0] = 1.0
    smoothed_PHW /= largest_P[:, None, None]
    return smoothed_PHW


def weighted_means(maps_Phw: torch.Tensor, image_HW3: np.ndarray, settings: Settings) -> np.ndarray:
    """The upsampled maps before they are divided by their maximum: (P, H, W) float32."""
    # Maps as a batch, not as channels: torch would round differently for different numbers of channels.
    bilinear_PHW = torch.nn.functional.interpolate(
        maps_Phw[:, None], size=image_HW3.shape[:2], mode="bilinear", align_corners=False
    )[:, 0]
    offsets = Offsets.within(image_HW3.shape[:2], maps_Phw.shape[1:], settings)
    device = maps_Phw.device
    smooth = _smooth_cpu if device.type == "cpu" else CHOICE.on(device, len(maps_Phw))
    return smooth(bilinear_PHW, image_HW3, offsets)


@dataclass(frozen=True)
class Offsets:
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
    def within(cls, image_size: tuple[int, ...], grid: tuple[int, ...], settings: Settings) -> Offsets:
        """Of an image of (H, W) pixels over a grid of (h, w) cells."""
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


def _smooth_cpu(bilinear_PHW: torch.Tensor, image_HW3: np.ndarray, offsets: Offsets) -> np.ndarray:
    margin = int(offsets.reach.max())
    margins = ((0, 0), (0, 0), (margin, margin + OFFSETS_AT_ONCE - 1))
    padded_PHX = np.pad(bilinear_PHW.numpy(), margins)
    planes_3HX = np.pad(image_HW3.transpose(2, 0, 1).astype(np.float32), margins, constant_values=FAR_COLOUR)
    result_PHW = np.zeros(bilinear_PHW.shape, np.float32)
    width = result_PHW.shape[2]

    def work(rows: tuple[int, int]) -> None:
        _smooth_rows(
            padded_PHX,
            planes_3HX,
            offsets.dy,
            offsets.reach,
            offsets.spatial_log2,
            np.float32(offsets.colour_log2),
            margin,
            rows[0],
            rows[1],
            np.empty((OFFSETS_AT_ONCE, width), np.float32),
            np.empty(width, np.float32),
            result_PHW,
        )

    run_parallel(work, strips(result_PHW.shape[1], STRIP_ROWS))
    return result_PHW


def _smooth_torch(bilinear_PHW: torch.Tensor, image_HW3: np.ndarray, offsets: Offsets) -> np.ndarray:
    """One iteration a row of offsets and block of image rows; a window of dx is a view, nothing is copied for it."""
    device = bilinear_PHW.device
    count, height, width = bilinear_PHW.shape
    reach_x, reach_y = int(offsets.reach.max()), int(offsets.dy.max())
    margins = (reach_x, reach_x, reach_y, reach_y)
    image_3HW = upload(image_HW3, device).permute(2, 0, 1).float()
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
    return to_host(numerator_PHW / weight_HW)


def _smooth_triton(bilinear_PHW: torch.Tensor, image_HW3: np.ndarray, offsets: Offsets) -> np.ndarray:
    from m2n2.kernels.gpu.upsampling import joint_bilateral  # Triton is installed only where there is a GPU

    device = bilinear_PHW.device
    image, dy, reach = (upload(each, device) for each in (image_HW3, offsets.dy, offsets.reach))
    spatial_log2 = upload(offsets.spatial_log2, device)
    return to_host(joint_bilateral(bilinear_PHW, image, dy.int(), reach.int(), spatial_log2, offsets.colour_log2))


def _trial(count: int) -> tuple[torch.Tensor, np.ndarray, Offsets]:
    """That many maps of an image of 4 x 5 pixels over a grid of 2 x 3 cells."""
    generator, size = torch.Generator().manual_seed(0), (4, 5)
    image_HW3 = torch.randint(0, 256, (*size, 3), generator=generator, dtype=torch.uint8).numpy()
    maps_PHW = torch.rand(count, *size, generator=generator) + 0.1
    return maps_PHW, image_HW3, Offsets.within(size, (2, 3), Settings())


CHOICE = Choice("upsampling", _smooth_torch, _smooth_triton, _trial)


@compiled(fastmath=True, error_model="numpy")
def _smooth_rows(
    padded_PHX: np.ndarray,
    planes_3HX: np.ndarray,
    dy_K: np.ndarray,
    reach_K: np.ndarray,
    spatial_log2_KR: np.ndarray,
    colour_log2: np.float32,
    margin: int,
    first: int,
    last: int,
    weight_4W: np.ndarray,
    weight_sum_W: np.ndarray,
    result_PHW: np.ndarray,
) -> None:
    """The exact sum for rows first..last-1, a whole row of pixels at a time for four offsets at once.

    X is W with a margin on both sides, of a colour so far from any other that its weight vanishes. The weights are room
    for those of a row.
    """
    count, height, width = result_PHW.shape
    for y in range(first, last):
        for x in range(width):
            weight_sum_W[x] = 0
        for k in range(dy_K.size):
            near_y = y + dy_K[k]
            if near_y < 0 or near_y >= height:
                continue
            for dx in range(-reach_K[k], reach_K[k] + 1, OFFSETS_AT_ONCE):
                left = margin + dx
                for i in range(OFFSETS_AT_ONCE):
                    _add_weights(
                        planes_3HX[0, y, margin : margin + width],
                        planes_3HX[1, y, margin : margin + width],
                        planes_3HX[2, y, margin : margin + width],
                        planes_3HX[0, near_y, left + i : left + i + width],
                        planes_3HX[1, near_y, left + i : left + i + width],
                        planes_3HX[2, near_y, left + i : left + i + width],
                        spatial_log2_KR[k, abs(dx + i)] if dx + i <= reach_K[k] else NO_WEIGHT_LOG2,
                        colour_log2,
                        weight_4W[i],
                        weight_sum_W,
                    )
                for p in range(count):
                    near_X = padded_PHX[p, near_y, left : left + width + OFFSETS_AT_ONCE - 1]
                    _add_products(weight_4W[0], weight_4W[1], weight_4W[2], weight_4W[3], near_X, result_PHW[p, y])
        for p in range(count):
            for x in range(width):
                result_PHW[p, y, x] /= weight_sum_W[x]


@compiled(fastmath=True, error_model="numpy")
def _add_weights(
    red_W: np.ndarray,
    green_W: np.ndarray,
    blue_W: np.ndarray,
    near_red_W: np.ndarray,
    near_green_W: np.ndarray,
    near_blue_W: np.ndarray,
    spatial_log2: np.float32,
    colour_log2: np.float32,
    weight_W: np.ndarray,
    weight_sum_W: np.ndarray,
) -> None:
    """Weights of one offset for a row of pixels. One-dimensional arrays throughout, or the loop is not vectorised."""
    for x in range(weight_W.size):
        red = red_W[x] - near_red_W[x]
        green = green_W[x] - near_green_W[x]
        blue = blue_W[x] - near_blue_W[x]
        weight = exp2(spatial_log2 + colour_log2 * (red * red + green * green + blue * blue))
        weight_W[x] = weight
        weight_sum_W[x] += weight


@compiled(fastmath=True, error_model="numpy")
def _add_products(
    weight_0: np.ndarray,
    weight_1: np.ndarray,
    weight_2: np.ndarray,
    weight_3: np.ndarray,
    near_X: np.ndarray,
    total_W: np.ndarray,
) -> None:
    for x in range(total_W.size):
        total_W[x] += (weight_0[x] * near_X[x] + weight_1[x] * near_X[x + 1]) + (
            weight_2[x] * near_X[x + 2] + weight_3[x] * near_X[x + 3]
        )
