"""Times of the head, stage by stage: from attention to masks, without the network that makes the attention.

    python -m benchmarks.head                                  # synthetic attention, seeded; a quarter of an hour
    python -m benchmarks.head --grids 80 --megapixels 0.19 --clicks 8
    python -m benchmarks.head --weights DIR --image photo.jpg  # attention of a real DINOv2 on a photo of yours
    python -m benchmarks.head --company                        # the same beside a busy loop (company.py)
    python -m benchmarks.head --cores                          # core-seconds an image beside a GPU (cores.py)

Every grid and image size runs in a process of its own, so that its peak memory is its own; the making of the attention
is included, with `--weights` the network too, for which no bar is set. Times are the best of `--repeats`; everything is
compiled before it is timed, and the compile time is a line of its own. "segment" is all that follows the chain:
upsampling, flood fill, thresholds, merge, and the carrying to full size. The bars at the end are the project's promises
for a machine of two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.head.case import make_attention, make_image, spread_points, warm_up
from benchmarks.head.company import measure_company
from benchmarks.head.cores import measure_cores
from benchmarks.head.timing import least
from m2n2 import Prompt, Scene
from m2n2.flood_fill import flood_fill
from m2n2.kernels.bounded_cache import BoundedCache
from m2n2.kernels.parallel import run_parallel
from m2n2.markov_map import start_states
from m2n2.scene.click_maps import CLICK_CACHE_BYTES
from m2n2.threshold import candidates
from m2n2.upsampling import upsample

GRIDS = [40, 64, 80, 128]
MEGAPIXELS = [0.19, 1.0, 12.0]  # the first is 371 x 513, which the bars are set for
CLICKS = [1, 8, 32]
STAGES = ["operator", "chain", "upsampling", "flood fill", "thresholds", "segment"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, nargs="+", default=GRIDS)
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS)
    parser.add_argument("--clicks", type=int, nargs="+", default=CLICKS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--weights", type=Path, help="a DINOv2 directory; without it attention is synthetic")
    parser.add_argument("--image", type=Path, help="a photo, resized to each size; without it the image is synthetic")
    parser.add_argument("--json", type=Path, default=Path("head.json"), help="where the numbers go")
    parser.add_argument("--company", action="store_true", help="only what a busy neighbour costs")
    parser.add_argument("--cores", action="store_true", help="only what the CPU does beside a GPU")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.company:
        measure_company(arguments.repeats)
        return
    if arguments.cores:
        measure_cores(arguments.repeats)
        return
    if arguments.one:
        print(json.dumps(measure(arguments, **json.loads(arguments.one))))
        return

    attention = f"DINOv2 from {arguments.weights}" if arguments.weights else "synthetic attention, seed 0"
    print(f"{attention}; {torch.get_num_threads()} threads; best of {arguments.repeats}; seconds\n")
    compile_seconds = in_child(["--repeats", "1"], fresh_cache=True, grid=16, megapixels=0.02, clicks=[2])["first call"]
    print(f"first call, compiling everything: {compile_seconds:.1f} s\n")
    print("| grid | megapixels | clicks | " + " | ".join(STAGES) + " | peak GB |")
    print("|---:" * (4 + len(STAGES)) + "|")
    rows: list[dict[str, Any]] = []
    for grid in arguments.grids:
        for megapixels in arguments.megapixels:
            found = in_child(sys.argv[1:], grid=grid, megapixels=megapixels, clicks=arguments.clicks)
            for row in found["rows"]:
                rows.append(row)
                times = " | ".join(f"{row[stage]:.3f}" for stage in STAGES)
                print(
                    f"| {grid} | {megapixels:g} | {row['clicks']} | {times} | {row['peak GB']:.2f} |",
                    flush=True,
                )
    bars = compared_with_bars(rows, compile_seconds, with_memory=arguments.weights is None)
    arguments.json.write_text(json.dumps({"attention": attention, "rows": rows, "bars": bars}, indent=1))


def in_child(options: Sequence[str], fresh_cache: bool = False, **case: Any) -> dict[str, Any]:
    """Run `measure` in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        environment = os.environ | ({"NUMBA_CACHE_DIR": directory} if fresh_cache else {})
        command = [sys.executable, "-m", "benchmarks.head", *options, "--one", json.dumps(case)]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(arguments: argparse.Namespace, grid: int, megapixels: float, clicks: list[int]) -> dict[str, Any]:
    """All stages for one grid and image size, and what the very first call took beyond a second one."""
    first_call = least(warm_up, 1) - least(warm_up, 1)
    image = make_image(arguments.image, megapixels)
    operator_seconds = float("inf")
    for _ in range(arguments.repeats):
        scene = None  # the matrix before is freed before the next is made
        attention = make_attention(arguments.weights, image, grid)
        start = time.perf_counter()
        scene = Scene(image, attention, overwrite_attention=True)
        operator_seconds = min(operator_seconds, time.perf_counter() - start)
        del attention
    assert scene is not None
    rows = [
        {
            "grid": grid,
            "megapixels": megapixels,
            "clicks": count,
            "operator": operator_seconds,
            **measure_clicks(scene, count, arguments.repeats),
        }
        for count in clicks
    ]
    return {"first call": first_call, "rows": rows}


def measure_clicks(scene: Scene, count: int, repeats: int) -> dict[str, Any]:
    """The stages after the operator one by one, then all of them but the chain as `Scene.segment` runs them."""
    settings, image, point_maps = scene.settings, scene._image, scene._clicks.affinity.maps
    assert point_maps is not None
    points = spread_points(count, image.full_size)
    pixels = image.pixels(points)
    starts = torch.from_numpy(start_states(pixels, image.full_size, scene.grid))
    maps = point_maps(starts, settings).reshape(count, *scene.grid)
    upsampled = upsample(maps, image.small_hw3, settings)
    jobs = [(map_hw, *image.small_pixel(pixel)) for map_hw, pixel in zip(upsampled, pixels, strict=True)]
    flooded = run_parallel(flood, jobs)

    def find_candidates(map_hw: np.ndarray) -> object:
        return candidates(map_hw, settings.prior_max_share, settings.edge_levels)

    def segment() -> None:
        scene._clicks._flooded = BoundedCache(CLICK_CACHE_BYTES)
        scene.segment([Prompt([point]) for point in points])

    scene.advance(points)
    return {
        "chain": least(lambda: point_maps(starts, settings), repeats),
        "upsampling": least(lambda: upsample(maps, image.small_hw3, settings), repeats),
        "flood fill": least(lambda: run_parallel(flood, jobs), repeats),
        "thresholds": least(lambda: run_parallel(find_candidates, flooded), repeats),
        "segment": least(segment, repeats),
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def flood(job: tuple[np.ndarray, int, int]) -> np.ndarray:
    flooded: np.ndarray = flood_fill(*job)
    return flooded


def compared_with_bars(rows: list[dict[str, Any]], compile_seconds: float, with_memory: bool) -> list[dict[str, Any]]:
    """The project's promises beside what was measured, where the case was run."""

    def find(stage: str, **case: Any) -> float | None:
        values = [row[stage] for row in rows if all(row[key] == value for key, value in case.items())]
        return min(values) if values else None

    def ratio(large: float | None, small: float | None) -> float | None:
        return None if large is None or small is None else large / small

    after = [find(stage, grid=80, megapixels=0.19, clicks=8) for stage in ("chain", "segment")]
    one, twelve = (find("segment", grid=64, megapixels=size, clicks=1) for size in (1.0, 12.0))
    bars = [
        ("first call, s", compile_seconds, 10.0),
        ("operator at 80 x 80, s", find("operator", grid=80), 0.8),
        ("operator at 128 x 128, s", find("operator", grid=128), 5.0),
        ("peak at 128 x 128, 0.19 megapixels, 1 click, GB", find("peak GB", grid=128, megapixels=0.19, clicks=1), 1.6),
        ("8 clicks at 80 x 80, 0.19 megapixels, after the operator, s", None if None in after else sum(after), 0.6),  # type: ignore[arg-type]
        ("flood fill at 0.19 megapixels, s", find("flood fill", megapixels=0.19, clicks=1), 0.012),
        ("12 megapixels over 1 megapixel, times", ratio(twelve, one), 15.0),
        ("peak at 12 megapixels, 64 x 64, GB", find("peak GB", grid=64, megapixels=12.0, clicks=1), 2.0),
    ]
    if not with_memory:
        bars = [bar for bar in bars if not bar[0].startswith("peak")]
    print("\n| bar | measured | limit | |\n|---|---:|---:|---|")
    for name, value, limit in bars:
        if value is not None:
            print(f"| {name} | {value:.3g} | {limit:g} | {'holds' if value <= limit else 'BROKEN'} |")
    return [{"bar": name, "measured": value, "limit": limit} for name, value, limit in bars]


if __name__ == "__main__":
    main()
