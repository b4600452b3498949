"""Stable Diffusion 2 at full size with random weights: our form against the literal one, and what a GPU should take.

    python -m benchmarks.backbone --grids 32 64        # seconds and peak memory on this CPU
    python -m benchmarks.backbone --roofline           # FLOPs and bytes counted, milliseconds expected on a GPU

Every measurement is a process of its own. The first call of each is not counted, the fastest of the others is; memory
is the process's peak. CPU seconds matter on a machine that others use too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from m2n2.backbones.stable_diffusion import StableDiffusion
from tests.literal_stable_diffusion import LiteralStableDiffusion
from tests.tiny_stable_diffusion import write_tokenizer

# Dense peak of half precision and of float32 without tensor cores, and memory bandwidth, from the makers' data sheets.
GPUS = {
    "A100 80 GB": {"half_flops": 312e12, "float32_flops": 19.5e12, "bytes_per_s": 2.0e12},
    "H100 SXM": {"half_flops": 989e12, "float32_flops": 67e12, "bytes_per_s": 3.35e12},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="keep the random weights there (5.2 GB), or reuse them")
    parser.add_argument("--grids", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--calls", type=int, default=2, help="timed calls; the fastest counts")
    parser.add_argument("--roofline", action="store_true")
    parser.add_argument("--measure", nargs=2, metavar=("FORM", "GRID"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        form, grid = arguments.measure
        print(json.dumps(measure(form, int(grid), arguments.weights, arguments.calls)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        weights = arguments.weights or Path(scratch)
        if not (weights / "unet").exists():
            build_full_size(weights)
        if arguments.roofline:
            print_roofline(weights)
        else:
            compare(weights, arguments.grids, arguments.calls)


def compare(weights: Path, grids: list[int], calls: int) -> None:
    print("grid  form     seconds  CPU seconds  peak GiB  after loading GiB")
    for grid in grids:
        results = {form: measured_apart(form, grid, weights, calls) for form in ("literal", "ours")}
        for form, result in results.items():
            numbers = f"{result['seconds']:7.2f}  {result['cpu_seconds']:11.2f}  {result['peak_gib']:8.2f}"
            print(f"{grid:4d}  {form:7s}  {numbers}  {result['loaded_gib']:17.2f}", flush=True)
        literal, ours = results["literal"], results["ours"]
        ratios = {key: literal[key] / ours[key] for key in ("seconds", "cpu_seconds", "peak_gib")}
        times, memory = f"{ratios['seconds']:.2f} (CPU {ratios['cpu_seconds']:.2f})", f"{ratios['peak_gib']:.2f}"
        print(f"{grid:4d}  the literal form takes {times} times as long and {memory} times the memory", flush=True)


def measured_apart(form: str, grid: int, weights: Path, calls: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.backbone", "--measure", form, str(grid), "--calls", str(calls)]
    finished = subprocess.run([*command, "--weights", str(weights)], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return result


def measure(form: str, grid: int, weights: Path, calls: int) -> dict[str, float]:
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    if form == "ours":
        backbone = StableDiffusion(weights, grid=grid)
        attend = lambda: backbone.attention(image)  # noqa: E731
    else:
        literal = LiteralStableDiffusion(weights)
        attend = lambda: literal.attention_batch([image], (grid, grid))  # noqa: E731
    loaded_gib = peak_gib()
    attend()
    seconds, cpu_seconds = [], []
    for _ in range(calls):
        start, cpu_start = time.perf_counter(), time.process_time()
        attend()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    return {
        "seconds": min(seconds),
        "cpu_seconds": min(cpu_seconds),
        "peak_gib": peak_gib(),
        "loaded_gib": loaded_gib,
    }


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB


def print_roofline(weights: Path) -> None:
    """Arithmetic alone is the least a GPU can take; moving every operation's tensors through memory is the most."""
    print("grid  TFLOP half  TFLOP float32  GB moved  " + "  ".join(f"{gpu:>16s}" for gpu in GPUS))
    image = np.zeros((480, 640, 3), dtype=np.uint8)
    for grid in (64, 96, 128):
        counts = count(StableDiffusion(weights, device="meta", dtype="float16", grid=grid), image)
        row = f"{grid:4d}  {counts.half_flops / 1e12:10.2f}  {counts.float32_flops / 1e12:13.2f}"
        row += f"  {counts.moved / 1e9:8.1f}"
        for gpu in GPUS.values():
            compute_s = counts.half_flops / gpu["half_flops"] + counts.float32_flops / gpu["float32_flops"]
            row += f"  {1e3 * compute_s:5.0f} to {1e3 * (compute_s + counts.moved / gpu['bytes_per_s']):3.0f} ms"
        print(row)


def count(backbone: StableDiffusion, image: np.ndarray) -> Counts:
    """What one call does, counted on tensors without data."""
    counts = Counts()
    fused = patch("torch.nn.functional.scaled_dot_product_attention", counts.fused_attention)
    with fused, counts, FlopCounterMode(display=False) as flops, torch.no_grad():
        backbone._totals([image], backbone.grid)
    counts.half_flops += flops.get_total_flops() - counts.float32_flops
    return counts


class Counts(TorchDispatchMode):
    """FLOPs by precision, and bytes of every operation's inputs and outputs; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.half_flops = self.float32_flops = self.moved = 0.0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if not operation.is_view:
            self.moved += sum(size_of(value) for value in [*args, result])
        if operation is torch.ops.aten.mm.out and args[0].dtype == torch.float32:  # logits of captured layers
            self.float32_flops += 2 * args[0].shape[0] * args[0].shape[1] * args[1].shape[1]
        return result

    def fused_attention(self, query: Any, key: Any, value: Any, **_: Any) -> Any:
        """Without data PyTorch would take its unfused form; a GPU takes one that never writes the probabilities."""
        images, heads, tokens, channels = query.shape
        self.half_flops += 4 * images * heads * tokens * key.shape[2] * channels
        self.moved += sum(size_of(tensor) for tensor in (query, key, value, query))
        return torch.empty_like(query)


def size_of(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    return sum(size_of(item) for item in value) if isinstance(value, (list, tuple)) else 0


def build_full_size(directory: Path) -> None:
    """Stable Diffusion 2's architecture, 866 million parameters of the UNet and all, with random weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    UNet2DConditionModel(
        attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, use_linear_projection=True, sample_size=96
    ).save_pretrained(directory / "unet")
    AutoencoderKL(
        block_out_channels=[128, 256, 512, 512],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=2,
        scaling_factor=0.18215,
    ).save_pretrained(directory / "vae")
    CLIPTextModel(
        CLIPTextConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, vocab_size=49408
        )
    ).save_pretrained(directory / "text_encoder")
    write_tokenizer(directory / "tokenizer", map_pads_with="!", config_pads_with="<|endoftext|>")


if __name__ == "__main__":
    main()
