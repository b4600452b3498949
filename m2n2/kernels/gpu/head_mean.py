"""Mean of all heads' attention probabilities, added in registers and written once.

A row's normaliser is log2 of the sum of 2^logits over all keys, in one pass; then each tile of the result takes every
head's logits anew, which costs arithmetic and no memory, and adds 2^(logit - normaliser) of all heads before it is
written. Beside the result only the normalisers are kept, (heads, N) float32. Products of float16 queries and keys are
exact in float32, where they are added; those of other types are three products of TF32.

Letters in names: N cells, K keys (the first K - N take part in the softmax alone).
"""

# No `from __future__ import annotations`: Triton reads `tl.constexpr` from the annotations themselves.
import math

import torch
import triton
import triton.language as tl

ROWS, COLUMNS = 64, 64


def add_head_mean(total_NN: torch.Tensor, query: torch.Tensor, key: torch.Tensor, scale: float, weight: float) -> None:
    """Add `weight` times the mean over heads of softmax(scale · q kᵀ) to the total, in float32.

    Args:
        total_NN: (N, N) float32, changed in place.
        query: (heads, N, d) of any dtype.
        key: (heads, K, d).
    """
    heads, cells, channels = query.shape
    keys = key.shape[1]
    query, key = query.contiguous(), key.contiguous()
    log2_sum = torch.empty(heads, cells, dtype=torch.float32, device=total_NN.device)
    sizes = {"ROWS": ROWS, "COLUMNS": COLUMNS, "CHANNELS": max(16, triton.next_power_of_2(channels))}
    log2_scale = scale / math.log(2)
    rows = triton.cdiv(cells, ROWS)
    _normalisers[(rows, heads)](query, key, log2_sum, log2_scale, cells, keys, channels, **sizes)
    _add_mean[(rows, triton.cdiv(cells, COLUMNS))](
        total_NN, query, key, log2_sum, log2_scale, weight / heads, heads, cells, keys, channels, **sizes
    )


@triton.jit
def _normalisers(
    query,
    key,
    log2_sum,
    log2_scale,
    cells,
    keys,
    channels,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    head = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, CHANNELS)
    q = _rows_of(query + head * cells * channels, row, channel, cells, channels)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    for first in range(0, keys, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        k = _rows_of(key + head * keys * channels, column, channel, keys, channels)
        logit = tl.dot(q, tl.trans(k), input_precision="tf32x3") * log2_scale
        logit = tl.where(column[None, :] < keys, logit, float("-inf"))
        larger = tl.maximum(largest, tl.max(logit, axis=1))
        total = total * tl.exp2(largest - larger) + tl.sum(tl.exp2(logit - larger[:, None]), axis=1)
        largest = larger
    tl.store(log2_sum + head * cells + row, largest + tl.log2(total), mask=row < cells)


@triton.jit
def _add_mean(
    total,
    query,
    key,
    log2_sum,
    log2_scale,
    share,
    heads,
    cells,
    keys,
    channels,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    channel = tl.arange(0, CHANNELS)
    mean = tl.zeros((ROWS, COLUMNS), tl.float32)
    for head in range(heads):
        q = _rows_of(query + head * cells * channels, row, channel, cells, channels)
        k = _rows_of(key + head * keys * channels, column + keys - cells, channel, keys, channels)
        logit = tl.dot(q, tl.trans(k), input_precision="tf32x3") * log2_scale
        normaliser = tl.load(log2_sum + head * cells + row, mask=row < cells, other=0.0)
        mean += tl.exp2(logit - normaliser[:, None])
    place = total + row[:, None].to(tl.int64) * cells + column[None, :]
    mask = (row[:, None] < cells) & (column[None, :] < cells)
    tl.store(place, tl.load(place, mask=mask, other=0.0) + share * mean, mask=mask)


@triton.jit
def _rows_of(start, row, channel, rows, channels):
    place = row[:, None].to(tl.int64) * channels + channel[None, :]
    value = tl.load(start + place, mask=(row[:, None] < rows) & (channel[None, :] < channels), other=0.0)
    if value.dtype != tl.float16:
        value = value.to(tl.float32)
    return value
