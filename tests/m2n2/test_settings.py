from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import asdict

import pytest

from m2n2 import Prompt, Settings
from m2n2.errors import InvalidPrompt
from m2n2.settings import Score


def test_settings_and_prompts_do_not_load_torch() -> None:
    code = "import m2n2, sys; m2n2.Settings(); m2n2.Prompt([(0, 0)]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().temperature = 1.0  # type: ignore[misc]


def test_a_constant_of_a_later_version_is_in_the_identity_only_where_it_is_not_the_default() -> None:
    first = asdict(Settings())
    for added in (
        "map",
        "flood_fill",
        "score",
        "affinity",
        "key_layers",
        "key_temperature",
        "threshold",
        "more_clicks",
        "smooth",
        "box_margin",
    ):
        del first[added]
    assert Settings().identity() == first
    changed = Settings(temperature=0.5, map="attention", score=Score(edge=False))
    more = {"temperature": 0.5, "map": "attention", "score": asdict(Score(edge=False))}
    assert changed.identity() == first | more


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        ([], [], "at least one point"),
        ([(0, 0)], [True, False], "1 points but 2 labels"),
        ([(0, float("nan"))], [True], "not finite"),
        ([(float("inf"), 0)], [], "not finite"),
    ],
)
def test_prompts_that_are_refused(points: list[tuple[float, float]], labels: list[bool], message: str) -> None:
    with pytest.raises(InvalidPrompt, match=message):
        Prompt(points, labels)


def test_labels_default_to_foreground() -> None:
    assert Prompt([(1, 2), (3, 4)]).labels == (True, True)
