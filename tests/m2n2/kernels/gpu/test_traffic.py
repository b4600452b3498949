"""What is reckoned for a GPU: the counts follow the sizes, and the page shows what the code reckons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from m2n2 import Settings
from m2n2.kernels.gpu.traffic import CARDS, Case, stages, table
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


def total(case: Case, name: str) -> float:
    (card,) = (card for card in CARDS if card.name == name)
    return sum(stage.milliseconds(card) for stage in stages(case))


def test_the_page_shows_what_is_reckoned() -> None:
    page = PAGE.read_text()
    assert "\n".join(table(CASE)) in page
    for steps, operator_bytes in ((111, 4), (247, 2)):  # as many as the page says fit into 80 ms
        fits = replace(CASE, chain_steps=steps, operator_bytes=operator_bytes)
        assert total(fits, "H100 SXM") <= 80 < total(replace(fits, chain_steps=steps + 1), "H100 SXM")
    for operator_bytes in (4, 2):
        assert f"{total(replace(CASE, chain_steps=400, operator_bytes=operator_bytes), 'H100 SXM'):.0f} ms" in page


def test_a_step_of_the_chain_reads_the_kernel_once() -> None:
    chain = {stage.name: stage for stage in stages(replace(CASE, chain_steps=1, clicks=1))}["chain"]
    assert chain.memory_bytes == pytest.approx(4 * CASE.cells**2, rel=1e-3)


def test_upsampling_makes_weights_once_for_sixteen_maps() -> None:
    of = {clicks: {s.name: s for s in stages(replace(CASE, clicks=clicks))}["upsampling"] for clicks in (1, 16, 17)}
    weights = 12 * CASE.pixels * CASE.offsets
    assert of[16].float32_flops - of[1].float32_flops == 15 * 2 * CASE.pixels * CASE.offsets
    assert of[17].float32_flops - of[16].float32_flops == weights + 2 * CASE.pixels * CASE.offsets
