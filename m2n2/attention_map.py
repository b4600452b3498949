"""Attention maps: the paper's baseline for Markov-maps, one look at the attention instead of a walk.

    M = -log(a) + log(max a),   a = s A: the rows of the point's four cells, weighted as its start state

Letters in names: P points, N = h * w cells of the grid.
"""

from __future__ import annotations

import torch

from m2n2.transition import refuse_faults

SMALLEST = torch.finfo(torch.float32).tiny


def attention_maps(attention_NN: torch.Tensor, starts_PN: torch.Tensor) -> torch.Tensor:
    """Attention maps of all start states: (P, N) float32 of at least 0, on the attention's device.

    Raises:
        InvalidAttention: a row that is used has a value not finite or negative, or is zero.
    """
    used = starts_PN.any(dim=0).nonzero()[:, 0]
    rows_UN = attention_NN[used].float()
    for cell, row_N in zip(used.tolist(), rows_UN, strict=True):
        refuse_faults(row_N[None], cell)
    looks_PN = starts_PN[:, used] @ (rows_UN / rows_UN.sum(dim=1, keepdim=True))
    logs_PN = looks_PN.clamp(min=SMALLEST).log()
    return logs_PN.amax(dim=1, keepdim=True) - logs_PN
