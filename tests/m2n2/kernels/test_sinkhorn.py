"""Balancing itself is tested in tests/m2n2/test_transition.py; here: rounds that nobody looks at."""

from __future__ import annotations

import pytest
import torch

from m2n2.kernels import sinkhorn
from m2n2.kernels.sinkhorn import balance


def test_they_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(49, 49, generator=generator)
    astray = torch.tril(torch.rand(64, 64, generator=generator)) + 1e-3 * torch.eye(64)
    cases = [
        (kernel, tolerance, most)
        for kernel in (smooth, astray)
        for tolerance in (0.0, 1e-6)
        for most in (1, 3, 30, 200)
    ]
    one_by_one = [balance(*case) for case in cases]
    monkeypatch.setattr(sinkhorn, "_look_every", lambda device: 8)
    for case, expected in zip(cases, one_by_one, strict=True):
        found = balance(*case)
        assert (found.rounds, found.residual) == (expected.rounds, expected.residual)
        assert torch.equal(found.row_scale, expected.row_scale)
        assert torch.equal(found.column_scale, expected.column_scale)
