"""What is reckoned for a GPU: the counts follow the sizes, and the page shows what the code reckons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from m2n2 import Settings, transition
from m2n2.kernels.gpu import fourth_power
from m2n2.kernels.gpu.traffic import CARDS, POWER_SWEEPS, STEPS_A_PRODUCT, Case, stages, table
from m2n2.markov_map import LOOK_EVERY, STEPS_THAT_PAY, steps_to_go
from m2n2.upsampling import Offsets

PAGE = Path(__file__).resolve().parents[4] / "docs" / "backbones.md"
OFFSETS = Offsets.within((1000, 1000), (128, 128), Settings())
CASE = Case(
    cells=128**2,
    pixels=10**6,
    offsets=int((2 * OFFSETS.reach + 1).sum()),
    clicks=40,
    sinkhorn_sweeps=25,
    chain_steps=60,
)
LONG = replace(CASE, operator_bytes=2, chain_steps=400, leaps_after=32)


def total(case: Case, name: str) -> float:
    (card,) = (card for card in CARDS if card.name == name)
    return sum(stage.milliseconds(card) for stage in stages(case))


def test_the_page_shows_what_is_reckoned() -> None:
    page = PAGE.read_text()
    half = replace(CASE, operator_bytes=2)
    assert "\n".join(table(CASE)) in page
    assert "\n".join(table(half)) in page
    assert "\n".join(table(LONG, [card for card in CARDS if card.name != "A100 80 GB"])) in page
    for steps, case in ((111, CASE), (247, half), (412, LONG)):  # as many as the page says fit
        fits = replace(case, chain_steps=steps)
        assert total(fits, "H100 SXM") <= 80 < total(replace(fits, chain_steps=steps + 1), "H100 SXM")
    for case in (CASE, half):
        assert f"{total(replace(case, chain_steps=400), 'H100 SXM'):.0f} ms" in page


def test_an_h100_takes_80_ms_at_most_with_60_steps_and_with_400() -> None:
    assert total(replace(CASE, operator_bytes=2), "H100 SXM") <= 80
    assert total(LONG, "H100 SXM") <= 80


def test_a_chain_of_400_steps_leaps_when_the_reckoning_says_and_one_of_60_does_not() -> None:
    def leaps_after(steps: int) -> int | None:
        """Where the slowest cell rises evenly."""
        for step in range(2 * LOOK_EVERY, steps, LOOK_EVERY):
            before, lowest = (0.3 * seen / steps for seen in (step - LOOK_EVERY, step))
            if steps_to_go(before, lowest, 0.3) >= STEPS_THAT_PAY * CASE.cells:
                return step
        return None

    assert leaps_after(400) == LONG.leaps_after
    assert leaps_after(60) is None


def test_what_a_leap_is_reckoned_with_is_what_it_does() -> None:
    assert (STEPS_A_PRODUCT, POWER_SWEEPS) == (fourth_power.STEPS, 1 + transition.POWER_ROUNDS)
    [power] = [stage for stage in stages(LONG) if stage.name == "fourth power"]
    assert power.half_flops == 2 * 2 * CASE.cells**3


def test_a_step_of_the_chain_reads_the_kernel_once() -> None:
    chain = {stage.name: stage for stage in stages(replace(CASE, chain_steps=1, clicks=1))}["chain"]
    assert chain.memory_bytes == pytest.approx(4 * CASE.cells**2, rel=1e-3)


def test_upsampling_makes_weights_once_for_sixteen_maps() -> None:
    of = {clicks: {s.name: s for s in stages(replace(CASE, clicks=clicks))}["upsampling"] for clicks in (1, 16, 17)}
    weights = 12 * CASE.pixels * CASE.offsets
    assert of[16].float32_flops - of[1].float32_flops == 15 * 2 * CASE.pixels * CASE.offsets
    assert of[17].float32_flops - of[16].float32_flops == weights + 2 * CASE.pixels * CASE.offsets
