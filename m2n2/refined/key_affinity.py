"""A chain over likeness of keys: the refined head's instead of attention (docs/quality.md, "The refined head").

    k = keys minus their mean over cells, length 1, a layer
    K = exp((S - 1) / t),  S = mean over layers of the cosines k k'
    P = diag(c) K diag(c),  rows and columns sum to 1

K is symmetric, and so is P: its powers are known from its eigenvectors, and one can look at the chain after any number
of steps without taking them one by one. It mixes slowly, so that its largest eigenvalues tell nearly all; only of the
first few steps the others would tell more.

Letters in names: L layers, N cells of the grid, C channels, R eigenvectors, P points, S steps that are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from m2n2.errors import InvalidAttention
from m2n2.settings import Settings

EIGENVECTORS = 192
SPARE_VECTORS = 32  # of the subspace iteration, so that the last eigenvectors that are kept have converged
SUBSPACE_ROUNDS = 3
BALANCE_ROUNDS, BALANCE_TOLERANCE = 60, 1e-4
FIRST_STEPS, LOOKS = 8, 56  # every step at first, then geometrically spaced ones
SMALLEST_RISE = 1e-6


@dataclass(frozen=True)
class SpectralChain:
    """`P = vectors diag(values) vectors'`, on one device.

    Attributes:
        values: (R,) float32, eigenvalues from the largest, 1.
        vectors: (N, R) float32, their eigenvectors.
    """

    values: torch.Tensor
    vectors: torch.Tensor

    def maps(self, starts_PN: torch.Tensor, settings: Settings) -> torch.Tensor:
        """Markov-maps of all start states, as section 4 of docs/algorithm.md, with linear crossings between looks."""
        steps_S = _steps(settings.markov_max_steps).to(starts_PN)
        powers_SR = self.values[None] ** steps_S[:, None]
        return torch.stack([self._map(start_N, powers_SR, steps_S, settings) for start_N in starts_PN])

    def _map(
        self, start_N: torch.Tensor, powers_SR: torch.Tensor, steps_S: torch.Tensor, settings: Settings
    ) -> torch.Tensor:
        tau = settings.markov_threshold
        states_SN = ((powers_SR * (start_N @ self.vectors)) @ self.vectors.T).clamp_(min=0)
        states_SN /= states_SN.amax(dim=1, keepdim=True).clamp(min=SMALLEST_RISE)
        before_SN = torch.cat([start_N[None], states_SN[:-1]])
        step_before_S = torch.cat([steps_S.new_zeros(1), steps_S[:-1]])
        share_SN = ((tau - before_SN) / (states_SN - before_SN).clamp(min=SMALLEST_RISE)).clamp(0, 1)
        crossing_SN = step_before_S[:, None] + (steps_S - step_before_S)[:, None] * share_SN
        above_SN = states_SN > tau
        first_N = above_SN.float().argmax(dim=0)
        map_N = crossing_SN.gather(0, first_N[None])[0]
        map_N[~above_SN.any(dim=0)] = float(settings.markov_max_steps)
        map_N[start_N > tau] = 0.0
        return map_N


def key_chain(keys_LNC: torch.Tensor, settings: Settings) -> SpectralChain:
    """The chain of an image's keys, where they live.

    Raises:
        InvalidAttention: a key that is not finite.
    """
    if not bool(torch.isfinite(keys_LNC).all()):
        raise InvalidAttention("the keys of the backbone are not finite")
    layers, cells, channels = keys_LNC.shape
    centred_LNC = keys_LNC.float() - keys_LNC.float().mean(dim=1, keepdim=True)
    unit_LNC = centred_LNC / centred_LNC.norm(dim=2, keepdim=True).clamp(min=1e-12)
    features_NF = unit_LNC.permute(1, 0, 2).reshape(cells, layers * channels) / layers**0.5
    kernel_NN = features_NF @ features_NF.T
    kernel_NN.sub_(1.0).div_(settings.key_temperature).exp_()
    scale_N = _balance(kernel_NN)
    kernel_NN.mul_(scale_N[:, None]).mul_(scale_N[None])
    return _leading(kernel_NN)


def _balance(kernel_NN: torch.Tensor) -> torch.Tensor:
    """c with rows of diag(c) K diag(c) that sum to 1: the geometric mean of c and 1 / (K c), again and again."""
    scale_N = torch.ones_like(kernel_NN[0])
    for _ in range(BALANCE_ROUNDS):
        better_N = torch.sqrt(scale_N / (kernel_NN @ scale_N))
        change = float((better_N / scale_N - 1).abs().max())
        scale_N = better_N
        if change < BALANCE_TOLERANCE:
            break
    return scale_N


def _leading(matrix_NN: torch.Tensor) -> SpectralChain:
    """The largest eigenvalues of a symmetric matrix by subspace iteration from a fixed start."""
    cells = len(matrix_NN)
    generator = torch.Generator().manual_seed(0)
    width = min(cells, EIGENVECTORS + SPARE_VECTORS)
    basis_NW = torch.randn(cells, width, generator=generator).to(matrix_NN)
    for _ in range(SUBSPACE_ROUNDS):
        basis_NW = torch.linalg.qr(matrix_NN @ (matrix_NN @ basis_NW))[0]
    small_WW = basis_NW.T @ (matrix_NN @ basis_NW)
    values_W, rotation_WW = torch.linalg.eigh((small_WW + small_WW.T) / 2)
    kept = values_W.argsort(descending=True)[:EIGENVECTORS]
    return SpectralChain(values_W[kept].clamp(0, 1), basis_NW @ rotation_WW[:, kept])


def _steps(most: int) -> torch.Tensor:
    first = torch.arange(1, FIRST_STEPS + 1, dtype=torch.float64)
    later = torch.logspace(0, 1, LOOKS, base=max(1.0, most / (FIRST_STEPS + 1)), dtype=torch.float64)
    steps: torch.Tensor = torch.unique(torch.cat([first, (later * (FIRST_STEPS + 1)).round()]).clamp(max=max(1, most)))
    return steps
