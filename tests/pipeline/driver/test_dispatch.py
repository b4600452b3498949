"""The dispatcher under any order of events: no task is lost, none is done twice, it ends, and only poison is blamed."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.driver.dispatch import CRASHES_TO_TAKE_APART, LONGEST_PAUSE_S, Dispatcher, TakenApart
from pipeline.driver.suspicions import Suspicions, read_suspicions, write_suspicions
from pipeline.failure import Failure
from pipeline.storage.store import Store
from pipeline.tasks import Task

MAX_WORKERS = 3
Image = tuple[int, int]  # shard, position in it


@dataclass(eq=False)
class Worker:
    """Runs its tasks one after another, as a Labeler does: the first one is on the device."""

    tasks: list[Task] = field(default_factory=list)


@dataclass
class Ledger:
    """What became of every image, by how the driver uses the dispatcher (pipeline/driver/labelling.py)."""

    dispatcher: Dispatcher
    images: dict[int, int]
    labelled: list[Image] = field(default_factory=list)
    blamed: list[Image] = field(default_factory=list)

    def span(self, task: Task) -> list[Image]:
        stop = self.images[task.shard] if task.stop is None else task.stop
        return [(task.shard, position) for position in range(task.first, stop)]

    def done(self, task: Task) -> None:
        rows: list[dict[str, Any]] | None = None if task.whole else [{"at": image} for image in self.span(task)]
        if task.whole:
            self.labelled += self.span(task)
        self.commit(task.shard, self.dispatcher.done(task, rows))

    def crashed(self, task: Task) -> None:
        self.commit(task.shard, self.dispatcher.crashed(task, "crash", "signal 11"))

    def accounts_for(self, shard: int) -> bool:
        return any(shard == of for of, _ in self.labelled + self.blamed)

    def commit(self, shard: int, apart: TakenApart | None) -> None:
        if apart is not None:
            self.labelled += [row["at"] for row in apart.rows]
            self.blamed += [(shard, position) for position in apart.poisonous]
            self.dispatcher.committed(shard)


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Workers come, take tasks, finish, die by poison, vanish with their node, and meet storage that is away."""

    workers: Bundle[Worker] = Bundle("workers")

    @initialize(
        shards=st.lists(st.integers(1, 12), min_size=1, max_size=3),
        poison=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 11)), max_size=3),
    )
    def plan(self, shards: list[int], poison: set[Image]) -> None:
        images = dict(enumerate(shards))
        self.poison = {(shard, position) for shard, position in poison if position < images.get(shard, 0)}
        self.ledger = Ledger(Dispatcher(images.items()), images)
        self.alive: list[Worker] = []
        self.spared: set[Image] = set()
        self.now_s = 0.0

    @rule(target=workers)
    def a_worker_comes(self) -> Worker:
        worker = Worker()
        if len(self.alive) < MAX_WORKERS:
            self.alive.append(worker)
        return worker

    @rule(worker=workers, count=st.sampled_from([1, 2, 3, 16]))
    def it_takes_a_task(self, worker: Worker, count: int) -> None:
        """As one of `count` workers: where fewer tasks wait, a piece of one."""
        if worker in self.alive and len(worker.tasks) < 2:
            task = self.ledger.dispatcher.next(worker.tasks, self.now_s, workers=count)
            if task is not None:
                worker.tasks.append(task)

    @rule(worker=workers, mistaken=st.booleans())
    def its_first_task_ends(self, worker: Worker, mistaken: bool) -> None:
        if worker in self.alive and worker.tasks:
            self.end_first_task(worker, mistaken)

    @rule(worker=workers)
    def storage_is_away(self, worker: Worker) -> None:
        if worker in self.alive and worker.tasks:
            self.ledger.dispatcher.unavailable(worker.tasks.pop(0), self.now_s)

    @rule(worker=workers)
    def its_device_fails(self, worker: Worker) -> None:
        if worker in self.alive and worker.tasks and not self.spared & set(self.ledger.span(worker.tasks[0])):
            task = worker.tasks.pop(0)
            self.spared |= set(self.ledger.span(task))  # pieces of it were spared with it
            assert self.ledger.dispatcher.spared(task, "node"), "the first time it is the device's fault"
            self.lose(worker)

    @rule(worker=workers)
    def its_node_goes(self, worker: Worker) -> None:
        if worker in self.alive:
            self.lose(worker)

    @rule()
    def the_driver_is_started_again(self) -> None:
        for worker in list(self.alive):
            self.lose(worker)
        ledger = self.ledger
        left = {shard: count for shard, count in ledger.images.items() if not ledger.accounts_for(shard)}
        ledger.dispatcher = Dispatcher(left.items(), ledger.dispatcher.suspicions())

    @rule(seconds=st.floats(0, 2 * LONGEST_PAUSE_S))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    @precondition(lambda self: hasattr(self, "ledger"))
    def nothing_is_done_twice_and_nobody_falsely_blamed(self) -> None:
        accounted = self.ledger.labelled + self.ledger.blamed
        assert len(accounted) == len(set(accounted))
        assert set(self.ledger.blamed) <= self.poison
        assert not self.poison & set(self.ledger.labelled)

    @invariant()
    @precondition(lambda self: hasattr(self, "ledger"))
    def the_images_that_wait_are_those_of_the_tasks_that_wait(self) -> None:
        dispatcher = self.ledger.dispatcher
        queues = (dispatcher._waiting, dispatcher._not_begun._shards[dispatcher._not_begun._taken :], dispatcher._later)
        tasks = [each.task if hasattr(each, "task") else Task(int(each)) for queue in queues for each in queue]
        assert dispatcher._images_waiting == sum(len(self.ledger.span(task)) for task in tasks)

    @invariant()
    @precondition(lambda self: hasattr(self, "ledger"))
    def suspects_are_those_of_all_tasks_that_share_a_worker_with_nobody(self) -> None:
        dispatcher = self.ledger.dispatcher
        everything = [*dispatcher._waiting, *dispatcher._later, *dispatcher._running.values()]
        assert dispatcher.suspicions().crashes == {each.task: each.crashes for each in everything if each.alone}

    def teardown(self) -> None:
        """From wherever it is by now, one undisturbed worker brings it to its end in a bounded number of steps."""
        if not hasattr(self, "ledger"):
            return
        for worker in list(self.alive):
            self.lose(worker)
        finish(self)
        everything = {(shard, at) for shard, count in self.ledger.images.items() for at in range(count)}
        assert set(self.ledger.labelled) == everything - self.poison
        assert set(self.ledger.blamed) == self.poison
        assert self.ledger.dispatcher.shards_left == self.ledger.dispatcher.images_left == 0

    def end_first_task(self, worker: Worker, mistaken: bool = False) -> None:
        """It is done, or its poison kills the worker; the driver may hold the worker's other task for the culprit."""
        if not self.poison & set(self.ledger.span(worker.tasks[0])):
            self.ledger.done(worker.tasks.pop(0))
            return
        self.alive.remove(worker)
        blamed = worker.tasks.pop(-1 if mistaken else 0)
        for other in worker.tasks:
            self.ledger.dispatcher.given_back(other, suspect=True)
        self.ledger.crashed(blamed)

    def lose(self, worker: Worker) -> None:
        for task in worker.tasks:
            self.ledger.dispatcher.given_back(task, suspect=False)
        self.alive.remove(worker)


def finish(machine: AnyOrderOfEvents) -> None:
    """One worker after another until nothing is left."""
    images = sum(machine.ledger.images.values())
    for _ in range(100 * images + 100):
        if not machine.ledger.dispatcher.shards_left:
            return
        machine.now_s += LONGEST_PAUSE_S
        worker = Worker()
        machine.alive.append(worker)
        for _ in range(2):
            task = machine.ledger.dispatcher.next(worker.tasks, machine.now_s)
            if task is not None:
                worker.tasks.append(task)
        assert worker.tasks, "shards are left and no task is handed out"
        while worker in machine.alive and worker.tasks:
            machine.end_first_task(worker)
        if worker in machine.alive:
            machine.alive.remove(worker)
    raise AssertionError("it does not end")


AnyOrderOfEvents.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase


def test_a_shard_that_once_lost_its_worker_is_not_taken_apart() -> None:
    dispatcher = Dispatcher([(0, 8)])
    task = dispatcher.next([], 0.0)
    assert task is not None
    assert dispatcher.crashed(task, "crash", "") is None
    assert dispatcher.next([], 0.0) == task
    assert dispatcher.done(task, None) is None
    assert dispatcher.shards_left == 0


def test_the_poisonous_image_of_a_large_shard_costs_few_workers() -> None:
    size, poison = 512, 317
    dispatcher = Dispatcher([(0, size)])
    crashes = 0
    for _ in range(100):
        task = dispatcher.next([], 0.0)
        assert task is not None
        stop = size if task.stop is None else task.stop
        apart = None
        if task.first <= poison < stop:
            crashes += 1
            apart = dispatcher.crashed(task, "stuck", "")
        else:
            apart = dispatcher.done(task, [{} for _ in range(task.first, stop)])
        if apart is not None:
            assert list(apart.poisonous) == [poison]
            assert apart.poisonous[poison].reason == "worker_stuck"
            assert len(apart.rows) == size - 1
            break
    assert apart is not None
    # Twice the shard, once every half down to two images, twice the image.
    assert crashes == CRASHES_TO_TAKE_APART + 8 + CRASHES_TO_TAKE_APART


def test_the_next_driver_goes_on_with_the_pieces_and_verdicts_of_the_last() -> None:
    size, poison = 512, 317
    dispatcher, crashes = Dispatcher([(0, size)]), 0
    while dispatcher.shards_left:
        dispatcher = Dispatcher([(0, size)], dispatcher.suspicions())  # killed after every task
        task = dispatcher.next([], 0.0)
        assert task is not None
        stop = size if task.stop is None else task.stop
        if task.first <= poison < stop:
            crashes += 1
            assert dispatcher.crashed(task, "crash", "") is None or crashes > CRASHES_TO_TAKE_APART
            if stop - task.first == 1 and crashes == CRASHES_TO_TAKE_APART + 8 + CRASHES_TO_TAKE_APART:
                break
        else:
            dispatcher.done(task, [{} for _ in range(task.first, stop)])
    assert list(dispatcher.suspicions().poisonous[0]) == [poison]
    assert crashes == CRASHES_TO_TAKE_APART + 8 + CRASHES_TO_TAKE_APART, "a restart cost workers again"


def test_suspicions_come_back_as_they_were_written_and_only_for_their_plan(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert read_suspicions(store, "plan") == Suspicions()
    found = Suspicions({Task(3): 1, Task(4, 0, 8): 1}, {4: {9: Failure("worker_stuck", "slow")}})
    write_suspicions(store, "plan", found)
    assert read_suspicions(store, "plan") == found
    assert read_suspicions(store, "another") == Suspicions()


def test_a_shard_that_nobody_has_begun_takes_no_more_than_20_bytes() -> None:
    shards = 50_000
    tracemalloc.start()
    try:
        dispatcher = Dispatcher((shard, 128) for shard in range(shards))
        held, peak = tracemalloc.get_traced_memory()
        for _ in range(100):
            assert dispatcher.next([], 0.0) is not None
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (held / shards < 20, peak / shards < 40) == (True, True), (held, peak)
    assert after - held < 100_000, "only what is under way takes more"
    assert (dispatcher.shards_left, dispatcher.images_left) == (shards, 128 * shards)
    assert dispatcher.tasks_waiting == shards - 100


def test_what_an_earlier_driver_suspected_goes_first_and_what_storage_refused_last() -> None:
    dispatcher = Dispatcher([(3, 2), (5, 2), (7, 2)], Suspicions({Task(5): 1}))
    first, second = dispatcher.next([], 0.0), dispatcher.next([], 0.0)
    assert (first, second) == (Task(5), Task(3))
    assert second is not None
    dispatcher.unavailable(second, now_s=0.0)
    assert dispatcher.next([], LONGEST_PAUSE_S) == Task(7)
    assert dispatcher.next([], LONGEST_PAUSE_S) == Task(3)


def test_a_suspect_shares_its_worker_with_nobody() -> None:
    dispatcher = Dispatcher([(0, 2), (1, 2), (2, 2)])
    first, second = dispatcher.next([], 0.0), dispatcher.next([], 0.0)
    assert first is not None
    assert second is not None
    dispatcher.given_back(second, suspect=True)
    dispatcher.crashed(first, "crash", "")
    third = dispatcher.next([], 0.0)
    assert third == first
    assert dispatcher.next([third], 0.0) is None


def test_pauses_grow_while_storage_is_away() -> None:
    dispatcher, now_s = Dispatcher([(0, 1)]), 0.0
    task = dispatcher.next([], now_s)
    for pause_s in (2, 4, 8, 16, 32, LONGEST_PAUSE_S, LONGEST_PAUSE_S):
        assert task is not None
        dispatcher.unavailable(task, now_s)
        assert dispatcher.next([], now_s + pause_s - 0.1) is None
        now_s += pause_s
        task = dispatcher.next([], now_s)


def test_a_task_under_which_a_device_failed_goes_to_another_node_and_is_not_blamed() -> None:
    dispatcher, nodes = Dispatcher([(0, 4), (1, 4)]), {"bad", "good"}
    first = dispatcher.next([], 0.0, "bad", nodes)
    assert first is not None
    assert dispatcher.spared(first, "bad")
    other = dispatcher.next([], 0.0, "bad", nodes)
    assert other == Task(1), "others show what the device is worth"
    assert dispatcher.next([], 0.0, "bad", nodes) is None
    assert dispatcher.next([other], 0.0, "good", nodes) == first, "nobody's suspect: it may share a worker"
    assert dispatcher.suspicions() == Suspicions()
    dispatcher.done(first, None)
    assert dispatcher.shards_left == 1


def test_where_there_is_one_node_only_it_gets_the_task_again() -> None:
    dispatcher = Dispatcher([(0, 4)])
    task = dispatcher.next([], 0.0, "only", {"only"})
    assert task is not None
    assert dispatcher.spared(task, "only")
    assert dispatcher.next([], 0.0, "only", {"only"}) == task


def test_an_image_under_which_every_device_fails_is_found_all_the_same() -> None:
    size, poison, nodes = 8, 5, ("a", "b", "c")
    dispatcher, apart, failures = Dispatcher([(0, size)]), None, 0
    while apart is None:
        node = nodes[failures % len(nodes)]
        task = dispatcher.next([], 0.0, node, nodes) or dispatcher.next([], 0.0, node)
        assert task is not None
        stop = size if task.stop is None else task.stop
        if not task.first <= poison < stop:
            apart = dispatcher.done(task, [{} for _ in range(task.first, stop)])
            continue
        failures += 1
        if not dispatcher.spared(task, node):
            apart = dispatcher.crashed(task, "device", "CUDA error")
    assert {at: failure.reason for at, failure in apart.poisonous.items()} == {poison: "device_failed"}
    assert len(apart.rows) == size - 1
    assert failures == 3 + 2 + 2 + 3, "each piece is spared once"
