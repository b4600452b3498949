"""A set of names that keeps none of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.page.name_set import NameSet

NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=30)


@given(names=NAMES, others=NAMES)
def test_it_answers_as_a_set_does(names: list[str], others: list[str]) -> None:
    found = NameSet(iter(names))
    assert [each in found for each in names + others] == [each in set(names) for each in names + others]
