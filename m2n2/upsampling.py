"""Joint bilateral upsampling of all maps of an image at once (section 5 of docs/algorithm.md).

    u = bilinear(m) to H x W
    result(p) = sum_d weight(p, d) u(p + d) / sum_d weight(p, d),  then divided by its maximum
    weight(p, d) = exp(-1/2 (dx / (f_x sigma_s))^2 - 1/2 (dy / (f_y sigma_s))^2 - |I(p) - I(p + d)|^2 / (2 sigma_r^2))

over offsets d = (dx, dy) inside the image and within 3 sigma, f = image size / grid size. The weights depend on the image
alone and are shared by all maps; they are computed, not stored, since a vectorised exponential is faster than memory.

Letters in names: P points, H x W image, h x w grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from m2n2.parallel import run_parallel, strips
from m2n2.settings import Settings

STRIP_ROWS = 16
BLOCK_VALUES = 1 << 25  # values of one intermediate tensor of the torch path
FAR_COLOUR = 1e4  # a colour so far from any other that its weight is 0


def upsample(maps_Phw: torch.Tensor, image_HW3: np.ndarray, settings: Settings) -> np.ndarray:
    """Upsample low-resolution maps guided by the image, each divided by its maximum: (P, H, W) float32.

    Runs in numba on the CPU and in torch on the device of the maps anywhere else.
    """
    bilinear_PHW = torch.nn.functional.interpolate(
        maps_Phw[None], size=image_HW3.shape[:2], mode="bilinear", align_corners=False
    )[0]
    offsets = _Offsets.within(image_HW3.shape[:2], maps_Phw.shape[1:], settings)
    smoothed_PHW = (_smooth_cpu if maps_Phw.device.type == "cpu" else _smooth_torch)(bilinear_PHW, image_HW3, offsets)
    largest_P = smoothed_PHW.max(axis=(1, 2))
    largest_P[largest_P == 0] = 1.0
    smoothed_PHW /= largest_P[:, None, None]
    return smoothed_PHW


@dataclass(frozen=True)
class _Offsets:
    """The offsets within the cut: for row k, dy = `dy_K[k]` and |dx| <= `reach_K[k]`; weights as powers of two.

    `spatial_log2_KR[k, |dx|]` is log2 of the spatial weight, `colour_log2` is log2 of the colour weight a unit of
    squared distance of colours in 0..255.
    """

    dy_K: np.ndarray
    reach_K: np.ndarray
    spatial_log2_KR: np.ndarray
    colour_log2: float

    @classmethod
    def within(cls, image_size: tuple[int, ...], grid: tuple[int, ...], settings: Settings) -> _Offsets:
        sigma_y, sigma_x = (
            settings.spatial_sigma_cells * pixels / cells for pixels, cells in zip(image_size, grid, strict=True)
        )
        furthest_y, furthest_x = (int(settings.truncation_sigmas * sigma) for sigma in (sigma_y, sigma_x))
        dy_K = np.arange(-furthest_y, furthest_y + 1)
        dx_R = np.arange(furthest_x + 1)
        squared_KR = (dx_R[None, :] / sigma_x) ** 2 + (dy_K[:, None] / sigma_y) ** 2
        reach_K = (squared_KR <= settings.truncation_sigmas**2).sum(axis=1) - 1
        return cls(
            dy_K,
            reach_K,
            (-0.5 / math.log(2) * squared_KR).astype(np.float32),
            -1.0 / (2 * (255 * settings.colour_sigma) ** 2 * math.log(2)),
        )


def _smooth_cpu(bilinear_PHW: torch.Tensor, image_HW3: np.ndarray, offsets: _Offsets) -> np.ndarray:
    maps_PHW = bilinear_PHW.numpy()
    planes_3HW = np.ascontiguousarray(image_HW3.transpose(2, 0, 1), dtype=np.float32)
    result_PHW = np.empty_like(maps_PHW)

    def work(rows: tuple[int, int]) -> None:
        _smooth_rows(
            maps_PHW,
            planes_3HW,
            offsets.dy_K,
            offsets.reach_K,
            offsets.spatial_log2_KR,
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
    reach_x, reach_y = int(offsets.reach_K.max()), int(offsets.dy_K.max())
    margins = (reach_x, reach_x, reach_y, reach_y)
    image_3HW = torch.from_numpy(image_HW3).to(device).permute(2, 0, 1).float()
    padded_3HW = torch.nn.functional.pad(image_3HW, margins, value=FAR_COLOUR)
    padded_PHW = torch.nn.functional.pad(bilinear_PHW, margins)
    numerator_PHW = torch.zeros_like(bilinear_PHW)
    weight_HW = torch.zeros((height, width), device=device)
    rows_each = max(1, BLOCK_VALUES // ((2 * reach_x + 1) * width * max(3, count)))
    for first, last in strips(height, rows_each):
        for k, dy in enumerate(offsets.dy_K):
            reach = int(offsets.reach_K[k])
            rows = slice(first + reach_y + int(dy), last + reach_y + int(dy))
            columns = slice(reach_x - reach, reach_x + width + reach)
            window = 2 * reach + 1
            near_3HWD = padded_3HW[:, rows, columns].unfold(2, window, 1)
            distance_HWD = (near_3HWD - image_3HW[:, first:last, :, None]).square_().sum(dim=0)
            dx_D = np.abs(np.arange(-reach, reach + 1))
            spatial_D = torch.from_numpy(offsets.spatial_log2_KR[k, dx_D]).to(device)
            weights_HWD = torch.exp2(distance_HWD.mul_(offsets.colour_log2).add_(spatial_D))
            weight_HW[first:last] += weights_HWD.sum(dim=2)
            near_PHWD = padded_PHW[:, rows, columns].unfold(2, window, 1)
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
    colour_log2: float,
    first: int,
    last: int,
    result_PHW: np.ndarray,
) -> None:
    """The exact sum for rows first..last-1. Loops run over x innermost, so that they vectorise."""
    count, height, width = maps_PHW.shape
    weight_W = np.empty(width, np.float32)
    weight_sum_W = np.empty(width, np.float32)
    for y in range(first, last):
        weight_sum_W[:] = 0
        result_PHW[:, y] = 0
        for k in range(dy_K.size):
            near_y = y + dy_K[k]
            if near_y < 0 or near_y >= height:
                continue
            for dx in range(-reach_K[k], reach_K[k] + 1):
                left, right = max(0, -dx), min(width, width - dx)
                if left >= right:
                    continue
                spatial = spatial_log2_KR[k, abs(dx)]
                here_3n = planes_3HW[:, y, left:right]
                near_3n = planes_3HW[:, near_y, left + dx : right + dx]
                sum_n = weight_sum_W[left:right]
                for x in range(right - left):
                    red = here_3n[0, x] - near_3n[0, x]
                    green = here_3n[1, x] - near_3n[1, x]
                    blue = here_3n[2, x] - near_3n[2, x]
                    weight = _exp2(spatial + colour_log2 * (red * red + green * green + blue * blue))
                    weight_W[x] = weight
                    sum_n[x] += weight
                for p in range(count):
                    near_n = maps_PHW[p, near_y, left + dx : right + dx]
                    total_n = result_PHW[p, y, left:right]
                    for x in range(right - left):
                        total_n[x] += weight_W[x] * near_n[x]
        for p in range(count):
            for x in range(width):
                result_PHW[p, y, x] /= weight_sum_W[x]


@intrinsic
def _bits_of(typingctx, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """The bits of a float32 as int32."""
    return types.int32(types.float32), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.IntType(32)
    )


@intrinsic
def _float_of(typingctx, bits):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """The float32 with these int32 bits."""
    return types.float32(types.int32), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.FloatType()
    )


# 2^f on 0..1, degree 5: fitted at Chebyshev's points, relative error below 3e-7
E0, E1, E2, E3, E4, E5 = (
    np.float32(c)
    for c in np.polynomial.Chebyshev.interpolate(np.exp2, 5, domain=[0, 1]).convert(kind=np.polynomial.Polynomial).coef
)


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy", inline="always")
def _exp2(exponent: float) -> float:
    """2^exponent for exponent <= 0 by arithmetic that vectorises; 1e-38 for what would be smaller."""
    exponent = max(exponent, np.float32(-126.0))
    whole = np.floor(exponent)
    part = exponent - whole
    power = E0 + part * (E1 + part * (E2 + part * (E3 + part * (E4 + part * E5))))
    return _float_of(_bits_of(power) + (np.int32(whole) << np.int32(23)))
