"""What tests/m2n2/kernels/gpu/test_triton_kernels.py runs with TRITON_INTERPRET=1: a Triton kernel on small sizes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from m2n2 import Settings, transition
from m2n2 import upsampling as upsampling_stage
from m2n2.backbones import head_mean
from m2n2.backbones.head_mean import add_head_mean as torch_head_mean
from m2n2.errors import InvalidAttention
from m2n2.kernels import sinkhorn
from m2n2.kernels.gpu.head_mean import add_head_mean
from m2n2.kernels.gpu.sinkhorn_sweep import sinkhorn_sweep
from m2n2.kernels.gpu.temper import temper
from m2n2.kernels.gpu.thin_product import thin_product
from m2n2.kernels.gpu.upsampling import joint_bilateral
from m2n2.upsampling import Offsets
from tests.m2n2 import oracle, synthetic

GRIDS = [(1, 1), (9, 8)]
GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=GENERATOR) + 0.1


def products() -> int:
    cases = 0
    for height, width in GRIDS:
        n = height * width
        for states in (1, 17, 33):
            for dtype in (torch.float32, torch.float16):
                kernel, rows, columns, state = random(n, n).to(dtype), random(n), random(n), random(states, n)
                expected = ((state.double() * rows) @ kernel.double()) * columns
                torch.testing.assert_close(
                    thin_product(state, rows, kernel, columns).double(), expected, rtol=1e-5, atol=0
                )
                cases += 1
    return cases


def tempers() -> int:
    cases = 0
    for cells in (1, 72):  # the trials have more than a tile
        for dtype, storage in [(torch.float32, torch.float32), (torch.float32, torch.float16), (torch.float16,) * 2]:
            attention = (random(cells, cells) ** 8).to(dtype)
            attention[:, 1::3] = 0
            power = attention.double() ** (1 / 0.65)
            expected = cells * power / power.sum(dim=1, keepdim=True)
            kernel = attention if dtype == storage else torch.empty(cells, cells, dtype=storage)
            faulty = temper(attention, kernel, 1 / 0.65)
            assert not faulty.any()
            close = 1e-5 if storage == torch.float32 else 6e-4
            torch.testing.assert_close(kernel.double(), expected, rtol=close, atol=1e-7)
            cases += 1
    faults = random(6, 6)
    faults[0, 3], faults[1, 5], faults[2, 0], faults[4] = float("nan"), float("inf"), -0.1, 0.0
    before = faults.clone()
    assert temper(faults, faults, 1.5).tolist() == [True, True, True, False, True, False]
    torch.testing.assert_close(faults[[0, 1, 2, 4]], before[[0, 1, 2, 4]], equal_nan=True)
    for row, fault in [(0, "cell 0 to cell 3 is not finite"), (2, "cell 2 to cell 0 is neg"), (4, "row 4 .* is zero")]:
        attention = random(6, 6)
        attention[row] = faults[row]
        with pytest.raises(InvalidAttention, match=fault):
            transition.TEMPER.triton_form(attention, attention, 1.5)
    return cases + 4


def sweeps() -> int:
    cases = 0
    for height, width in [*GRIDS, (25, 22)]:
        n = height * width
        for dtype in (torch.float32, torch.float16):
            kernel, columns = random(n, n).to(dtype), random(n).double()
            rows = 1 / (kernel.double() @ columns)
            found_rows, found_sums = sinkhorn_sweep(kernel, columns)
            torch.testing.assert_close(found_rows, rows, rtol=1e-5, atol=0)
            torch.testing.assert_close(found_sums, rows @ kernel.double(), rtol=1e-5, atol=0)
            cases += 1
    return cases


def upsampling() -> int:
    cases = 0
    rng = np.random.default_rng(0)
    for grid, size, maps in [((2, 3), (4, 5), 1), ((1, 1), (2, 3), 2), ((3, 2), (4, 3), 17)]:
        image = synthetic.image(rng, size)
        maps_Phw = rng.random((maps, *grid), dtype=np.float32) + 0.1
        bilinear = np.stack([oracle.bilinear(each, size) for each in maps_Phw]).astype(np.float32)
        offsets = Offsets.within(size, grid, Settings())
        found = joint_bilateral(
            torch.from_numpy(bilinear),
            torch.from_numpy(image),
            torch.from_numpy(offsets.dy.astype(np.int32)),
            torch.from_numpy(offsets.reach.astype(np.int32)),
            torch.from_numpy(offsets.spatial_log2),
            offsets.colour_log2,
        ).numpy()
        for mean, each in zip(found[:3], maps_Phw[:3], strict=True):
            np.testing.assert_allclose(mean / mean.max(), oracle.upsampled(each, image), rtol=1e-5, atol=1e-6)
        cases += 1
    return cases


def head_means() -> int:
    cases = 0
    for cells, extra, heads, channels in [(1, 0, 1, 1), (35, 1, 2, 20), (66, 2, 3, 33)]:
        for dtype in (torch.float32, torch.float16):
            query = (4 * torch.randn(heads, cells, channels, generator=GENERATOR)).to(dtype)
            key = torch.randn(heads, cells + extra, channels, generator=GENERATOR).to(dtype)
            total = random(cells, cells)
            expected = total.clone()
            torch_head_mean(expected, query, key, 0.3, 0.5)
            probability = torch.softmax(0.3 * query.double() @ key.double().transpose(1, 2), dim=2)[:, :, extra:]
            literal = total + 0.5 * probability.mean(dim=0)
            add_head_mean(total, query, key, 0.3, 0.5)
            torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(total.double(), literal, rtol=1e-5, atol=1e-6)
            cases += 1
    return cases


def trials() -> int:
    """The kernels pass their own trials, with the arguments that their callers give them."""
    cpu = torch.device("cpu")
    for choice, variants in [
        (transition.STEP, [(torch.float32, 3), (torch.float16, 70)]),
        (sinkhorn.SWEEP, [(torch.float32,), (torch.float16,)]),
        (upsampling_stage.CHOICE, [(1,), (17,)]),
        (head_mean.CHOICE, [(torch.float32, 8), (torch.float16, 64), (torch.bfloat16, 20)]),
        (transition.TEMPER, [(torch.float32, torch.float32), (torch.float32, torch.float16)]),
    ]:
        for variant in variants:
            assert choice.tried(cpu, *variant) is choice.triton_form, (choice.name, variant)
    return 11


if __name__ == "__main__":
    sys.stdout.write(f"{products() + tempers() + sweeps() + upsampling() + head_means() + trials()} cases\n")
