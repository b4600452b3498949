import numpy as np
import pytest

from m2n2.evaluation import Click, ClickRule, next_click
from tests.m2n2.evaluation.brute_force import blob, deepest

PUBLISHED, COMPONENTS = ClickRule(), ClickRule("components")


@pytest.mark.parametrize("seed", range(12))
def test_the_first_click_is_the_pixel_furthest_from_the_objects_border(seed: int) -> None:
    truth = blob(seed)
    _, x, y = deepest(truth)
    assert next_click(truth, np.zeros_like(truth), PUBLISHED) == Click(x, y, True)
    assert next_click(truth, np.zeros_like(truth), COMPONENTS) == Click(x, y, True)


@pytest.mark.parametrize("seed", range(12))
def test_the_next_click_is_the_deepest_pixel_of_both_kinds_of_error_in_one_map(seed: int) -> None:
    truth, mask = blob(seed), blob(seed + 100)
    _, x, y = deepest(truth != mask)
    assert next_click(truth, mask, PUBLISHED) == Click(x, y, bool(truth[y, x]))


@pytest.mark.parametrize("seed", range(12))
def test_with_components_the_two_kinds_of_error_are_apart(seed: int) -> None:
    truth, mask = blob(seed), blob(seed + 100)
    missed, extra = deepest(truth & ~mask), deepest(mask & ~truth)
    _, x, y = missed if missed[0] > extra[0] else extra
    assert next_click(truth, mask, COMPONENTS) == Click(x, y, bool(truth[y, x]))


def test_where_both_kinds_of_error_touch_the_protocols_differ() -> None:
    truth, mask = np.zeros((9, 20), bool), np.zeros((9, 20), bool)
    truth[:, 0:9], mask[:, 9:20] = True, True
    assert next_click(truth, mask, PUBLISHED) == Click(4, 4, True)  # one error of 20 columns
    assert next_click(truth, mask, COMPONENTS) == Click(13, 4, False)  # equally deep: the extra one, as RITM


def test_an_object_at_the_border_is_clicked_as_if_the_image_ended_in_right_pixels() -> None:
    truth = np.ones((5, 5), bool)
    assert next_click(truth, np.zeros_like(truth), PUBLISHED) == Click(2, 2, True)


def test_there_is_no_click_on_a_mask_that_is_the_truth() -> None:
    truth = blob(1)
    assert next_click(truth, truth, PUBLISHED) is None


@pytest.mark.parametrize("seed", range(8))
def test_noise_moves_the_click_on_wrong_pixels_of_the_same_label(seed: int) -> None:
    truth, mask = blob(seed), blob(seed + 100)
    rule, ideal = ClickRule(noise=0.8, seed=seed), next_click(truth, mask, PUBLISHED)
    clicks = {next_click(truth, mask, rule, np.random.default_rng(draw)) for draw in range(40)}
    assert ideal is not None
    assert len(clicks) > 1
    for click in clicks:
        assert click is not None
        assert truth[click.y, click.x] != mask[click.y, click.x]
        assert click.label == ideal.label == truth[click.y, click.x]


def test_noise_grows_with_the_errors_depth() -> None:
    spread = []
    for side in (21, 81):
        truth = np.ones((side, side), bool)
        rule = ClickRule(noise=0.3)
        random = np.random.default_rng(0)
        clicks = [next_click(truth, np.zeros_like(truth), rule, random) for _ in range(300)]
        spread.append(np.std([click.x for click in clicks if click]) / (side + 1) * 2)
    assert spread[0] == pytest.approx(0.3, abs=0.05)
    assert spread[1] == pytest.approx(0.3, abs=0.05)


def test_a_rule_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="noise is -1"):
        ClickRule(noise=-1)
    with pytest.raises(ValueError, match="protocol is 'middle'"):
        ClickRule("middle")  # type: ignore[arg-type]
