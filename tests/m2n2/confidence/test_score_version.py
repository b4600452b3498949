"""Scores change only with their version: those of golden masks, stored with the version that made them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from m2n2 import Prompt, Scene, Settings
from m2n2.confidence.built_in import SCORE_VERSION

DATA = Path(__file__).parents[2] / "data"
SETTINGS = Settings(working_pixels=1_000_000)
STORED = DATA / "score_version.json"


def scores() -> dict[str, list[float]]:
    """Of each golden photo's masks after every click."""
    found = {}
    for photo in sorted(DATA.glob("*_24.npz")):
        with np.load(photo) as file:
            golden = dict(file)
        attention = golden["attention"].astype(np.float32)
        scene = Scene(golden["image"], attention / attention.sum(axis=1, keepdims=True), SETTINGS)
        points, labels = golden["points"].tolist(), golden["labels"].tolist()
        prompts = [Prompt(points[:clicks], labels[:clicks]) for clicks in range(1, len(points) + 1)]
        found[photo.stem] = [round(scene.segment([prompt])[0].score, 4) for prompt in prompts]
    return found


def test_scores_that_change_have_another_version() -> None:
    stored = json.loads(STORED.read_text())
    assert stored["score_version"] == SCORE_VERSION, "store: python -m tests.m2n2.confidence.test_score_version"
    for photo, expected in scores().items():
        assert stored["scores"][photo] == pytest.approx(expected, abs=1e-3), "scores changed: bump SCORE_VERSION"


if __name__ == "__main__":
    STORED.write_text(json.dumps({"score_version": SCORE_VERSION, "scores": scores()}, indent=1) + "\n")
