from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from m2n2.kernels.parallel import run_parallel, strips


@pytest.mark.parametrize("tasks", [0, 1, 2, 50])
def test_results_come_in_order(tasks: int) -> None:
    assert run_parallel(lambda task: task**2, range(tasks)) == [task**2 for task in range(tasks)]


def test_an_error_reaches_the_caller() -> None:
    def work(task: int) -> float:
        return 1 / (task - 3)

    with pytest.raises(ZeroDivisionError):
        run_parallel(work, range(6))


def test_work_is_done_beside_the_caller() -> None:
    names = set(run_parallel(lambda _: threading.current_thread().name, range(20)))
    assert all(name.startswith("m2n2") for name in names)


def test_work_that_runs_in_parallel_itself_does_not_wait_for_its_own_thread() -> None:
    inner = run_parallel(lambda task: run_parallel(lambda each: each + task, range(3)), range(64))
    assert inner[:2] == [[0, 1, 2], [1, 2, 3]]


def test_torch_starts_no_threads_of_its_own_below_those_of_the_pool() -> None:
    code = """
import os
import torch
from m2n2.kernels.parallel import run_parallel
threads = lambda: len(os.listdir("/proc/self/task"))
torch.set_num_threads(3)
begun = threads()
run_parallel(lambda _: torch.ones(1 << 20).half().float(), range(12))
of_pool = threads()
torch.ones(1 << 20).half().float()
print(of_pool - begun, threads() - of_pool, torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    of_pool, of_caller, allowed = map(int, done.stdout.split())
    assert of_pool == 3
    assert (of_caller, allowed) == (2, 3), "the caller's own operations still have all of them"


def test_strips_cover_all_rows_once() -> None:
    assert strips(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert strips(0, 4) == []


def test_a_forked_process_gets_threads_of_its_own() -> None:
    code = """
import os, signal
from m2n2.kernels.parallel import run_parallel
run_parallel(str, range(4))
child = os.fork()
if child == 0:
    signal.alarm(30)  # ends a child that waits for threads it does not have
    os._exit(0 if run_parallel(str, range(4)) == ["0", "1", "2", "3"] else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0
