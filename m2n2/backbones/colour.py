"""Attention without a model: cells attend to near cells of like colour. To try a cluster, not to make good masks.

It takes milliseconds, needs no weights and gives the same numbers everywhere, so that a run's plumbing can be tried
at full scale before a GPU is rented.
"""

from __future__ import annotations

import numpy as np
import torch

from m2n2.backbones.area_resize import area_resize
from m2n2.backbones.arguments import grid_shape
from m2n2.errors import check_image
from m2n2.kernels.gpu.copies import upload

COLOUR_SIGMA = 0.1  # colours in 0..1
POSITION_SIGMA = 0.2  # of the grid's longer side


class Colour:
    """Attention from similarity of colour and position; deterministic.

    Args:
        weights: ignored, there are none.
        device: torch device of the attention.
        dtype: ignored, always float32.
        grid: cells of the attention, one number or (h, w).

    Raises:
        ValueError: a grid that is not positive.
    """

    def __init__(
        self,
        weights: object = None,
        device: str = "cpu",
        dtype: str = "float32",
        grid: int | tuple[int, int] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.grid = grid_shape(32 if grid is None else grid)

    def attention(self, image: np.ndarray) -> torch.Tensor:
        """Similarity of the image's cells, see `m2n2.backbones.protocol.Backbone`."""
        check_image(image)
        return self._similarity(upload(area_resize(image, self.grid), self.device))

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """A pixel a cell, see `m2n2.backbones.protocol.HalvedBackbone`."""
        return self.grid

    def attention_of(self, pixels: torch.Tensor) -> torch.Tensor:
        """Similarity of the cells of resized images, see `m2n2.backbones.protocol.HalvedBackbone`."""
        return torch.stack([self._similarity(each) for each in pixels])

    def _similarity(self, pixels: torch.Tensor) -> torch.Tensor:
        h, w = self.grid
        colours = pixels.view(h * w, 3).float() / 255
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        positions = torch.stack([rows, columns], dim=-1).view(h * w, 2).to(self.device) / max(h, w)
        features = torch.cat([colours / COLOUR_SIGMA, positions / POSITION_SIGMA], dim=1)  # (N, 5)
        # Distances without the matrix product's shortcut, whose cancellation differs between machines.
        distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")  # (N, N)
        return (-0.5 * distances.square()).softmax(dim=1).view(h, w, h, w)
