"""Scene: one image made ready for clicks. Everything that does not depend on the click is done once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from m2n2.confidence.built_in import BUILT_IN
from m2n2.confidence.evidence import Evidence
from m2n2.confidence.gather_evidence import gather_evidence
from m2n2.errors import InvalidPrompt
from m2n2.kernels.parallel import run_parallel
from m2n2.nearest_neighbour import keep_apart, mark_points, stability
from m2n2.prompt import Point, Prompt
from m2n2.refined.box import box_on_grid
from m2n2.refined.clicked import ClickMap, MappedClick
from m2n2.scene.affinity import Affinity, read_affinity
from m2n2.scene.click_maps import ClickMaps
from m2n2.scene.object_reading import ClickedObject, ObjectReader
from m2n2.scene.two_sizes import ImageAtTwoSizes, Pixel, checked_image
from m2n2.settings import Settings


@dataclass(frozen=True)
class Mask:
    """One object's mask.

    Attributes:
        mask: (H, W) bool.
        score: estimate of the mask's IoU with what was meant, 0..1; 0 where no click on the object found anything.
        thresholds: lambda of each point of the prompt.
        evidence: what the score was made of; None where no click on the object found anything.
    """

    mask: np.ndarray
    score: float
    thresholds: tuple[float, ...]
    evidence: Evidence | None


class Scene:
    """One image and its attention, ready to segment any number of objects.

    The work comes in two halves. `advance` runs the Markov chain where the attention lives and keeps the maps;
    after it `release_operator` may free the N x N tensor. What remains of `segment` reads only the kept maps, so that
    it can run in another thread beside the next image's `advance`. `segment` alone does both. All methods may be
    called from several threads at once.

    Letters in names: H x W the image, P points, N cells of the attention's grid.
    """

    def __init__(
        self,
        image: np.ndarray,
        attention: torch.Tensor | np.ndarray,
        settings: Settings | None = None,
        *,
        overwrite_attention: bool = False,
        score: Callable[[Evidence], float] = BUILT_IN.estimate,
    ) -> None:
        """Make the transition operator.

        Args:
            image: (H, W, 3) uint8, RGB.
            attention: (rows, columns, rows, columns) of its grid, or (N, N) of a square grid; rows are normalised. With
                `affinity="keys"` the keys, (layers, rows, columns, channels); `m2n2.backbones.reading.read_image` gives
                what the settings read.
            settings: the algorithm's constants.
            overwrite_attention: let the operator use the attention's memory, which halves the peak.
            score: makes a mask's score of its evidence: `Calibration.estimate` of one's own calibration.

        Raises:
            InvalidImage, InvalidAttention: with what is wrong.
        """
        settings = settings or Settings()
        image = checked_image(image, settings.max_pixels)
        self._score = score
        affinity = read_affinity(attention, settings, overwrite_attention)
        self.grid = affinity.grid
        self._begin(affinity, ImageAtTwoSizes(image, settings, affinity.grid), settings)

    def advance(self, points: Sequence[Point]) -> None:
        """Run the Markov chain for all these points at once and keep their maps."""
        self._clicks.on_grid(self._image.pixels(points))

    def release_operator(self) -> None:
        """Free the N x N tensor: points that were advanced can still be segmented, new ones raise OperatorReleased."""
        self._clicks.release()

    def reduced(self, pixels: int) -> Scene:
        """The scene of a smaller copy of the image, for an answer at once: points and masks are in the copy's pixels.

        The operator is shared, so this costs no more than averaging the image down to about `pixels` pixels.
        """
        return self._twin(self._image.averaged(pixels), self.settings)

    def with_settings(self, settings: Settings) -> Scene:
        """The scene as other settings make it, which share this one's operator: only what comes after it is done anew.

        Raises:
            ValueError: the settings make another operator, see `Settings.operator_identity`.
            InvalidImage: it has more pixels than they allow.
        """
        if settings.operator_identity() != self.settings.operator_identity():
            found, allowed = settings.operator_identity(), self.settings.operator_identity()
            raise ValueError(f"these settings make another operator: found {found}, allowed {allowed}")
        return self._twin(self._image.of_settings(settings), settings)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image, in pixels."""
        height, width = self._image.full_size
        return width, height

    @property
    def size_bytes(self) -> int:
        """Memory of the image, of the operator (a reduced scene has none of its own), and of what is kept of clicks."""
        return self._image.size_bytes + self._clicks.size_bytes + self._reader.size_bytes

    def segment(self, prompts: Sequence[Prompt]) -> list[Mask]:
        """One mask a prompt.

        Raises:
            InvalidPrompt: a point outside the image, or a box that has no pixel of it.
            OperatorReleased: a point that was not advanced before `release_operator`.
        """
        return list(self.masks(prompts))

    def masks(self, prompts: Sequence[Prompt]) -> Iterator[Mask]:
        """As `segment`, a mask at a time: whoever is done with one before the next needs memory for few, however many.

        Exclusive objects are all made before the first is given, and wait with eight pixels in a byte.
        """
        objects = [self._placed(prompt) for prompt in prompts]
        self._clicks.on_grid([pixel for each in objects for pixel in each.pixels])
        if self.settings.objects == "exclusive" and len(objects) > 1:
            made = [replace(mask, mask=np.packbits(mask.mask, axis=1)) for mask in self._made(objects)]
            keep_apart([mask.mask for mask in made], [each.foreground for each in objects])
            width = self._image.full_size[1]
            for mask in made:
                yield replace(mask, mask=np.unpackbits(mask.mask, axis=1, count=width).view(np.bool_))
        else:
            yield from self._made(objects)

    def markov_maps(self, points: Sequence[Point]) -> np.ndarray:
        """Each point's Markov-map, upsampled and divided by its maximum: (P, H, W) float32."""
        maps_PHW = self._clicks.upsampled(self._image.pixels(points))
        if maps_PHW.shape[1:] == self._image.full_size:
            return maps_PHW
        full_PHW: np.ndarray = torch.nn.functional.interpolate(
            torch.from_numpy(maps_PHW)[None], size=self._image.full_size, mode="bilinear", align_corners=False
        )[0].numpy()
        return full_PHW

    def _begin(self, affinity: Affinity, image: ImageAtTwoSizes, settings: Settings) -> None:
        """Nothing is known of clicks."""
        self.settings, self._image = settings, image
        self._clicks = ClickMaps(affinity, image, settings)
        self._reader = ObjectReader(affinity.chain, affinity.grid, image, settings)

    def _twin(self, image: ImageAtTwoSizes, settings: Settings) -> Scene:
        """A scene on the same operator, whose memory is this one's."""
        twin = copy.copy(self)
        twin._begin(replace(self._clicks.affinity, size_bytes=0), image, settings)
        return twin

    def _placed(self, prompt: Prompt) -> ClickedObject:
        (height, width), box = self._image.full_size, prompt.box
        if box is not None and not (box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0):
            raise InvalidPrompt(f"box {box} is outside the image of {width} x {height} pixels")
        return ClickedObject(prompt, self._image.pixels(prompt.points))

    def _made(self, objects: list[ClickedObject]) -> Iterator[Mask]:
        at_once = self._image.masks_at_once
        for group in self._groups(objects):
            clicks = self._clicks.flooded([pixel for each in group for pixel in each.pixels])
            for first in range(0, len(group), at_once):
                yield from run_parallel(partial(self._segment_object, clicks, objects), group[first : first + at_once])
            del clicks  # or it would stand in memory beside the next group's

    def _groups(self, objects: list[ClickedObject]) -> Iterator[list[ClickedObject]]:
        """Objects in order, in groups whose maps fit in memory together."""
        group: list[ClickedObject] = []
        points = 0
        for each in objects:
            if group and points + len(each.pixels) > self._image.maps_at_once:
                yield group
                group, points = [], 0
            group.append(each)
            points += len(each.pixels)
        if group:
            yield group

    def _segment_object(
        self, clicks: Mapping[Pixel, ClickMap], company: Sequence[ClickedObject], each: ClickedObject
    ) -> Mask:
        small_pixel, labels = self._image.small_pixel, each.prompt.labels
        mapped = [
            MappedClick(*small_pixel(pixel), label, clicks[pixel])
            for pixel, label in zip(each.pixels, labels, strict=True)
        ]
        read = self._reader.read(each, mapped)
        mask_HW = self._image.carried(read.reading.mask_hw)
        if each.prompt.box is not None:
            full_size = self._image.full_size
            box_on_grid(each.prompt.box, self.settings, full_size, full_size).clear_beyond(mask_HW, False)
        mark_points(mask_HW, each.pixels, labels)
        thresholds = read.reading.thresholds
        # No foreground point with a threshold above 0 means a mask of single pixels: stable, but nothing was found.
        if not any(value > 0 for value, label in zip(thresholds, labels, strict=True) if label):
            return Mask(mask_HW, 0.0, thresholds, None)
        rivals = [small_pixel(other.foreground[0]) for other in company if other is not each and other.foreground]
        evidence = gather_evidence(
            mapped, read.reading, read.before, stability(read.distance_hw), rivals, self.settings
        )
        return Mask(mask_HW, self._score(evidence), thresholds, evidence)
