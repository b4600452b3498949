"""Where attention comes from: one file a family of models, one protocol."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m2n2.backbones.protocol import Backbone

__all__ = ["load_backbone"]

# Name: what makes it, and the weights it takes by default out of the cache (None: it has no weights).
BUILT_IN: dict[str, tuple[str, str | None]] = {
    "sd2": ("m2n2.backbones.stable_diffusion:StableDiffusion", "sd2"),
    "sd1.5": ("m2n2.backbones.stable_diffusion:StableDiffusion", "sd1.5"),
    "sd2.1": ("m2n2.backbones.stable_diffusion:StableDiffusion", "sd2.1"),
    "sd-turbo": ("m2n2.backbones.stable_diffusion:StableDiffusion", "sd-turbo"),
    "sdxl": ("m2n2.backbones.stable_diffusion:StableDiffusion", "sdxl"),
    "dinov2": ("m2n2.backbones.dinov2:Dinov2", "dinov2-small"),
    "colour": ("m2n2.backbones.colour:Colour", None),
}


def load_backbone(
    name: str,
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    grid: int | tuple[int, int] | None = None,
    *,
    sha256: str | None = None,
    **options: Any,
) -> Backbone:
    """A model that gives self-attention, loaded and on its device.

    Args:
        name: "sd2", "sd1.5", "sd2.1", "sd-turbo", "sdxl", "dinov2", "colour"; or "package.module:callable" for one's
            own, which is called with (weights, device, dtype, grid, **options) as keywords and returns a `Backbone`.
        weights: see `m2n2.backbones.weights.resolve_weights`; None takes the default name from the cache. One's own
            callable gets it as it stands here.
        device: torch device, such as "cpu" or "cuda".
        dtype: "float32", "float16" or "bfloat16" of the model; attention comes out in float32 whatever it is.
        grid: cells of the attention, one number or (h, w); None is the backbone's default (sd2 128, dinov2 64).
        sha256: digest that the weights must have.
        options: the backbone's own, such as `layers` or `fit` of Stable Diffusion.

    Raises:
        InvalidWeights: the weights are missing, incomplete, corrupted, pickled, of another model or not on this
            machine (an address: `m2n2 weights cache ADDRESS` copies them).
        InvalidDevice: a device that this machine does not have.
        ValueError: an unknown name, dtype, grid or value of an option.
    """
    target, default_weights = BUILT_IN.get(name, (name, None))
    module, separator, attribute = target.partition(":")
    if not separator:
        raise ValueError(f"backbone is {name!r}, allowed: {', '.join(BUILT_IN)}, or package.module:callable")
    source: Any = weights
    if default_weights is not None:
        from m2n2.backbones.weights import resolve_weights

        source = resolve_weights(weights or default_weights, sha256=sha256)
    if name in BUILT_IN:
        from m2n2.backbones.arguments import check_device

        check_device(device)
    make = getattr(import_module(module), attribute)
    backbone: Backbone = make(weights=source, device=device, dtype=dtype, grid=grid, **options)
    return backbone
