"""The worker's line on a simulated machine: it keeps the device busy where cores suffice, and else says what is slow.

Threads, photos and masks are real, seconds are the simulated clock's: a busy machine changes none of them.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.gpu.busy import BUSY, Busy, Costs, reckoned, simulate
from benchmarks.gpu.simulated_machine import Clock, Machine
from m2n2.kernels.gpu.traffic import CARDS
from pipeline.worker.device_line import refined_at_once

IMAGES = 12
LIGHT = Costs(fetch_s=0.05, decode_s=0.015, resize_s=0.03, network_s=0.055, upsampling_s=0.014, clicks=8)
HEAVY = reckoned(next(card for card in CARDS if card.name.startswith("H100")))  # 27 cores' work beside it


def test_the_clock_stands_while_a_thread_works() -> None:
    log: list[tuple[str, float]] = []

    def late() -> None:
        for _ in range(30):
            np.linalg.svd(np.ones((60, 60)))
        clock.sleep(1.0)
        log.append(("late", clock.now_s()))

    with Clock() as clock:
        thread = threading.Thread(target=late)
        thread.start()
        clock.sleep(2.0)
        log.append(("early", clock.now_s()))
        thread.join()
    assert log == [("late", 1.0), ("early", 2.0)]


def test_a_device_serves_one_after_the_other_and_cores_as_many_as_there_are() -> None:
    with Clock() as clock:
        machine = Machine(clock, cores=2)
        threads = [threading.Thread(target=machine.work, args=("masks", 3.0)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            with machine.device("network", 1.0):
                pass
        assert clock.now_s() == 2.0
        for thread in threads:
            thread.join()
        assert clock.now_s() == 6.0
    assert (machine.device_s["network"], machine.core_s["masks"]) == (2.0, 12.0)


@pytest.mark.parametrize(("costs", "cores"), [(LIGHT, 8), (HEAVY, 32)], ids=["8 clicks", "40 clicks"])
def test_the_device_is_kept_busy_where_cores_suffice(costs: Costs, cores: int) -> None:
    found = simulate(costs, cores, IMAGES)
    assert found.share >= BUSY, found
    assert found.starved_by == "nothing"
    assert found.images_per_s == pytest.approx(1 / (costs.network_s + costs.upsampling_s), rel=0.1)


def test_few_cores_hold_no_more_images_than_before() -> None:
    assert [refined_at_once(cores) for cores in (0.5, 2, 15, 16, 48)] == [2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("costs", "cores", "stage"),
    [
        (LIGHT, 2, "masks"),
        (replace(LIGHT, fetch_s=1.5), 8, "fetch"),
        (replace(LIGHT, decode_s=0.9), 8, "decode"),
        (replace(LIGHT, resize_s=0.9), 8, "resize"),
    ],
    ids=["masks", "fetch", "decode", "resize"],
)
def test_a_device_that_waits_names_the_stage_that_it_waits_for(costs: Costs, cores: int, stage: str) -> None:
    found = simulate(costs, cores, IMAGES)
    assert found.share < BUSY, found
    assert found.starved_by == stage, found


def test_it_is_starved_by_what_it_waited_for_longest() -> None:
    assert Busy(0.5, 1.0, {"fetch": 0.2, "masks": 0.1}, {}).starved_by == "fetch"
    assert Busy(BUSY, 1.0, {"fetch": 0.2, "masks": 0.1}, {}).starved_by == "nothing"


def test_the_reckoned_image_takes_what_the_table_says() -> None:
    assert 1e3 * (HEAVY.network_s + HEAVY.upsampling_s) == pytest.approx(63, abs=0.5)
