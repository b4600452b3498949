import pytest

from m2n2.evaluation import Session, clicks_to_reach, summarise


def session(*ious: float) -> Session:
    return Session((), ious, tuple(0.5 for _ in ious))


def test_noc_counts_the_click_that_reaches_the_target_and_the_cap_where_none_does() -> None:
    summary = summarise([session(0.3, 0.85, 0.8, 0.9), session(0.5, 0.6, 0.7, 0.7)], cap=4)
    assert summary.noc == {0.85: (2 + 4) / 2, 0.90: (4 + 4) / 2, 0.95: 4.0}
    assert summary.failures == {0.85: 1, 0.90: 1, 0.95: 2}


def test_a_target_is_reached_where_it_is_met_exactly_and_once_is_enough() -> None:
    assert clicks_to_reach([0.2, 0.9, 0.1], 0.9, 20) == 2
    assert clicks_to_reach([0.2, 0.9], 0.9, 1) is None


def test_a_session_that_ended_at_the_truth_stays_there() -> None:
    summary = summarise([session(0.5, 1.0), session(*[0.5] * 10)], cap=10)
    assert summary.iou == {1: 0.5, 2: 0.75, 3: 0.75, 5: 0.75, 10: 0.75}


def test_a_drop_is_an_added_click_that_costs_more_than_two_hundredths() -> None:
    summary = summarise([session(0.5, 0.49, 0.3, 0.8, 0.779)], cap=5)
    assert (summary.drops, summary.added_clicks) == (2, 4)
    assert summary.seconds_a_click == 0.5


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no session"):
        summarise([], cap=20)
