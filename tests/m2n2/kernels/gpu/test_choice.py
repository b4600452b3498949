"""Kernels are chosen by the device alone, and one that fails or errs cannot break anybody."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from m2n2 import transition, upsampling
from m2n2.backbones import head_mean
from m2n2.kernels import sinkhorn
from m2n2.kernels.gpu import fourth_power
from m2n2.kernels.gpu.choice import Choice

CPU = torch.device("cpu")


def doubled(values: torch.Tensor) -> torch.Tensor:
    return 2 * values


class Kernel:
    """In a Triton kernel's place: doubles up to a relative error, or raises; counts its calls."""

    def __init__(self, error: float = 0.0, raises: Exception | None = None) -> None:
        self.error, self.raises, self.calls = error, raises, 0

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.raises:
            raise self.raises
        return 2 * values * (1 + self.error)


def choice(kernel: Kernel) -> Choice[[torch.Tensor], torch.Tensor]:
    return Choice("doubling", doubled, kernel, lambda *variant: (torch.ones(3),))


def test_a_sound_kernel_is_tried_once_a_variant_and_used(caplog: pytest.LogCaptureFixture) -> None:
    kernel = Kernel(error=5e-6)
    chosen = choice(kernel)
    for variant in ("a", "a", "b", "a"):
        assert chosen.tried(CPU, variant) is kernel
    assert kernel.calls == 2
    assert not caplog.records


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (
            Kernel(raises=RuntimeError("out of resource:\n  shared memory")),
            "RuntimeError: out of resource: shared memory",
        ),
        (Kernel(error=3e-5), "it differs from torch by 3.0e-05 of the largest value, allowed: 1e-05"),
        (Kernel(error=float("nan")), "it differs from torch by inf of the largest value, allowed: 1e-05"),
    ],
)
def test_torch_goes_on_in_a_bad_kernels_place_and_says_so_once(
    kernel: Kernel, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = choice(kernel)
    for variant in ("a", "a", "b"):
        assert chosen.tried(CPU, variant) is doubled
    assert kernel.calls == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith(reason)
    assert "'doubling'" in record.getMessage()


def test_what_happens_in_a_bad_kernels_place_is_said_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    faulty = replace(choice(Kernel(error=4e-5)), otherwise="nobody does {name!r}")
    assert faulty.tried(CPU) is doubled
    assert caplog.messages[0].startswith("on cpu nobody does 'doubling': it differs from torch by 4.0e-05")
    assert "step a product" in fourth_power.PRODUCT.otherwise


def test_a_fault_that_all_kernels_share_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(4):
        choice(Kernel(raises=ModuleNotFoundError("No module named 'triton'"))).tried(CPU)
    assert len(caplog.records) == 1


def test_the_device_decides() -> None:
    kernel = Kernel()
    assert choice(kernel).on(CPU) is doubled
    assert kernel.calls == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine on which no kernel can run")
def test_the_real_kernels_where_none_can_run_leave_the_torch_forms(caplog: pytest.LogCaptureFixture) -> None:
    cuda = torch.device("cuda", 0)
    chosen = [
        transition.STEP.on(cuda, torch.float16, 3),
        sinkhorn.SWEEP.on(cuda, torch.float32),
        upsampling.CHOICE.on(cuda, 17),
        head_mean.CHOICE.on(cuda, torch.float16, 64),
        transition.TEMPER.on(cuda, torch.float32, torch.float16),
        fourth_power.PRODUCT.on(cuda, torch.float16, 4),
    ]
    own = [
        transition.STEP,
        sinkhorn.SWEEP,
        upsampling.CHOICE,
        head_mean.CHOICE,
        transition.TEMPER,
        fourth_power.PRODUCT,
    ]
    assert chosen == [each.torch_form for each in own]
    assert len(caplog.records) == 1
