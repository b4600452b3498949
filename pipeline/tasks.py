"""The unit of work that travels between driver and workers, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

# What looks wrong about an image and its clicks although nothing failed: a viewer would turn it and nothing says on
# which of the two the clicks were made; all its clicks lie in its upper left quarter.
Doubt = Literal["exif_orientation", "upper_left_quarter"]


@dataclass(frozen=True)
class Task:
    """A shard, or some of its images (from `first` up to `stop`) when the shard is being taken apart."""

    shard: int
    first: int = 0
    stop: int | None = None

    @property
    def whole(self) -> bool:
        """Whether this is the shard itself, whose part the worker commits."""
        return self.first == 0 and self.stop is None


@dataclass(frozen=True)
class SlowImage:
    """An image that took long: seconds of device and CPU, for so many objects, on this host."""

    image: str
    seconds: float
    objects: int
    host: str


@dataclass(frozen=True)
class TaskReport:
    """What one call did.

    Attributes:
        rows: only for a piece of a shard: the driver joins the pieces and commits them.
        doubts: images by what looks wrong about them, of those whose pixels were fetched in this call.
        looked_at: how many these were.
        stages: seconds by stage, all threads' added up.
        host: where it was done.
        seconds_of_images: of device and CPU, for all images together.
        slowest: the few images that took longest, the longest first; none where the part was there already.
    """

    task: Task
    images: int
    objects: int
    failed: dict[str, int]
    seconds: float
    rows: list[dict[str, Any]] | None
    doubts: dict[Doubt, int] = field(default_factory=dict)
    looked_at: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    host: str = ""
    seconds_of_images: float = 0.0
    slowest: tuple[SlowImage, ...] = ()


@dataclass
class Progress:
    """What a worker has done since it started, and what it is doing.

    Attributes:
        running: the task that has the device now, or had it before and still makes its last masks.
        slowest: the task of the image that has been decoded or segmented longest for its size, for `slowest_s`
            seconds so far.
        slowest_size: how many ordinary images that one counts as, 1 at least: its time limit follows it.
    """

    images: int = 0
    objects: int = 0
    failed: int = 0
    running: Task | None = None
    slowest: Task | None = None
    slowest_s: float = 0.0
    slowest_size: float = 1.0


@dataclass(frozen=True)
class Place:
    """Where a worker runs.

    Attributes:
        log_files: those of that node which its standard output and errors go to.
        gpu: which of the node's it was given, as Ray counts them, such as "3"; empty where it has none.
    """

    node_id: str
    host: str
    pid: int
    log_files: tuple[str, ...] = ()
    gpu: str = ""

    @property
    def device(self) -> str:
        """What tells the worker's device from all others of the cluster."""
        return f"{self.node_id}/{self.gpu}"
