from __future__ import annotations

from dataclasses import asdict, dataclass, field

import pytest
import torch

from m2n2.backbones import load_backbone
from m2n2.backbones.check import built_in_picture, check_backbone, report_backbone
from m2n2.errors import InvalidAttention

CELLS = (3, 4, 3, 4)
EYE = torch.eye(12)


@dataclass
class Gives:
    """A backbone that gives one tensor whatever it is asked."""

    answer: torch.Tensor
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def attention(self, image):
        return self.answer


def test_says_device_dtype_memory_and_seconds():
    check = check_backbone(load_backbone("colour", grid=(6, 8)))
    assert asdict(check).keys() >= {"device", "dtype", "peak_memory_gib", "seconds", "grid", "contrast"}
    assert (check.device, check.dtype, check.grid) == ("cpu", "float32", (6, 8))
    assert check.seconds > 0
    assert check.peak_memory_gib > 0.01
    assert "grid 6x8" in str(check)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.full(CELLS, torch.nan), "not finite"),
        (torch.full(CELLS, 1 / 12), "flat"),
        (torch.full(CELLS, 1 / 11), "row-stochastic"),
        ((EYE + 0.1 * EYE.roll(1, 1) - 0.1 * EYE.roll(2, 1)).view(CELLS), "row-stochastic"),
        (EYE, "float32 (h, w, h, w)"),
        (EYE.view(CELLS).half(), "float32 (h, w, h, w)"),
    ],
    ids=["not a number", "flat", "sums", "negative", "shape", "dtype"],
)
def test_refuses_attention_that_is_none(answer, message):
    with pytest.raises(InvalidAttention) as refused:
        check_backbone(Gives(answer))
    assert message in str(refused.value)


def test_the_picture_has_three_things_in_it():
    picture = built_in_picture()
    assert picture.shape == (480, 640, 3)
    assert len({tuple(picture[y, x] // 16) for y, x in [(240, 200), (200, 470), (20, 20)]}) == 3


def test_the_report_compares_with_float32(tiny_sd2):
    report = report_backbone("sd2", str(tiny_sd2), dtype="bfloat16", grid=8)
    assert 0 < report.largest_difference < 1
    assert "differs from float32" in str(report)
    exact = report_backbone("sd2", str(tiny_sd2), grid=8)
    assert exact.largest_difference is None
    assert "differs" not in str(exact)
