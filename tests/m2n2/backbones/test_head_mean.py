from __future__ import annotations

import pytest
import torch

from m2n2.backbones import head_mean


def literal(query, key, scale):
    return (query.float() @ key.float().transpose(1, 2) * scale).softmax(dim=-1).mean(dim=0)


@pytest.mark.parametrize("chunk_bytes", [1, 5_000, 1 << 30])
def test_is_the_mean_of_softmaxes_however_it_is_cut(monkeypatch, chunk_bytes):
    monkeypatch.setattr(head_mean, "CHUNK_BYTES_CPU", chunk_bytes)
    query, key = torch.randn(2, 5, 77, 8, generator=torch.Generator().manual_seed(0))
    total = torch.zeros(77, 77)
    head_mean.add_head_mean(total, query, key, scale=0.7)
    torch.testing.assert_close(total, literal(query, key, 0.7), atol=1e-6, rtol=1e-5)


def test_adds_to_what_is_there_with_its_weight():
    query, key = torch.randn(2, 3, 20, 4, generator=torch.Generator().manual_seed(0))
    total = torch.ones(20, 20)
    head_mean.add_head_mean(total, query, key, scale=1.0, weight=0.25)
    torch.testing.assert_close(total, 1 + 0.25 * literal(query, key, 1.0))


def test_half_precision_does_not_flush_small_probabilities_to_zero():
    """Over 4,096 keys an all-half softmax loses whatever is below 6e-8."""
    query, key = (2 * torch.randn(2, 1, 4096, 16, generator=torch.Generator().manual_seed(0))).half()
    total = torch.zeros(4096, 4096)
    head_mean.add_head_mean(total, query, key, scale=0.25)
    in_half = (query.float() @ key.float().transpose(1, 2) * 0.25).half().softmax(dim=-1)
    assert (in_half == 0).float().mean() > 0.02
    assert (total == 0).sum() == 0
