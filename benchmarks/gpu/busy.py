"""Whether the worker's pipeline keeps a GPU busy, on a simulated machine: no GPU, no wall time.

    python -m benchmarks.gpu.busy                       # an H100 beside 2 to 48 cores
    python -m benchmarks.gpu.busy --card L4 --cores 4 8 --images 60 --operator-dtype float16

Real threads fetch and decode small photos, and make their masks, in the worker's own line (Prefetch, DeviceLine). How
long a stage takes is reckoned: of the device by m2n2/kernels/gpu/traffic.py, of the cores by what was measured for a
megapixel (`--click-ms` and the like). **Reckoned, never run on a GPU.**
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.gpu.simulated_machine import Clock, Machine
from m2n2.backbones.colour import Colour
from m2n2.backbones.reading import Reader
from m2n2.kernels.gpu.traffic import CARDS, FLOAT_BYTES, HALF_BYTES, TYPICAL_STEPS, TYPICAL_SWEEPS, Card, Case, stages
from m2n2.settings import Settings
from m2n2.upsampling import Offsets
from pipeline.clicks import ObjectClicks
from pipeline.config import Job, parse_job
from pipeline.plan import PlanHead
from pipeline.shards.shard_file import ImageClicks
from pipeline.worker.device_line import DeviceLine, Stage, refined_at_once
from pipeline.worker.prefetch import Fetched, Prefetch

BUSY = 0.95
SETTLING = 4  # images before the measure begins: masks of as many may be unfinished when it ends
GRID, SIDE = 12, 64  # of the photos that are really labelled
PLAN = PlanHead("", "", {"score_version": 2, "calibration": None}, ("clicks.parquet",), "")


@dataclass(frozen=True)
class Costs:
    """Seconds of each stage of one image.

    Attributes:
        fetch_s: no core is needed for it.
        decode_s, resize_s: of one core.
        network_s: of the device: network, operator and chain.
        upsampling_s: of the device, with the copies.
        click_s: of one core, a click; the clicks of an image share the cores.
        clicks: of one image.
    """

    fetch_s: float = 0.05
    decode_s: float = 0.015
    resize_s: float = 0.03
    network_s: float = 0.055
    upsampling_s: float = 0.014
    click_s: float = 0.041
    clicks: int = 40


@dataclass(frozen=True)
class Busy:
    """What came of it.

    Attributes:
        share: of the time from an early image's network to the last one's, when the line is full, that the device was
            busy.
        images_per_s: in that time.
        waited_s: that the device waited for an image or for masks, by the stage that is slow.
        core_s: seconds of cores an image, by stage.
    """

    share: float
    images_per_s: float
    waited_s: dict[str, float]
    core_s: dict[str, float]

    @property
    def starved_by(self) -> str:
        """The stage that the device waited for most, where it is not busy enough."""
        return "nothing" if self.share >= BUSY else max(self.waited_s, key=lambda stage: self.waited_s[stage])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", default="H100", help="A100, H100 or L4")
    parser.add_argument("--cores", type=int, nargs="+", default=[2, 4, 8, 16, 24, 32, 48])
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--clicks", type=int, default=Costs.clicks)
    parser.add_argument("--operator-dtype", default="float32", choices=["float32", "float16"])
    for name in ("fetch", "decode", "resize", "click"):
        parser.add_argument(f"--{name}-ms", type=float, default=1e3 * getattr(Costs, f"{name}_s"))
    options = parser.parse_args()
    [card] = [card for card in CARDS if card.name.startswith(options.card)]
    costs = replace(
        reckoned(card, options.clicks, HALF_BYTES if options.operator_dtype == "float16" else FLOAT_BYTES),
        **{f"{name}_s": getattr(options, f"{name}_ms") / 1e3 for name in ("fetch", "decode", "resize", "click")},
    )
    print(f"{card.name}, {1e3 * (costs.network_s + costs.upsampling_s):.0f} ms an image: reckoned, never run\n")
    print("| cores | device busy | images a second | core-seconds an image | the device waits for |")
    print("|---:|---:|---:|---:|---|")
    for cores in options.cores:
        found = simulate(costs, cores, options.images)
        rate = f"{found.share:.1%} | {found.images_per_s:.2f} | {sum(found.core_s.values()):.2f}"
        print(f"| {cores} | {rate} | {found.starved_by} |", flush=True)


def reckoned(
    card: Card, clicks: int = Costs.clicks, operator_bytes: int = FLOAT_BYTES, grid: int = 128, side: int = 1000
) -> Costs:
    """Stable Diffusion 2 on this card: an image of side x side pixels, 25 sweeps of Sinkhorn, 60 steps of the chain."""
    offsets = Offsets.within((side, side), (grid, grid), Settings())
    offset_count = int((2 * offsets.reach + 1).sum())
    case = Case(grid**2, side**2, offset_count, clicks, TYPICAL_SWEEPS, TYPICAL_STEPS, operator_bytes)
    seconds = {stage.name: stage.milliseconds(card) / 1e3 for stage in stages(case)}
    upsampling_s = seconds.pop("upsampling") + seconds.pop("copies")
    return Costs(network_s=sum(seconds.values()), upsampling_s=upsampling_s, clicks=clicks)


def simulate(costs: Costs, cores: int, images: int) -> Busy:
    """Label that many photos on a machine with one device of these costs and so many cores."""
    with tempfile.TemporaryDirectory() as folder, Clock() as clock:
        job = parse_job({"images": folder, "clicks": "c.parquet", "output": f"{folder}/labels"}, "simulated")
        shard = photos(job, images)
        line = _SimulatedLine(clock, Machine(clock, cores), costs, cores)
        reader = _SimulatedReader(line)
        at_once = refined_at_once(cores)
        with (
            line.pool,
            ThreadPoolExecutor(min(at_once, cores)) as pool,
            Prefetch(shard, job, job.limits.prefetch_bytes // 2, reader=reader) as prefetch,
        ):
            done = list(DeviceLine(job, PLAN, reader, pool, at_once).label(prefetch, nullcontext(), line.around))
    faults = [row for image in done for row in image.rows if "error" in row]
    if len(done) != images or faults:
        raise RuntimeError(f"{len(done)} of {images} images were labelled, {len(faults)} objects failed")
    return line.found(images)


class _SimulatedLine:
    """What the stages take, and what the device waited for."""

    def __init__(self, clock: Clock, machine: Machine, costs: Costs, cores: int) -> None:
        self.clock, self.machine, self.costs = clock, machine, costs
        self.pool = ThreadPoolExecutor(cores)  # the worker's pool for its kernels
        # When an image was resized, and how long it stood waiting for a core, by the array's identity.
        self.ready: dict[int, tuple[float, float]] = {}
        self._waited_s: Counter[str] = Counter()
        self._before = 0  # images
        self._began_s = self._ended_s = 0.0
        self._busy_s = self._busy_before_s = 0.0

    @contextmanager
    def around(self, stage: Stage, images: Sequence[Fetched]) -> Iterator[None]:
        """The stages of the worker's line."""
        [image] = images
        if stage == "device":
            self._note_wait(image)
            with self.machine.device("network", self.costs.network_s):
                yield
            self._ended_s, self._busy_s = self.clock.now_s(), sum(self.machine.device_s.values())
            return
        with self.machine.device("upsampling", self.costs.upsampling_s):
            yield
        pieces = [self.costs.click_s] * self.costs.clicks
        list(self.pool.map(lambda seconds: self.machine.work("masks", seconds), pieces))

    def _note_wait(self, image: Fetched) -> None:
        now_s = self.clock.now_s()
        if self._before == SETTLING:
            self._began_s = self._ended_s
            self._busy_before_s = self._busy_s
            self._waited_s.clear()
        self._before += 1
        ready_s, without_core_s = self.ready[id(image.resized)]
        of_images = min(max(0.0, ready_s - self._ended_s), now_s - self._ended_s)
        own_s = {"fetch": self.costs.fetch_s, "decode": self.costs.decode_s, "resize": self.costs.resize_s}
        slow = self.machine.core_s if without_core_s > sum(own_s.values()) else own_s  # who has the cores, or itself
        self._waited_s[max(slow, key=lambda stage: slow[stage])] += of_images
        self._waited_s["masks"] += now_s - self._ended_s - of_images

    def found(self, images: int) -> Busy:
        """When all is done."""
        took_s = self._ended_s - self._began_s
        core_s = {stage: seconds / images for stage, seconds in self.machine.core_s.items()}
        busy_s = self._busy_s - self._busy_before_s
        return Busy(busy_s / took_s, (images - SETTLING) / took_s, dict(self._waited_s), core_s)


class _SimulatedReader(Reader):
    """Reads real photos, and lets fetching, decoding and resizing take their time."""

    def __init__(self, line: _SimulatedLine) -> None:
        super().__init__(Colour(grid=GRID), Settings())
        self._line = line

    def resized(self, image: np.ndarray) -> np.ndarray:
        """As any reader's, in the thread that fetched the image."""
        costs, machine, clock = self._line.costs, self._line.machine, self._line.clock
        began_s = clock.now_s()
        clock.sleep(costs.fetch_s)
        machine.work("decode", costs.decode_s)
        machine.work("resize", costs.resize_s)
        resized = super().resized(image)
        without_core_s = clock.now_s() - began_s - costs.fetch_s - costs.decode_s - costs.resize_s
        self._line.ready[id(resized)] = clock.now_s(), without_core_s
        return resized


def photos(job: Job, count: int) -> list[ImageClicks]:
    """Small photos of one disc each, written below the job's images root, with a click on the disc."""
    folder, images = Path(job.images), []
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
        pixels[(x - 20 - number % 20) ** 2 + (y - 30) ** 2 < 100] = (220, 40, number % 200)
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "PNG")
        (folder / f"{number}.png").write_bytes(sink.getvalue())
        click = {"x": 20.0 + number % 20, "y": 30.0, "label": True, "file": 0, "row": number}
        objects = ObjectClicks(f"{number}.png", "0", "disc", [click], None)
        images.append(ImageClicks(f"{number}.png", (objects,)))
    return images


if __name__ == "__main__":
    main()
