"""Does this backbone give usable attention on this machine? An actor asks at its start, a person before a big run."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from m2n2.backbones import load_backbone
from m2n2.errors import InvalidAttention

if TYPE_CHECKING:
    from m2n2.backbones.protocol import Backbone

ROW_SUM_TOLERANCE = 1e-3
# Standard deviation of N times the attention; 0 is flat. Trained models are above 1, so are the tests' random ones.
LEAST_CONTRAST = 0.01


@dataclass(frozen=True)
class BackboneCheck:
    """What one call on the built-in picture took. `str()` is a line for a log."""

    device: str
    dtype: str
    grid: tuple[int, int]
    seconds: float
    peak_memory_gib: float  # of the device; of the process if that is the CPU
    contrast: float  # standard deviation of N times the attention

    def __str__(self) -> str:
        cells = f"{self.grid[0]}x{self.grid[1]}"
        took = f"{self.seconds:.2f} s, at most {self.peak_memory_gib:.2f} GiB"
        return f"attention on {self.device} in {self.dtype}, grid {cells}: {took}, contrast {self.contrast:.2f}"


@dataclass(frozen=True)
class BackboneReport:
    """What `m2n2 check-backbone` prints: `str()` is the text."""

    name: str
    load_seconds: float
    first: BackboneCheck
    next: BackboneCheck
    largest_difference: float | None  # from the float32 run, as a share of the largest entry; None if it is that run

    def __str__(self) -> str:
        lines = [
            f"{self.name}: loaded in {self.load_seconds:.1f} s",
            f"first call: {self.first}",
            f"next call: {self.next}",
        ]
        if self.largest_difference is not None:
            lines.append(f"differs from float32 by at most {self.largest_difference:.2%} of the largest entry")
        return "\n".join(lines)


def check_backbone(backbone: Backbone, dtype: str = "float32") -> BackboneCheck:
    """Run the backbone on a built-in picture and look at what comes out.

    Args:
        dtype: what the backbone was loaded in, for the record.

    Raises:
        InvalidAttention: not (h, w, h, w) float32, not finite, negative, rows that do not sum to 1, or flat.
    """
    return _checked_call(backbone, dtype)[0]


def report_backbone(
    name: str,
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    grid: int | tuple[int, int] | None = None,
    *,
    sha256: str | None = None,
    **options: Any,
) -> BackboneReport:
    """Load a backbone, check it twice, and compare with float32 if it is not that itself.

    Args and errors are those of `m2n2.backbones.load_backbone`; `InvalidAttention` as in `check_backbone`.
    """
    known: dict[str, Any] = {"weights": weights, "device": device, "grid": grid, "sha256": sha256}
    known |= options
    start = time.perf_counter()
    backbone = load_backbone(name, dtype=dtype, **known)
    load_seconds = time.perf_counter() - start
    first = check_backbone(backbone, dtype)
    second, attention = _checked_call(backbone, dtype)
    difference = None
    if dtype != "float32":
        del backbone  # two models of this size may not fit on one device
        exact = load_backbone(name, dtype="float32", **known).attention(built_in_picture())
        difference = float((attention - exact).abs().max() / exact.max())
    return BackboneReport(name, load_seconds, first, second, difference)


def built_in_picture() -> np.ndarray:
    """(480, 640, 3) uint8: a bright disc and a dark square before a gradient, with a little texture."""
    y, x = np.mgrid[0:480, 0:640]
    picture = np.stack([x * 160 // 640, y * 160 // 480, (x + y) * 160 // 1120], axis=-1)
    picture[(x - 200) ** 2 + (y - 240) ** 2 < 120**2] = (240, 200, 60)
    picture[(abs(x - 470) < 80) & (abs(y - 200) < 80)] = (20, 30, 90)
    picture += ((x // 4 + y // 4) % 2 * 12)[..., None]
    return picture.astype(np.uint8)


def _checked_call(backbone: Backbone, dtype: str) -> tuple[BackboneCheck, torch.Tensor]:
    on_gpu = backbone.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(backbone.device)
    start = time.perf_counter()
    attention = backbone.attention(built_in_picture())
    contrast = _contrast(attention)  # reads the numbers back, so a GPU has finished
    seconds = time.perf_counter() - start
    device = torch.cuda.get_device_name(backbone.device) if on_gpu else str(backbone.device)
    check = BackboneCheck(
        device, dtype, (attention.shape[0], attention.shape[1]), seconds, _peak_gib(backbone), contrast
    )
    return check, attention


def _contrast(attention: torch.Tensor) -> float:
    shape = tuple(attention.shape)
    if len(shape) != 4 or shape[:2] != shape[2:] or attention.dtype != torch.float32:
        raise InvalidAttention(f"attention is {attention.dtype} {shape}, allowed: float32 (h, w, h, w)")
    rows = attention.flatten(2).flatten(0, 1)  # (N, N)
    if not bool(torch.isfinite(rows).all()):
        raise InvalidAttention("attention of the built-in picture is not finite, try bfloat16 or float32")
    off = float((rows.sum(dim=1) - 1).abs().max())
    if off > ROW_SUM_TOLERANCE or float(rows.min()) < 0:
        raise InvalidAttention(f"attention is not row-stochastic: sums are off by {off:.1e}, smallest {rows.min():.1e}")
    contrast = float(rows.std() * len(rows))
    if contrast < LEAST_CONTRAST:
        raise InvalidAttention(f"attention is flat: contrast {contrast:.1e}, allowed: at least {LEAST_CONTRAST}")
    return contrast


def _peak_gib(backbone: Backbone) -> float:
    if backbone.device.type == "cuda":
        return torch.cuda.max_memory_allocated(backbone.device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
