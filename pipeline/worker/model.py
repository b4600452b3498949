"""A job's model, loaded on the device that the job means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from m2n2.backbones import BUILT_IN
from m2n2.errors import InvalidAttention, InvalidDevice
from pipeline.config import Job
from pipeline.weights.node_cache import weights_on_this_node

if TYPE_CHECKING:
    from m2n2.backbones.protocol import Backbone


def load_model(job: Job) -> Backbone:
    """Load the job's backbone, its weights copied to this node first, with as many threads as the job gives a worker.

    Raises:
        InvalidDevice: the job gives its workers GPUs, and PyTorch sees none.
        InvalidAttention: the job's settings read keys, and the backbone gives none.
        InvalidWeights, ValueError: as `m2n2.backbones.load_backbone`.
    """
    import torch

    from m2n2.backbones import load_backbone
    from m2n2.backbones.protocol import KeyBackbone

    torch.set_num_threads(max(1, int(job.workers.cores)))
    backbone = job.backbone
    model = load_backbone(
        backbone.name,
        weights=_weights(job),
        device=device_name(job),
        dtype=backbone.dtype,
        grid=backbone.grid,
        sha256=backbone.sha256,
        **backbone.options,
    )
    if job.settings.affinity == "keys" and not isinstance(model, KeyBackbone):
        raise InvalidAttention(
            f"settings.affinity: found 'keys', which backbone {backbone.name} does not give; "
            "allowed: attention, or a backbone with keys such as dinov2"
        )
    return model


def device_name(job: Job) -> str:
    """The torch device that the job means. Raises InvalidDevice: GPUs are given to workers, and PyTorch sees none."""
    device, gpus = job.backbone.device, job.workers.gpus
    if device != "auto":
        return device
    import torch

    # On the CPU the run would go on, a hundred times slower, and look well.
    if gpus and not torch.cuda.is_available():
        found = f"workers.gpus is {gpus:g}, and PyTorch sees no CUDA device on {os.uname().nodename}"
        raise InvalidDevice(f"{found} (its driver, or a torch without CUDA?); allowed: backbone.device=cpu")
    return "cuda" if gpus else "cpu"


def _weights(job: Job) -> str | None:
    backbone = job.backbone
    if backbone.name not in BUILT_IN or backbone.weights is None:
        return backbone.weights  # one's own callable gets it as it stands in the job
    return weights_on_this_node(backbone.weights, job.storage, backbone.sha256)
