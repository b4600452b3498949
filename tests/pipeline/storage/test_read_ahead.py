"""Many requests at once, in order, and never too many."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipeline.storage.read_ahead import in_order


def test_requests_wait_beside_each_other_and_answers_come_in_order() -> None:
    together = threading.Barrier(4)  # one after another, none would ever get past it

    def request(number: int) -> int:
        together.wait(timeout=60)
        return number * number

    assert list(in_order(request, range(8), at_once=4)) == [0, 1, 4, 9, 16, 25, 36, 49]


def test_no_more_is_asked_for_than_is_taken() -> None:
    asked = []

    def items() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    answers = in_order(lambda number: number, items(), at_once=3)
    assert [next(answers), next(answers)] == [0, 1]
    assert len(asked) <= 5
    answers.close()  # type: ignore[attr-defined]


def test_a_request_that_fails_is_told_at_its_turn() -> None:
    answers = in_order(lambda number: 1 // (2 - number), range(5), at_once=5)
    assert [next(answers), next(answers)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(answers)
