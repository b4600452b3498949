from collections.abc import Sequence

import numpy as np
import pytest

from m2n2 import Prompt
from m2n2.evaluation import Click, ClickRule, click_objects
from tests.m2n2.evaluation.brute_force import blob, deepest


class Discs:
    """A model that makes a disc of each click, later clicks over earlier ones."""

    def __init__(self, shape: tuple[int, int], radius: float) -> None:
        self.shape, self.radius = shape, radius
        self.calls: list[list[Prompt]] = []

    def __call__(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        self.calls.append(list(prompts))
        return [self._mask(prompt) for prompt in prompts]

    def _mask(self, prompt: Prompt) -> np.ndarray:
        v, u = np.indices(self.shape)
        mask = np.zeros(self.shape, bool)
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            mask[(u - x) ** 2 + (v - y) ** 2 <= self.radius**2] = label
        return mask


def test_each_click_and_each_iou_is_the_protocols() -> None:
    truth = blob(5)
    discs = Discs(truth.shape, 2.0)
    (session,) = click_objects(discs, [truth], ClickRule(), cap=6)
    mask, clicks = np.zeros_like(truth), []
    for number in range(6):
        _, x, y = deepest(truth != mask)
        clicks.append(Click(x, y, bool(truth[y, x])))
        mask = discs([Prompt([(c.x, c.y) for c in clicks], [c.label for c in clicks])])[0]
        assert session.clicks[: number + 1] == tuple(clicks)
        assert session.ious[number] == (mask & truth).sum() / (mask | truth).sum()
    assert len(session.seconds) == 6


def test_a_session_ends_where_the_mask_is_the_truth() -> None:
    v, u = np.indices((15, 15))
    truth = (u - 7) ** 2 + (v - 7) ** 2 <= 16
    (session,) = click_objects(Discs((15, 15), 4.0), [truth], ClickRule(), cap=20)
    assert session.ious == (1.0,)


def test_objects_clicked_together_are_masked_in_one_call_a_round_and_finished_ones_keep_their_clicks() -> None:
    v, u = np.indices((15, 40))
    truths = [(u - 7) ** 2 + (v - 7) ** 2 <= 16, (u > 20) & (v > 3)]
    discs = Discs((15, 40), 4.0)
    sessions = click_objects(discs, truths, ClickRule(), cap=3)
    assert [len(session.ious) for session in sessions] == [1, 3]
    assert [[len(prompt.points) for prompt in call] for call in discs.calls] == [[1, 1], [1, 2], [1, 3]]


def test_noise_depends_on_the_object_and_not_on_its_company() -> None:
    truths, rule = [blob(1), blob(2)], ClickRule(noise=0.7, seed=4)
    discs = Discs(truths[0].shape, 3.0)
    together = click_objects(discs, truths, rule, 5, ["a", "b"])
    (alone,) = click_objects(discs, truths[1:], rule, 5, ["b"])
    (again,) = click_objects(discs, truths[1:], ClickRule(noise=0.7, seed=5), 5, ["b"])
    assert alone.clicks == together[1].clicks
    assert alone.clicks != again.clicks


def test_an_object_without_a_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match="object cat has no pixel"):
        click_objects(Discs((4, 4), 1), [np.zeros((4, 4), bool)], ClickRule(), names=["cat"])
