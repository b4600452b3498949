"""SAM 2 as a peer, by point prompts (Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024).

As its authors' interactive protocol has it: of the first click's three masks the one that the model scores highest is
taken; each further click gets the logits before it as a prompt beside all points, and makes one mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import Sam2Model

from m2n2.backbones.dinov2 import IMAGENET_MEAN, IMAGENET_STD
from m2n2.backbones.loading import load_transformers
from m2n2.prompt import Prompt

Clicks = tuple[tuple[tuple[float, float], bool], ...]


class Sam2:
    """A loaded model.

    Args:
        weights: local Hugging Face directory: config.json, model.safetensors.
        device: torch device, such as "cpu" or "cuda".

    Raises:
        InvalidWeights: as `m2n2.backbones.loading.load_transformers`.
    """

    def __init__(self, weights: Path, device: str) -> None:
        self.device = torch.device(device)
        self.model = load_transformers(Sam2Model, weights, torch.float32).to(self.device)
        self.side: int = self.model.config.prompt_encoder_config.image_size

    @torch.no_grad()
    def ready(self, image_HW3: np.ndarray) -> Sam2Image:
        """An image, (H, W, 3) uint8, made ready for clicks: one pass of the encoder."""
        pixels = (
            torch.from_numpy(np.require(image_HW3, requirements=["C", "W"]))
            .to(self.device)
            .permute(2, 0, 1)[None]
            .float()
            / 255
        )
        square = torch.nn.functional.interpolate(pixels, (self.side, self.side), mode="bilinear", antialias=True)
        mean, std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        return Sam2Image(self, self.model.get_image_embeddings((square - mean) / std), image_HW3.shape[:2])


class Sam2Image:
    """An image's embeddings; the logits after each object's clicks are kept for the next click."""

    def __init__(self, peer: Sam2, embeddings: list[torch.Tensor], size: tuple[int, ...]) -> None:
        self._peer, self._embeddings, self._size = peer, embeddings, size
        self._logits: dict[Clicks, torch.Tensor] = {}

    @torch.no_grad()
    def masks(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """One (H, W) bool mask a prompt."""
        return [self._mask(tuple(zip(each.points, each.labels, strict=True))) for each in prompts]

    def _mask(self, clicks: Clicks) -> np.ndarray:
        for count in range(1, len(clicks) + 1):
            if clicks[:count] not in self._logits:
                self._logits[clicks[:count]] = self._click(clicks[:count])
        logits_HW = torch.nn.functional.interpolate(self._logits[clicks], self._size, mode="bilinear")[0, 0]
        mask_HW: np.ndarray = (logits_HW > 0).cpu().numpy()
        return mask_HW

    def _click(self, clicks: Clicks) -> torch.Tensor:
        """Low-resolution logits after the last click, (1, 1, h, w)."""
        height, width = self._size
        stretch = torch.tensor([self._peer.side / width, self._peer.side / height])
        points = torch.tensor([point for point, _ in clicks], dtype=torch.float32) * stretch
        labels = torch.tensor([int(label) for _, label in clicks])
        found = self._peer.model(
            image_embeddings=self._embeddings,
            input_points=points[None, None].to(self._peer.device),
            input_labels=labels[None, None].to(self._peer.device),
            input_masks=self._logits.get(clicks[:-1]),
            multimask_output=len(clicks) == 1,
        )
        best = int(found.iou_scores[0, 0].argmax())
        logits: torch.Tensor = found.pred_masks[:, 0, best : best + 1]
        return logits
