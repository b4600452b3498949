"""How much of a run's time its last 5 % of images take, by shards a worker and images a shard.

    python -m benchmarks.driver.tail                         # 16 workers, images of 1 s, standard deviation 0.7 s
    python -m benchmarks.driver.tail --deviation-s 0.3

Sixteen simulated workers, a clock of their own and the real dispatcher; no Ray. *Least* is what no dispatcher can beat
that hands out whole images and does not know how long each will take: whoever is free begins the next image at once.
Each share is the mean of so many runs of the same size, and the worst of them.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.workers.fleet import TASKS_IN_FLIGHT
from pipeline.tasks import Task

WORKERS = 16
DEVIATION_S = math.sqrt(0.5)
START_S = 1.0  # of a task whose first image could not be fetched while another was running


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards-a-worker", type=int, nargs="*", default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--shard-images", type=int, nargs="*", default=[32, 64, 128, 256, 512])
    parser.add_argument("--deviation-s", type=float, default=DEVIATION_S, help="standard deviation of an image's time")
    parser.add_argument("--runs", type=int, default=8)
    options = parser.parse_args()
    print("| shards a worker | images a shard | images | run, s | mean | worst | least, mean | least, worst |")
    print("|---|---|---|---|---|---|---|---|")
    for a_worker in options.shards_a_worker:
        for images in options.shard_images:
            print(_line(a_worker, images, options.deviation_s, options.runs), flush=True)


def _line(a_worker: int, shard_images: int, deviation_s: float, runs: int) -> str:
    shards = a_worker * WORKERS
    finished = [simulate(shards, shard_images, True, seed, deviation_s) for seed in range(runs)]
    shares = [100 * share_of_the_last_twentieth(each) for each in finished]
    least = [100 * least_share(shards * shard_images, seed, deviation_s) for seed in range(runs)]
    return (
        f"| {a_worker} | {shard_images} | {shards * shard_images} | {mean(each[-1] for each in finished):.0f} "
        f"| {mean(shares):.1f} % | {max(shares):.1f} % | {mean(least):.1f} % | {max(least):.1f} % |"
    )


def simulate(
    shards: int, shard_images: int, tail: bool, seed: int = 0, deviation_s: float = DEVIATION_S
) -> list[float]:
    """When each image of a run of equal shards is finished, in seconds; without `tail`, shards are never cut."""
    simulation = _Simulation(shards, shard_images, tail, _image_s(seed, deviation_s))
    finished = simulation.run()
    assert simulation.dispatcher.shards_left == 0
    assert len(finished) == shards * shard_images
    return finished


def least_share(images: int, seed: int = 0, deviation_s: float = DEVIATION_S) -> float:
    """The share where an image is begun as soon as any worker is free."""
    image_s, free_s = _image_s(seed, deviation_s), [0.0] * WORKERS
    finished = []
    for _ in range(images):
        finished.append(heapq.heappop(free_s) + image_s())
        heapq.heappush(free_s, finished[-1])
    return share_of_the_last_twentieth(sorted(finished))


def share_of_the_last_twentieth(finished: list[float]) -> float:
    """Of the run's time, the share that its last 5 % of images take."""
    return 1 - finished[int(len(finished) * 0.95) - 1] / finished[-1]


def _image_s(seed: int, deviation_s: float) -> Callable[[], float]:
    """Seconds of one image after another: 1 on average."""
    chance, shape = random.Random(seed), deviation_s**-2
    return lambda: chance.gammavariate(shape, 1 / shape)


@dataclass(eq=False)
class _Worker:
    tasks: list[Task] = field(default_factory=list)
    images_left: int = 0


class _Simulation:
    def __init__(self, shards: int, shard_images: int, tail: bool, image_s: Callable[[], float]) -> None:
        self.dispatcher = Dispatcher([(shard, shard_images) for shard in range(shards)])
        self.shard_images, self.tail, self.image_s = shard_images, tail, image_s
        self.workers = [_Worker() for _ in range(WORKERS)]
        self.events: list[tuple[float, int]] = []
        self.finished: list[float] = []

    def run(self) -> list[float]:
        self.hand_out(0.0)
        while self.events:
            now_s, index = heapq.heappop(self.events)
            self.finished.append(now_s)
            self.workers[index].images_left -= 1
            if self.workers[index].images_left:
                self.next_image(index, now_s)
            else:
                self.task_done(index, now_s)
        return self.finished

    def next_image(self, index: int, now_s: float) -> None:
        heapq.heappush(self.events, (now_s + self.image_s(), index))

    def begin(self, index: int, now_s: float) -> None:
        task = self.workers[index].tasks[0]
        self.workers[index].images_left = (task.stop or self.shard_images) - task.first
        self.next_image(index, now_s)

    def task_done(self, index: int, now_s: float) -> None:
        tasks = self.workers[index].tasks
        task = tasks.pop(0)
        rows: list[dict[str, Any]] = [{} for _ in range(task.first, task.stop or 0)]
        if apart := self.dispatcher.done(task, None if task.whole else rows):
            assert len(apart.rows) == self.shard_images
            self.dispatcher.committed(task.shard)
        if tasks:
            self.begin(index, now_s)
        self.hand_out(now_s)

    def hand_out(self, now_s: float) -> None:
        """As the driver does: those with the least to do first."""
        for _ in range(TASKS_IN_FLIGHT):
            for index in sorted(range(WORKERS), key=lambda each: len(self.workers[each].tasks)):
                self.give(index, now_s)

    def give(self, index: int, now_s: float) -> None:
        tasks = self.workers[index].tasks
        if len(tasks) == TASKS_IN_FLIGHT:
            return
        task = self.dispatcher.next(tasks, now_s, workers=WORKERS if self.tail else 0)
        if task is not None:
            tasks.append(task)
            if len(tasks) == 1:
                self.begin(index, now_s + START_S)


if __name__ == "__main__":
    main()
