"""What every stage has to compute and to move, counted, and the milliseconds that follow from a card's data sheet.

Reckoned, never run. A stage takes as long as the slowest of its arithmetic, its memory, its caches and its copies, each
at the full rate; the network, whose operations follow each other, takes the sum of the first two. No launch is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEADS, CHANNELS, LAYERS = 5, 64, 2  # of Stable Diffusion 2's captured layers
# One call of its network at 128 x 128, by `python -m benchmarks.backbone --roofline`; the torch form of the captured
# layers moves six tensors of N x N a head, which the Triton form does not.
NETWORK_FLOPS, NETWORK_BYTES = 8.64e12, 99.7e9
TORCH_CAPTURE_TENSORS = 6 * HEADS * LAYERS
TYPICAL_SWEEPS, TYPICAL_STEPS = 25, 60  # of Sinkhorn and of the chain, on photos at a grid of 128 x 128
MAPS_AT_ONCE, STATES_PADDED, COLUMN_BYTES = 16, 64, 128
STEPS_A_PRODUCT, POWER_SWEEPS = 4, 3  # of the chain's fourth power
FLOAT_BYTES, HALF_BYTES = 4, 2
BYTES_A_CLOCK, EXPONENTIALS_A_CLOCK = 128, 16  # of a multiprocessor: from its caches, and of its special function units


@dataclass(frozen=True)
class Card:
    """Peaks of a data sheet: FLOP/s and bytes/s; caches are 128 bytes a clock and multiprocessor at the boost clock."""

    name: str
    half_flops: float
    float32_flops: float
    tf32_flops: float
    memory: float
    caches: float
    host: float


CARDS = (
    Card("A100 80 GB", 312e12, 19.5e12, 156e12, 2.0e12, 108 * 128 * 1.41e9, 32e9),
    Card("H100 SXM", 989e12, 67e12, 494e12, 3.35e12, 132 * 128 * 1.83e9, 64e9),
    Card("L4", 121e12, 30.3e12, 60e12, 0.3e12, 58 * 128 * 2.04e9, 32e9),
)


@dataclass(frozen=True)
class Case:
    """An image and its clicks: cells of the grid, pixels at working size, offsets of the upsampling within reach."""

    cells: int
    pixels: int
    offsets: int
    clicks: int
    sinkhorn_sweeps: int
    chain_steps: int
    operator_bytes: int = FLOAT_BYTES
    leaps_after: int | None = None  # steps of the chain, then four a product; only where the operator is float16

    @property
    def is_half(self) -> bool:
        """Whether the operator is stored in float16."""
        return self.operator_bytes == HALF_BYTES


@dataclass(frozen=True)
class Stage:
    """FLOPs by the unit that does them, and bytes by what they go through."""

    name: str
    half_flops: float = 0
    float32_flops: float = 0
    split_flops: float = 0  # float32 products as three products of TF32
    exponentials: float = 0  # and logarithms
    memory_bytes: float = 0
    cache_bytes: float = 0
    host_bytes: float = 0

    def milliseconds(self, card: Card) -> float:
        """What the stage takes at the card's full rates."""
        arithmetic = self.half_flops / card.half_flops + self.float32_flops / card.float32_flops
        arithmetic += 3 * self.split_flops / card.tf32_flops
        arithmetic += self.exponentials * BYTES_A_CLOCK / EXPONENTIALS_A_CLOCK / card.caches
        memory = self.memory_bytes / card.memory
        if self.name == "network":
            return 1e3 * (arithmetic + memory)
        return 1e3 * max(arithmetic, memory, self.cache_bytes / card.caches, self.host_bytes / card.host)


def stages(case: Case) -> list[Stage]:
    """All stages of one image on the GPU, in their order."""
    values = case.cells**2
    launches = -(-case.clicks // MAPS_AT_ONCE)
    shared = (case.cells / 128**2) ** 2 * NETWORK_BYTES - TORCH_CAPTURE_TENSORS * values * FLOAT_BYTES
    tile_reads = 2 * (values / 64**2) * HEADS * LAYERS * 2 * 64 * CHANNELS * HALF_BYTES
    return [
        Stage("network", half_flops=NETWORK_FLOPS * case.cells / 128**2, memory_bytes=shared),
        Stage(
            "head mean",  # logits twice, for normalisers and for the mean; the total read and written by each layer
            half_flops=2 * 2 * CHANNELS * HEADS * LAYERS * values,
            float32_flops=7 * HEADS * LAYERS * values,
            exponentials=2 * HEADS * LAYERS * values,
            memory_bytes=2 * LAYERS * values * FLOAT_BYTES,
            cache_bytes=tile_reads,
        ),
        Stage(
            "temperature",  # a row is in the cache for its second and third look
            exponentials=4 * values,
            memory_bytes=values * (FLOAT_BYTES + case.operator_bytes),
            cache_bytes=values * (3 * FLOAT_BYTES + case.operator_bytes),
        ),
        Stage(
            "Sinkhorn",
            float32_flops=4 * values * case.sinkhorn_sweeps,
            memory_bytes=values * case.operator_bytes * case.sinkhorn_sweeps,
            cache_bytes=2 * values * case.operator_bytes * case.sinkhorn_sweeps,
        ),
        *_chain(case),
        Stage(
            "upsampling",  # 12 FLOPs a weight, made once a launch, and 2 a map
            float32_flops=case.pixels * case.offsets * (12.0 * launches + 2.0 * case.clicks),
            memory_bytes=case.pixels * FLOAT_BYTES * (3.0 * launches + 2.0 * case.clicks),
            cache_bytes=case.pixels * case.offsets * FLOAT_BYTES * (3.0 * launches + case.clicks),
        ),
        Stage("copies", host_bytes=case.pixels * (3.0 + FLOAT_BYTES * case.clicks)),
    ]


def _chain(case: Case) -> list[Stage]:
    """Single steps, and what follows them in a long chain."""
    steps = case.chain_steps
    if case.leaps_after is None or steps <= case.leaps_after:
        return [_single_steps(case, steps)]
    matrix = case.cells**2 * HALF_BYTES
    products = -(-(steps - case.leaps_after) // STEPS_A_PRODUCT)
    states = STEPS_A_PRODUCT * case.clicks
    halves = -(-2 * states // STATES_PADDED) * STATES_PADDED
    return [
        _single_steps(case, case.leaps_after),
        Stage("fourth power", half_flops=4.0 * case.cells**3, memory_bytes=2 * 3 * matrix),
        Stage("its balance", memory_bytes=(2 + POWER_SWEEPS) * matrix),
        Stage(
            "four steps a product",
            half_flops=2.0 * halves * case.cells**2 * products,
            memory_bytes=(matrix + 3 * states * case.cells * FLOAT_BYTES) * products,
        ),
    ]


def _single_steps(case: Case, steps: int) -> Stage:
    """Every program, of 128 bytes of columns, reads all states."""
    launches = -(-case.clicks // STATES_PADDED)
    product = 2.0 * launches * STATES_PADDED * case.cells**2 * steps
    states = case.clicks * case.cells * FLOAT_BYTES
    kernel = launches * case.cells**2 * case.operator_bytes
    programs = case.cells * case.operator_bytes / COLUMN_BYTES
    return Stage(
        "chain",
        half_flops=2 * product if case.is_half else 0,  # a state's high and low half
        split_flops=0 if case.is_half else product,
        memory_bytes=(kernel + 3 * states) * steps,
        cache_bytes=(kernel + programs * states) * steps,
    )


def milliseconds(case: Case, card: Card) -> float:
    """Of all stages of an image."""
    return sum(stage.milliseconds(card) for stage in stages(case))


def table(case: Case, cards: Sequence[Card] = CARDS) -> list[str]:
    """Lines of Markdown: a stage's TFLOP, GB of memory, caches and copies, and its milliseconds on each card."""
    lines = [
        "| stage | TFLOP | GB memory | GB caches | GB host | " + " | ".join(card.name for card in cards) + " |",
        "|---" + "|---:" * (4 + len(cards)) + "|",
    ]
    for stage in stages(case):
        tera = (stage.half_flops + stage.float32_flops + stage.split_flops) / 1e12
        giga = [stage.memory_bytes / 1e9, stage.cache_bytes / 1e9, stage.host_bytes / 1e9]
        times = [f"{stage.milliseconds(card):.1f} ms" for card in cards]
        cells = [stage.name, f"{tera:.2f}", *(f"{each:.1f}" for each in giga), *times]
        lines.append("| " + " | ".join(cells) + " |")
    totals = [f"{milliseconds(case, card):.0f} ms" for card in cards]
    return [*lines, "| together | | | | | " + " | ".join(totals) + " |"]
