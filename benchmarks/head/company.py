"""What a busy neighbour costs: the operator and a click at 64 x 64 and 1 megapixel, alone and beside a busy loop.

Medians of `--repeats`, each case in a process of its own. A spinning thread shows in CPU seconds also where nothing
else runs; `active` is how OpenMP waits where m2n2 does not ask it to sleep. Meant for a machine without other company.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from benchmarks.head.case import make_attention, make_image, spread_points, warm_up
from m2n2 import Prompt, Scene

GRID, MEGAPIXELS = 64, 1.0
MOST_TIMES = 2.0  # that company may cost
Times = dict[str, float]


def measure_company(repeats: int) -> None:
    """Print the table and the bar."""
    load = os.getloadavg()[0]
    print(f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, load {load:.1f} before; median of {repeats}\n")
    print("| OpenMP waits | company | operator s | CPU s | click s | CPU s |\n|---|---|---:|---:|---:|---:|")
    measured: dict[tuple[str, bool], Times] = {}
    for waiting in ("active", "passive"):
        for company in (False, True):
            with busy_loop() if company else nullcontext():
                times = measured[waiting, company] = in_child(waiting, repeats)
            columns = " | ".join(f"{value:.3f}" for value in times.values())
            print(f"| {waiting} | {'a busy loop' if company else 'none'} | {columns} |", flush=True)
    print("\n| bar | measured | limit | |\n|---|---:|---:|---|")
    for stage in ("operator", "click"):
        cost = measured["passive", True][stage] / measured["passive", False][stage]
        verdict = "holds" if cost <= MOST_TIMES else "BROKEN"
        print(f"| {stage} in company, times alone | {cost:.2f} | {MOST_TIMES:g} | {verdict} |")


def in_child(waiting: str, repeats: int) -> Times:
    """`measure` in a process whose OpenMP waits like this."""
    command = [sys.executable, "-m", "benchmarks.head.company", str(repeats)]
    environment = os.environ | {"OMP_WAIT_POLICY": waiting}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: Times = json.loads(done.stdout)
    return found


@contextmanager
def busy_loop() -> Iterator[None]:
    """Another process that never rests."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def measure(repeats: int) -> Times:
    """Seconds and CPU seconds of the operator, and of a click from chain to mask."""
    warm_up()
    image = make_image(None, MEGAPIXELS)
    operators, clicks = [], []
    for number in range(repeats):
        attention = make_attention(None, image, GRID)
        began = now()
        scene = Scene(image, attention, overwrite_attention=True)
        made = now()
        scene.segment([Prompt([spread_points(repeats, image.shape[:2])[number]])])
        clicked = now()
        operators.append((made[0] - began[0], made[1] - began[1]))
        clicks.append((clicked[0] - made[0], clicked[1] - made[1]))
    wall, cpu = ([statistics.median(each[i] for each in of) for of in (operators, clicks)] for i in (0, 1))
    return {"operator": wall[0], "operator CPU": cpu[0], "click": wall[1], "click CPU": cpu[1]}


def now() -> tuple[float, float]:
    """Of the clock, and of all threads of this process."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
