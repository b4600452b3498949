"""The slowest images and nodes of a run: within bounds, added up over tasks, known to the driver after a crash."""

from __future__ import annotations

from pathlib import Path

from pipeline.driver.progress import Heartbeat, Snapshot
from pipeline.driver.seeing.slowest import IMAGES_KEPT, NODES_KEPT, Slowest, read_slowest
from pipeline.storage.store import Store
from pipeline.tasks import SlowImage, Task, TaskReport


def report(host: str, *images: tuple[str, float]) -> TaskReport:
    slowest = tuple(SlowImage(name, seconds, 2, host) for name, seconds in images)
    seconds = sum(image.seconds for image in slowest)
    return TaskReport(Task(0), len(images), 2, {}, seconds, None, host=host, seconds_of_images=seconds, slowest=slowest)


def test_the_longest_first_whichever_task_they_came_from() -> None:
    slowest = Slowest().plus(report("a", ("1.jpg", 1.0), ("2.jpg", 3.0))).plus(report("b", ("3.jpg", 2.0)))
    assert [(image.image, image.host) for image in slowest.images] == [("2.jpg", "a"), ("3.jpg", "b"), ("1.jpg", "a")]
    assert [(node.host, node.images, node.seconds_an_image) for node in slowest.slowest_nodes()] == [
        ("a", 2, 2.0),
        ("b", 1, 2.0),
    ]


def test_it_is_bounded_however_many_images_and_nodes_there_are() -> None:
    slowest = Slowest()
    for number in range(NODES_KEPT + 50):
        # The first node does two tasks: it is not the one to go.
        host = f"node-{max(0, number - 1)}"
        slowest = slowest.plus(report(host, (f"{number}.jpg", float(number))))
    assert [image.seconds for image in slowest.images] == [NODES_KEPT + 49.0 - number for number in range(IMAGES_KEPT)]
    assert len(slowest.nodes) == NODES_KEPT
    assert slowest.nodes["node-0"].images == 2


def test_an_image_that_is_labelled_again_stands_there_once() -> None:
    slowest = Slowest().plus(report("a", ("1.jpg", 5.0))).plus(report("b", ("1.jpg", 4.0)))
    assert [(image.image, image.seconds) for image in slowest.images] == [("1.jpg", 5.0)]


def test_a_shard_that_had_its_part_took_nothing() -> None:
    assert Slowest().plus(report("a")) == Slowest()


def test_the_driver_after_a_crash_goes_on_from_what_the_heartbeat_left(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert read_slowest(store, "abc") == Slowest()
    found = Slowest().plus(report("a", ("1.jpg", 1.5)))
    with Heartbeat(store, "abc", 1) as heartbeat:
        heartbeat.update(Snapshot(1, 1, 0, 1, 1, slowest=found))
    assert read_slowest(store, "abc") == found
    assert read_slowest(store, "another plan") == Slowest()
