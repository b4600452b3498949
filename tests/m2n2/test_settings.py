from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from m2n2 import Prompt, Settings
from m2n2.errors import InvalidPrompt


def test_settings_and_prompts_do_not_load_torch() -> None:
    code = "import m2n2, sys; m2n2.Settings(); m2n2.Prompt([(0, 0)]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().temperature = 1.0  # type: ignore[misc]


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
