from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from m2n2 import Prompt, Settings
from m2n2.errors import InvalidPrompt, InvalidSettings
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
        ([(0, float("nan"))], [True], r"point \(0, nan\) is none: it needs 2 finite numbers"),
        ([(float("inf"), 0)], [], "2 finite numbers"),
        ([("5", 6)], [True], "2 finite numbers"),
        ([(5, 6, 1)], [True], "2 finite numbers"),
        ([(10**400, 6)], [True], "2 finite numbers"),
        ([5, 6], [True, True], "point 5 is none"),
        ([(5, 6)], [-1], "label -1 is none: it needs True on the object, False beside it"),
        ([(5, 6)], ["no"], "label 'no' is none"),
        ([(5, 6)], [None], "label None is none"),
    ],
)
def test_prompts_that_are_refused(points: list[Any], labels: list[Any], message: str) -> None:
    with pytest.raises(InvalidPrompt, match=message):
        Prompt(points, labels)


def test_labels_default_to_foreground() -> None:
    assert Prompt([(1, 2), (3, 4)]).labels == (True, True)


def test_points_and_labels_of_arrays_are_numbers() -> None:
    prompt = Prompt(np.array([[3, 4]], np.int32), np.array([1]))
    assert (prompt.points, prompt.labels) == (((3.0, 4.0),), (True,))


@pytest.mark.parametrize(
    ("constant", "message"),
    [
        ({"temperature": 0}, "temperature: found 0; allowed: a number above 0"),
        ({"temperature": float("nan")}, "temperature: found nan; allowed: a number above 0"),
        ({"colour_sigma": "wide"}, "colour_sigma: found 'wide'; allowed: a number above 0"),
        ({"box_margin": -0.1}, "box_margin: found -0.1; allowed: a number from 0"),
        ({"edge_levels": 0}, "edge_levels: found 0; allowed: a whole number from 1"),
        ({"markov_max_steps": 1.5}, "markov_max_steps: found 1.5; allowed: a whole number from 1"),
        ({"working_pixels": 0}, "working_pixels: found 0; allowed: a whole number from 1, or auto"),
        ({"working_pixels": "all"}, "working_pixels: found 'all'; allowed: a whole number from 1, or auto"),
        ({"map": "chain"}, "map: found 'chain'; allowed: markov, attention"),
    ],
)
def test_constants_that_no_algorithm_could_work_with(constant: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings(**constant)
    assert str(refused.value) == message
