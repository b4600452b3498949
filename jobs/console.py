"""What a run says on the terminal: one live line for people, one log line a shard for files."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

from jobs.process import write

if TYPE_CHECKING:
    from pipeline.driver.progress import Snapshot, Status

LOG_PROGRESS_EVERY_S = 30.0
SLOWEST_SHOWN = 5  # the others are in --json

console = Console(stderr=True, highlight=False)
log = logging.getLogger("m2n2.progress")


def say(text: str) -> None:
    """A line on standard output, for what people or scripts read."""
    write(sys.stdout, text)


def configure_logs(verbose: bool) -> None:
    """Our own log to standard error; libraries only where something is wrong."""
    level = logging.INFO if verbose or not console.is_terminal else logging.WARNING
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("m2n2").setLevel(level)


class ProgressLine:
    """Shows snapshots: a line that changes on a terminal, now and then a log line elsewhere."""

    def __init__(self, live: Live | None) -> None:
        self._live, self._logged_s = live, 0.0

    def __call__(self, snapshot: Snapshot) -> None:
        """Show one snapshot."""
        if self._live is not None:
            self._live.update(Text(progress_text(snapshot)))
        elif time.monotonic() - self._logged_s > LOG_PROGRESS_EVERY_S:
            self._logged_s = time.monotonic()
            log.info("%s", progress_text(snapshot))


@contextmanager
def progress_line() -> Iterator[ProgressLine]:
    """A progress line for as long as the block runs."""
    if console.is_terminal:
        with Live(Text("starting workers"), console=console, refresh_per_second=4) as live:
            yield ProgressLine(live)
    else:
        yield ProgressLine(None)


def progress_text(snapshot: Snapshot) -> str:
    """Images done, objects, rate, failures, time left."""
    left = "?" if snapshot.left_s is None else duration(snapshot.left_s)
    if snapshot.waiting:
        return f"images {snapshot.images_done}/{snapshot.images_total} · {snapshot.waiting}"
    return (
        f"images {snapshot.images_done}/{snapshot.images_total} · objects {snapshot.progress.objects} · "
        f"{snapshot.images_per_s:.2f} images/s · failed {snapshot.progress.failed} · left {left} · "
        f"workers {snapshot.workers}"
    )


def status_text(status: Status) -> str:
    """What `m2n2 status` prints."""
    lines = [
        f"shards   {status.shards_done}/{status.shards_total}",
        f"objects  {status.objects_done}/{status.objects_total}, {sum(status.failed.values())} failed",
    ]
    for reason, number in status.failed.items():
        lines.append(f"  {reason}: {number}")
        lines += [f"    {example}" for example in status.examples[reason]]
    if status.heartbeat and status.driver_alive:
        beat = status.heartbeat
        left = "?" if beat["left_s"] is None else duration(beat["left_s"])
        workers = f"{beat['workers']} of {beat['wanted']}" if "wanted" in beat else beat["workers"]
        cpus = f" of {beat['worker_cpus']:g} CPUs" if "worker_cpus" in beat else ""  # older ones did not say
        lines.append(f"driver   alive: {beat['host']} pid {beat['pid']}, {workers} workers{cpus}")
        if beat.get("waiting"):  # version 0.1.0 did not say
            lines.append(f"waiting  {beat['waiting']}")
        lines.append(f"rate     {beat['images_per_s']:.2f} images/s, left {left}")
    else:
        lines.append("driver   none alive")
    for number, image in enumerate(status.slow_images[:SLOWEST_SHOWN]):
        where = f"{image.image}, objects {image.objects}, on {image.host}"
        lines.append(f"{'slow' if not number else '':8} {image.seconds:.1f} s {where}")
    for number, node in enumerate(status.slow_nodes[:SLOWEST_SHOWN]):
        heading = "nodes" if not number else ""
        lines.append(f"{heading:8} {node.host} {node.seconds_an_image:.2f} s an image, images {node.images}")
    if status.last_part:
        lines.append(f"last     part written {status.last_part.isoformat(timespec='seconds')}")
    lines.append(f"outcome  {status.outcome or 'not ended'}{': ' if status.message else ''}{status.message}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s" if minutes else f"{left} s"
