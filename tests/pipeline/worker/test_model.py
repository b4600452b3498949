"""A worker refuses to start where it would quietly do something else than the job says."""

from __future__ import annotations

from typing import Any

import pytest

from m2n2.errors import InvalidAttention, InvalidDevice
from pipeline.config import parse_job
from pipeline.worker.model import load_model


def device_of(gpus: float, device: str) -> str:
    document: dict[str, Any] = {"images": "a", "clicks": "b", "output": "c", "workers": {"gpus": gpus}}
    job = parse_job(document | {"backbone": {"name": "colour", "device": device}}, "job")
    return load_model(job).device.type


def test_a_gpu_that_was_granted_and_is_not_seen_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidDevice, match=r"workers.gpus is 1, and PyTorch sees no CUDA device.*backbone.device=cpu"):
        device_of(1, "auto")
    assert device_of(1, "cpu") == "cpu"
    assert device_of(0, "auto") == "cpu"


def test_a_gpu_that_was_granted_and_is_seen_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("m2n2.backbones.load_backbone", lambda *_, device, **__: asked.append(device))
    document: dict[str, Any] = {"images": "a", "clicks": "b", "output": "c", "workers": {"gpus": 0.5}}
    load_model(parse_job(document | {"backbone": {"name": "colour"}}, "job"))
    assert asked == ["cuda"]


def test_keys_that_the_backbone_does_not_give_are_refused_before_any_image() -> None:
    document: dict[str, Any] = {"images": "a", "clicks": "b", "output": "c", "workers": {"gpus": 0}}
    document |= {"backbone": {"name": "colour"}, "settings": {"affinity": "keys"}}
    with pytest.raises(InvalidAttention, match=r"settings.affinity: found 'keys'.*colour does not give.*dinov2"):
        load_model(parse_job(document, "job"))
