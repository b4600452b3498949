"""The joint bilateral sum of all maps of an image: offsets in a loop, weights made in registers and never written.

A program has a row of 128 pixels and up to 16 maps. For every offset it makes the 128 weights once from the colours and
multiplies all maps with them; colours and maps of the neighbourhood stay in the cache between offsets, so that memory
sees each about once a tile.

Letters in names: P maps, H x W image, K rows of offsets, R distances.
"""

# No `from __future__ import annotations`: Triton reads `tl.constexpr` from the annotations themselves.
import torch
import triton
import triton.language as tl

PIXELS = 128
MOST_MAPS = 16


def joint_bilateral(
    bilinear_PHW: torch.Tensor,
    image_HW3: torch.Tensor,
    dy_K: torch.Tensor,
    reach_K: torch.Tensor,
    spatial_log2_KR: torch.Tensor,
    colour_log2: float,
) -> torch.Tensor:
    """Weighted means of the maps, (P, H, W) float32.

    Args:
        bilinear_PHW: float32.
        image_HW3: uint8.
        dy_K, reach_K: int32, rows of offsets; in row k, dx goes from `-reach[k]` to `reach[k]`.
        spatial_log2_KR: float32, log2 of the spatial weight in row k at |dx|.
        colour_log2: log2 of the colour weight, a unit of squared distance of colours in 0..255.
    """
    height, width = bilinear_PHW.shape[1:]
    mean_PHW = torch.empty_like(bilinear_PHW)
    planes_3HW = image_HW3.permute(2, 0, 1).float().contiguous()
    for first in range(0, len(bilinear_PHW), MOST_MAPS):
        maps = bilinear_PHW[first : first + MOST_MAPS].contiguous()
        _joint_bilateral[(triton.cdiv(width, PIXELS), height)](
            maps,
            planes_3HW,
            dy_K,
            reach_K,
            spatial_log2_KR,
            mean_PHW[first : first + MOST_MAPS],
            colour_log2,
            len(maps),
            height * width,
            height,
            width,
            len(dy_K),
            spatial_log2_KR.shape[1],
            MAPS=triton.next_power_of_2(len(maps)),
            PIXELS=PIXELS,
        )
    return mean_PHW


@triton.jit
def _joint_bilateral(
    maps,
    planes,
    dy_of,
    reach_of,
    spatial_log2,
    means,
    colour_log2,
    count,
    plane,
    height,
    width,
    offset_rows,
    distances,
    MAPS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    y = tl.program_id(1)
    x = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    p = tl.arange(0, MAPS)
    here = y.to(tl.int64) * width + x
    red = tl.load(planes + here, mask=x < width, other=0.0)
    green = tl.load(planes + plane + here, mask=x < width, other=0.0)
    blue = tl.load(planes + 2 * plane + here, mask=x < width, other=0.0)
    weights = tl.zeros((PIXELS,), tl.float32)
    totals = tl.zeros((MAPS, PIXELS), tl.float32)
    for k in range(offset_rows):
        near_y = y + tl.load(dy_of + k)
        reach = tl.load(reach_of + k)
        if (near_y >= 0) & (near_y < height):
            for dx in range(-reach, reach + 1):
                near_x = x + dx
                inside = (near_x >= 0) & (near_x < width)
                near = near_y.to(tl.int64) * width + near_x
                step_red = red - tl.load(planes + near, mask=inside, other=0.0)
                step_green = green - tl.load(planes + plane + near, mask=inside, other=0.0)
                step_blue = blue - tl.load(planes + 2 * plane + near, mask=inside, other=0.0)
                distance = step_red * step_red + step_green * step_green + step_blue * step_blue
                spatial = tl.load(spatial_log2 + k * distances + tl.abs(dx))
                weight = tl.where(inside, tl.exp2(spatial + colour_log2 * distance), 0.0)
                weights += weight
                place = p[:, None].to(tl.int64) * plane + near[None, :]
                value = tl.load(maps + place, mask=(p[:, None] < count) & inside[None, :], other=0.0)
                totals += value * weight[None, :]
    place = p[:, None].to(tl.int64) * plane + here[None, :]
    mask = (p[:, None] < count) & (x[None, :] < width)
    tl.store(means + place, totals / tl.where(x < width, weights, 1.0)[None, :], mask=mask)
