"""Peers that make a mask of an image and of seeds around the clicks: OpenCV's GrabCut, a random walker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from m2n2.prompt import Prompt

SEED_RADIUS = 3  # pixels around a click that a peer takes as certain
GRABCUT_ROUNDS = 5
NO_RECTANGLE = (0, 0, 1, 1)  # not looked at where there is a mask of seeds
WALKER_BETA = 130.0

Segment = Callable[[np.ndarray, np.ndarray], np.ndarray]


class SeededPeer:
    """A method that makes a mask of an image and seeds.

    Args:
        image_HW3: uint8, RGB.
        segment: from the image and (H, W) int8 seeds (1 the object, 0 not, -1 unknown) to a (H, W) bool mask.
    """

    def __init__(self, image_HW3: np.ndarray, segment: Segment) -> None:
        self._image_HW3, self._segment = image_HW3, segment

    def masks(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """One (H, W) bool mask a prompt."""
        return [self._segment(self._image_HW3, seeds(prompt, self._image_HW3.shape[:2])) for prompt in prompts]


def seeds(prompt: Prompt, size: tuple[int, ...]) -> np.ndarray:
    """A prompt as seeds, (H, W) int8: 1 the object, 0 not the object, -1 unknown.

    Discs around the clicks, later over earlier ones, and each click's own pixel has its label in any case. The image's
    border is not the object where no click says otherwise.
    """
    v, u = np.indices(size[:2])
    seeds_HW = np.full(size[:2], -1, np.int8)
    seeds_HW[[0, -1]] = seeds_HW[:, [0, -1]] = 0
    for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
        seeds_HW[(u - x) ** 2 + (v - y) ** 2 <= SEED_RADIUS**2] = label
    for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
        seeds_HW[round(y), round(x)] = label
    return seeds_HW


def grabcut() -> Segment:
    """OpenCV's GrabCut without a rectangle: seeds are certain, all else is probably not the object."""
    import cv2

    def segment(image_HW3: np.ndarray, seeds_HW: np.ndarray) -> np.ndarray:
        if not (seeds_HW == 1).any() or not (seeds_HW == 0).any():
            return np.asarray(seeds_HW == 1)
        state_HW = np.full(seeds_HW.shape, cv2.GC_PR_BGD, np.uint8)
        state_HW[seeds_HW == 1], state_HW[seeds_HW == 0] = cv2.GC_FGD, cv2.GC_BGD
        models = np.zeros((2, 1, 65))
        cv2.setRNGSeed(0)
        bgr = np.ascontiguousarray(image_HW3[..., ::-1])
        cv2.grabCut(bgr, state_HW, NO_RECTANGLE, models[0], models[1], GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
        return np.asarray((state_HW == cv2.GC_FGD) | (state_HW == cv2.GC_PR_FGD))

    return segment


def random_walker() -> Segment:
    """scikit-image's random walker (Grady 2006)."""
    from skimage.segmentation import random_walker

    def segment(image_HW3: np.ndarray, seeds_HW: np.ndarray) -> np.ndarray:
        if not (seeds_HW == 1).any() or not (seeds_HW == 0).any():
            return np.asarray(seeds_HW == 1)
        labels = np.where(seeds_HW == 1, 1, np.where(seeds_HW == 0, 2, 0))
        found = random_walker(image_HW3, labels, beta=WALKER_BETA, mode="cg_j", channel_axis=-1)
        return np.asarray(found == 1)

    return segment
