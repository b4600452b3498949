"""Masks as run lengths: COCO's text to pixels, pixels to runs along the rows."""

from __future__ import annotations

import numpy as np

from m2n2.kernels.compiled import compiled


@compiled()
def read_counts(text: np.ndarray) -> np.ndarray:
    """The run lengths of COCO's compressed RLE, background first: ASCII (N,) uint8 to (R,) int64.

    Five bits a character, the sixth says that more follow; from the fourth number on they are differences to the
    number before the last (pycocotools' `rleFrString`).
    """
    runs = np.empty(text.size, np.int64)
    number, at = 0, 0
    while at < text.size:
        value, shift, more = np.int64(0), 0, True
        while more:
            character = np.int64(text[at]) - 48
            value |= (character & 31) << shift
            more = (character & 32) != 0
            shift += 5
            at += 1
            if not more and (character & 16) != 0:
                value |= np.int64(-1) << shift
        runs[number] = value + (runs[number - 2] if number > 2 else 0)
        number += 1
    return runs[:number]


@compiled()
def fill_crop(runs: np.ndarray, height: int, left: int, top: int, crop_HW: np.ndarray) -> None:
    """Set to 1 what the runs along the columns of an image of `height` have in the crop (uint8) at `left`, `top`."""
    start = 0
    for number in range(runs.size):
        if number % 2 == 1:
            column, row = start // height, start % height
            for _ in range(runs[number]):
                crop_HW[row - top, column - left] = 1
                row += 1
                if row == height:
                    column, row = column + 1, 0
        start += runs[number]


@compiled()
def row_runs(crop_HW: np.ndarray) -> np.ndarray:
    """The runs of a mask along its rows, background first: (H, W) uint8 to (R,) int64."""
    runs = np.empty(crop_HW.size + 1, np.int64)
    number, length, value = 0, 0, 0
    for pixel in crop_HW.flat:
        if pixel != value:
            runs[number] = length
            number, length, value = number + 1, 0, pixel
        length += 1
    runs[number] = length
    return runs[: number + 1].copy()
