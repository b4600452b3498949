"""The evidence for a mask, on maps whose answer is known: each piece by the case that it is for."""

from __future__ import annotations

import numpy as np
import pytest

from m2n2 import Settings
from m2n2.confidence.evidence import Evidence
from m2n2.confidence.gather_evidence import gather_evidence
from m2n2.joint_reading import click_map
from m2n2.kernels.distance_transform import squared_depth
from m2n2.refined.clicked import MappedClick, Reading

SIZE = (60, 80)


def disc(x: int, y: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def clicked(map_hw: np.ndarray, x: int, y: int, label: bool = True) -> MappedClick:
    return MappedClick(x, y, label, click_map(map_hw.astype(np.float32), x, y, Settings()))


def cliff(mask_hw: np.ndarray) -> np.ndarray:
    """A map with one edge: around the mask."""
    return np.where(mask_hw, 0.1, 1.0) - 0.001 * np.sqrt(squared_depth(mask_hw))


def slope(x: int, y: int) -> np.ndarray:
    """A map without any edge."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.asarray(np.hypot(columns - x, rows - y) / 100)


def evidence(
    mask_hw: np.ndarray,
    clicks: list[MappedClick],
    before_hw: np.ndarray | None = None,
    rivals: tuple[tuple[int, int], ...] = (),
) -> Evidence:
    before = None if before_hw is None else Reading(before_hw, (0.5,) * (len(clicks) - 1))
    return gather_evidence(clicks, Reading(mask_hw, (0.5,) * len(clicks)), before, 0.5, rivals, Settings())


def test_where_the_map_offers_one_mask_there_is_consensus() -> None:
    mask = disc(40, 30, 15)
    sure = evidence(mask, [clicked(cliff(mask), 40, 30)])
    unsure = evidence(mask, [clicked(slope(40, 30), 40, 30)])
    assert sure.consensus > unsure.consensus + 0.1
    assert 0 <= unsure.consensus <= sure.consensus <= 1


def test_the_consensus_is_about_this_mask() -> None:
    offered, other = disc(40, 30, 15), disc(70, 10, 5)
    click = clicked(cliff(offered), 40, 30)
    assert evidence(offered, [click]).consensus > 2 * evidence(other, [click]).consensus


def test_a_click_at_the_rim_is_not_central() -> None:
    mask = disc(40, 30, 15)
    assert evidence(mask, [clicked(cliff(mask), 40, 30)]).centrality == 1
    assert evidence(mask, [clicked(cliff(mask), 52, 30)]).centrality < 0.4


def test_a_disc_is_rounder_than_a_stripe_also_at_the_images_border() -> None:
    round_, stripe, half = disc(40, 30, 15), np.zeros(SIZE, bool), disc(40, 0, 15)
    stripe[28:32] = True
    values = [evidence(mask, [clicked(cliff(mask), 40, y)]).roundness for mask, y in ((round_, 30), (half, 0))]
    assert min(values) > 3 * evidence(stripe, [clicked(cliff(stripe), 40, 30)]).roundness


@pytest.mark.parametrize(("radius", "label"), [(25, False), (8, True)])
def test_a_click_deep_in_what_was_wrong_is_a_large_correction(radius: float, label: bool) -> None:
    mask = disc(40, 30, 15)
    x = {False: 60, True: 50}[label]
    clicks = [clicked(cliff(mask), 40, 30), clicked(cliff(mask), x, 30, label)]
    near = evidence(mask, clicks, before_hw=mask)
    far = evidence(mask, clicks, before_hw=disc(40, 30, radius))
    assert far.correction > near.correction
    assert (far.clicks, evidence(mask, clicks[:1]).correction) == (2, 1)


def test_another_objects_click_inside_is_a_rival() -> None:
    mask = disc(40, 30, 15)
    click = clicked(cliff(mask), 40, 30)
    assert evidence(mask, [click], rivals=((5, 5), (70, 50))).rivals == 0
    assert evidence(mask, [click], rivals=((5, 5), (45, 35))).rivals == 1


def test_a_large_image_has_the_evidence_of_its_small_copy() -> None:
    small_mask = disc(40, 30, 15)
    small = evidence(small_mask, [clicked(cliff(small_mask), 40, 30)])
    mask = np.kron(small_mask, np.ones((8, 8), bool))
    map_hw = np.kron(cliff(small_mask), np.ones((8, 8)))
    large = evidence(mask, [clicked(map_hw, 324, 244)])
    assert large.consensus == pytest.approx(small.consensus, abs=0.1)
    assert large.roundness == pytest.approx(small.roundness, rel=0.1)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2)])
def test_tiny_masks_have_finite_evidence(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    click = MappedClick(0, 0, True, click_map(rng.random(size, np.float32), 0, 0, Settings()))
    found = gather_evidence([click], Reading(np.ones(size, bool), (0.5,)), None, 1.0, [], Settings())
    assert np.isfinite([found.consensus, found.centrality, found.roundness]).all()
