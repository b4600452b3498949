"""What a GPU does with an image, stage by stage: milliseconds, GB/s, share of the roofline, memory, images a second.

    python -m benchmarks.gpu                          # Stable Diffusion 2 at full size with random weights
    python -m benchmarks.gpu --device cpu --small     # the same code on a tiny model, to see that it works

Needs m2n2 with its backbones (torch, diffusers, numba) and a checkout of this folder, nothing else: no weights, no
network. Every stage is run in float32 and float16, by torch's forms and by the Triton kernels; the best of `--repeats`
counts, and images a second are those of a worker, everything beside everything. Bytes and FLOPs are those of
m2n2/kernels/gpu/traffic.py. Parts that would begin after `--limit-s` are left out. Random weights attend to everything
alike, so a chain would end at once: its row is 60 steps, whatever they reach.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file

from m2n2 import Prompt, Scene, Settings
from m2n2.backbones.arguments import torch_dtype
from m2n2.backbones.head_mean import add_head_mean
from m2n2.backbones.reading import NetworkInput, Reader
from m2n2.backbones.stable_diffusion import StableDiffusion
from m2n2.full_size import working_image, working_pixels
from m2n2.kernels.gpu.choice import Choice
from m2n2.kernels.gpu.fourth_power import STEPS
from m2n2.kernels.gpu.traffic import CARDS, CHANNELS, HEADS, LAYERS, Case, Stage, stages
from m2n2.markov_map import markov_maps, start_states
from m2n2.transition import transition_operator
from m2n2.upsampling import Offsets, weighted_means
from m2n2.warm_up import warm_up

CHAIN_STEPS = 60
DECODERS = 4

Result = TypeVar("Result")


@dataclass(frozen=True)
class Size:
    """What is run: a model's width, the attention's grid, the photo's side, and the clicks."""

    head_channels: int
    grid: int
    compared_grid: int
    side: int
    objects: int
    clicks_each: int
    images: int


FULL = Size(head_channels=64, grid=128, compared_grid=32, side=1000, objects=5, clicks_each=8, images=24)
SMALL = Size(head_channels=8, grid=16, compared_grid=8, side=64, objects=2, clicks_each=2, images=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--small", action="store_true", help="a tiny model, grid and photo")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=360.0, help="no part begins later than this")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="where the numbers go")
    parser.add_argument("--markdown", type=Path, default=Path("gpu.md"), help="where the tables go")
    arguments = parser.parse_args()
    kept = KeptWarnings()
    logging.getLogger("m2n2.gpu").addHandler(kept)
    begun = time.monotonic()
    size, device = SMALL if arguments.small else FULL, torch.device(arguments.device)
    runs: list[dict[str, Any]] = []
    left_out: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        build(Path(scratch), size, device)
        warm_up(Settings())
        for dtype in ("float32", "float16"):
            for form in ("torch", "triton"):
                if time.monotonic() - begun > arguments.limit_s:
                    left_out.append(f"{dtype}, {form}")
                    continue
                with forms(form):
                    runs.append(run(Path(scratch), size, device, dtype, arguments.repeats) | {"form": form})
    report = {
        "device": name_of(device),
        "torch": torch.__version__,
        "runs": runs,
        "left out": left_out,
        "warnings": kept.messages,
        "seconds": time.monotonic() - begun,
    }
    arguments.json.write_text(json.dumps(report, indent=1))
    text = markdown(report)
    arguments.markdown.write_text(text)
    print(text)


class KeptWarnings(logging.Handler):
    """What was said about kernels that torch had to stand in for."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def forms(form: str) -> Any:
    """Torch's forms by force, or what m2n2 chooses by itself: Triton on a GPU."""
    if form == "torch":
        return patch.object(Choice, "on", lambda choice, device, *variant: choice.torch_form)
    return nullcontext()


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"


def build(directory: Path, size: Size, device: torch.device) -> None:
    """Stable Diffusion 2's structure with random weights, made on the device, saved in half precision."""
    torch.manual_seed(0)
    full = size is FULL
    heads = [5, 10, 20, 20]
    with device:
        unet = UNet2DConditionModel(
            block_out_channels=[each * size.head_channels for each in heads],
            attention_head_dim=heads,  # numbers of heads, whatever the name says
            cross_attention_dim=1024 if full else 32,
            use_linear_projection=True,
            norm_num_groups=32 if full else 8,
            sample_size=96,
        )
        vae = AutoencoderKL(
            block_out_channels=[128, 256, 512, 512] if full else [16] * 4,
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            layers_per_block=2,
            norm_num_groups=32 if full else 8,
            scaling_factor=0.18215,
        )
        tokens = torch.randn(1, 77, 1024 if full else 32)
    unet.half().save_pretrained(directory / "unet")
    vae.half().save_pretrained(directory / "vae")
    save_file({"tokens": tokens.cpu()}, directory / "prompt_embedding.safetensors")


def run(directory: Path, size: Size, device: torch.device, dtype: str, repeats: int) -> dict[str, Any]:
    """The stages one by one, the result against the CPU's, and images a second with everything beside each other."""
    settings = Settings(operator_dtype="float16" if dtype == "float16" else "float32")
    backbone = StableDiffusion(directory, str(device), dtype, size.grid)
    rows = measured(backbone, size, dtype, settings, repeats)
    return {
        "dtype": dtype,
        "stages": rows,
        "against the CPU": against_the_cpu(directory, size, device, dtype, settings),
        "images a second": images_a_second(backbone, size, settings),
    }


def measured(
    backbone: StableDiffusion, size: Size, dtype: str, settings: Settings, repeats: int
) -> list[dict[str, Any]]:
    device, image = backbone.device, photo(size)
    n = size.grid**2
    to_the_end = replace(settings, markov_threshold=1.0, markov_max_steps=CHAIN_STEPS)  # no cell ever crosses 1
    prompts = objects(size)
    pixels = [(int(x), int(y)) for prompt in prompts for x, y in prompt.points]
    starts = torch.from_numpy(start_states(pixels, image.shape[:2], backbone.grid)).to(device)
    small = working_image(image, working_pixels(settings, backbone.grid))
    query, key = (torch.randn(HEADS, n, CHANNELS, device=device, dtype=torch_dtype(dtype)) for _ in range(2))
    total = torch.zeros(n, n, device=device)

    def captured() -> None:
        for _ in range(LAYERS):
            add_head_mean(total, query, key, CHANNELS**-0.5, 0.5)

    rows = []

    def timed(name: str, work: Callable[[], Result]) -> Result:
        seconds, peak, result = best(work, device, repeats)
        rows.append({"stage": name, "ms": 1e3 * seconds, "peak_gib": peak / 2**30})
        return result

    attention = timed("network and head mean", lambda: backbone.attention(image)).view(n, n)
    timed("head mean", captured)
    operator = timed("operator", lambda: transition_operator(attention, settings, overwrite=False))
    with patch("m2n2.markov_map.pays_on", lambda device: False):
        maps = timed("chain", lambda: markov_maps(operator, starts, to_the_end))
    if operator.kernel.dtype == torch.float16:
        power = timed("fourth power", operator.fourth_power)
        states = starts.repeat(STEPS, 1)
        timed("four steps a product", lambda: [power.step_many(states) for _ in range(CHAIN_STEPS // STEPS)])
    timed("upsampling", lambda: weighted_means(maps.view(-1, *backbone.grid), small, settings))
    timed("copies", lambda: torch.zeros(len(pixels), *small.shape[:2], device=device).cpu())
    scene = Scene(image, attention.view(*backbone.grid, *backbone.grid), settings)
    scene.advance([point for prompt in prompts for point in prompt.points])
    seconds = []
    for _ in range(repeats):
        kept = scene.reduced(small.shape[0] * small.shape[1])  # has seen no click
        kept.advance([point for prompt in prompts for point in prompt.points])
        start = time.perf_counter()
        kept.segment(prompts)
        seconds.append(time.perf_counter() - start)
    rows.append({"stage": "upsampling and refinement", "ms": 1e3 * min(seconds), "peak_gib": 0.0})
    case = Case(
        cells=n,
        pixels=small.shape[0] * small.shape[1],
        offsets=int((2 * Offsets.within(small.shape[:2], backbone.grid, settings).reach + 1).sum()),
        clicks=len(pixels),
        sinkhorn_sweeps=operator.rounds + 1,
        chain_steps=CHAIN_STEPS,
        operator_bytes=operator.kernel.element_size(),
    )
    return [row | rates(row, case, size, name_of(device)) for row in rows]


def rates(row: dict[str, Any], case: Case, size: Size, card_name: str) -> dict[str, Any]:
    """GB/s, and the share of the roofline where the card's peaks are known; only SD2's own sizes are counted."""
    counted = {stage.name: stage for stage in stages(case)}
    leaps = {stage.name: stage for stage in stages(replace(case, leaps_after=0))}
    parts: dict[str, list[Stage]] = {
        "network and head mean": [counted["network"], counted["head mean"]] if size is FULL else [],
        "head mean": [counted["head mean"]],
        "operator": [counted["temperature"], counted["Sinkhorn"]],
        "chain": [counted["chain"]],
        "fourth power": [leaps["fourth power"], leaps["its balance"]],
        "four steps a product": [leaps["four steps a product"]],
        "upsampling": [counted["upsampling"]],
    }
    own = parts.get(row["stage"], [])
    steps = {"steps": case.chain_steps} if row["stage"] in ("chain", "four steps a product") else {}
    moved = sum(stage.memory_bytes for stage in own)
    found: dict[str, Any] = {"gb_per_s": moved / 1e6 / row["ms"] if own else None, "roofline": None} | steps
    for card in CARDS:
        if own and card.name.split()[0] in card_name.replace("-", " ").split():
            found["roofline"] = sum(stage.milliseconds(card) for stage in own) / row["ms"]
    return found


def best(work: Callable[[], Result], device: torch.device, repeats: int) -> tuple[float, int, Result]:
    """Seconds of the fastest call after one that is not counted, peak memory in bytes, and the result."""
    on_gpu = device.type == "cuda"
    result = work()
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(repeats):
        del result
        start = time.perf_counter()
        result = work()
        if on_gpu:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    if on_gpu:
        return min(seconds), torch.cuda.max_memory_allocated(device), result
    return min(seconds), 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, result


def against_the_cpu(
    directory: Path, size: Size, device: torch.device, dtype: str, settings: Settings
) -> dict[str, float]:
    """On a coarser grid, which a CPU can do: the attention's largest relative difference, and pixels masked alike."""
    image, prompts = photo(size), objects(size)
    masks, attentions = [], []
    for where, width, how in ((str(device), dtype, settings), ("cpu", "float32", Settings())):
        attention = StableDiffusion(directory, where, width, size.compared_grid).attention(image)
        attentions.append(attention.float().cpu())
        masks.append(np.stack([mask.mask for mask in Scene(image, attention, how).segment(prompts)]))
    difference = (attentions[0] - attentions[1]).abs().max() / attentions[1].max()
    return {"attention": float(difference), "masks alike": float((masks[0] == masks[1]).mean())}


def images_a_second(backbone: StableDiffusion, size: Size, settings: Settings) -> float:
    """As a worker does it, all at once; the first image is not counted.

    Images are decoded and resized ahead, and the next one is on its way to the device; masks are made behind it.
    """
    buffer = io.BytesIO()
    Image.fromarray(photo(size)).save(buffer, "JPEG", quality=95)
    prompts = objects(size)
    points = [point for prompt in prompts for point in prompt.points]
    reader = Reader(backbone, settings)

    def decode(_: int) -> tuple[np.ndarray, np.ndarray]:
        image = np.array(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
        return image, reader.resized(image)

    with ThreadPoolExecutor(DECODERS) as decoders, ThreadPoolExecutor(os.cpu_count()) as refiners:
        behind = []
        start = time.perf_counter()
        sent = ((image, reader.begin([resized])) for image, resized in decoders.map(decode, range(size.images + 1)))
        ahead: tuple[np.ndarray, NetworkInput] | None = next(sent)
        for index in range(size.images + 1):
            assert ahead is not None, "one was sent for every image"
            (image, this), ahead = ahead, next(sent, None)
            [attention] = reader.read(this)
            scene = Scene(image, attention, settings, overwrite_attention=True)
            del attention  # the scene's, to be freed with its operator
            scene.advance(points)
            scene.release_operator()
            behind.append(refiners.submit(scene.segment, prompts))
            if index == 0:
                behind.pop().result()
                start = time.perf_counter()
        for each in behind:
            each.result()
        return size.images / (time.perf_counter() - start)


def photo(size: Size) -> np.ndarray:
    """Coloured discs on a gradient, with noise: (side, side, 3) uint8."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size.side, : size.side] / size.side
    image = np.stack([255 * x, 255 * y, 128 + 0 * x], axis=2)
    for centre_x, centre_y, *colour in rng.random((12, 5)):
        image[(x - centre_x) ** 2 + (y - centre_y) ** 2 < 0.01] = 255 * np.array(colour)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def objects(size: Size) -> list[Prompt]:
    """The first click of each on the object, every fourth beside it."""
    rng = np.random.default_rng(1)
    labels = [i % 4 != 3 for i in range(size.clicks_each)]
    return [
        Prompt([(float(x), float(y)) for x, y in rng.integers(0, size.side, (size.clicks_each, 2))], labels)
        for _ in range(size.objects)
    ]


def markdown(report: dict[str, Any]) -> str:
    lines = [f"{report['device']}, PyTorch {report['torch']}, {report['seconds']:.0f} s", ""]
    lines += [
        "| dtype | form | stage | ms | GB/s | share of the roofline | peak GiB |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for each in report["runs"]:
        for row in each["stages"]:
            rate = "" if row["gb_per_s"] is None else f"{row['gb_per_s']:.0f}"
            share = "" if row["roofline"] is None else f"{row['roofline']:.2f}"
            name = row["stage"] + (f" ({row['steps']} steps)" if "steps" in row else "")
            cells = [each["dtype"], each["form"], name, f"{row['ms']:.2f}", rate, share, f"{row['peak_gib']:.2f}"]
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| dtype | form | images a second | attention's difference | masks alike |",
        "|---|---|---:|---:|---:|",
    ]
    for each in report["runs"]:
        found = each["against the CPU"]
        alike = f"{found['attention']:.1e} | {found['masks alike']:.4f}"
        lines.append(f"| {each['dtype']} | {each['form']} | {each['images a second']:.2f} | {alike} |")
    lines += ["", *(f"Left out for want of time: {part}." for part in report["left out"])]
    return "\n".join([*lines, *(f"Warning: {message}" for message in report["warnings"])]) + "\n"


if __name__ == "__main__":
    main()
