"""Scene: one image made ready for clicks. Everything that does not depend on the click is done once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch

from m2n2.attention_map import attention_maps
from m2n2.confidence.built_in import BUILT_IN
from m2n2.confidence.evidence import Evidence
from m2n2.confidence.gather_evidence import gather_evidence
from m2n2.errors import InvalidAttention, InvalidImage, InvalidPrompt, OperatorReleased, check_image
from m2n2.full_size import carry_mask, working_image, working_pixels
from m2n2.joint_reading import click_map, read_jointly
from m2n2.kernels.bounded_cache import BoundedCache
from m2n2.kernels.gpu.copies import own_stream, to_host, upload
from m2n2.kernels.parallel import run_parallel
from m2n2.markov_map import markov_maps, start_states
from m2n2.nearest_neighbour import keep_apart, mark_points, stability
from m2n2.prompt import Box, Point, Prompt
from m2n2.refined.box import BoxOnGrid, box_on_grid
from m2n2.refined.clicked import ClickMap, MappedClick, Reading
from m2n2.refined.edit import edit
from m2n2.refined.key_affinity import SpectralChain, key_chain
from m2n2.refined.smooth import Smoother
from m2n2.settings import Settings
from m2n2.transition import transition_operator
from m2n2.upsampling import upsample

Pixel = tuple[int, int]
ReadClicks = tuple[Box | None, tuple[tuple[Pixel, bool], ...]]
PointMaps = Callable[[torch.Tensor, Settings], torch.Tensor]  # from start states (P, N) to maps on the grid (P, N)

MARKOV_CACHE_BYTES = 1 << 30  # maps on the grid: 16,000 points of a 128 x 128 grid
CLICK_CACHE_BYTES = 1 << 28  # flooded maps at working size, with their candidates
BATCH_BYTES = 1 << 27  # maps at working size that are upsampled together, and masks that are made together


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


@dataclass(frozen=True)
class _Object:
    """A prompt and its pixels in the image."""

    prompt: Prompt
    pixels: list[Pixel]

    @property
    def foreground(self) -> list[Pixel]:
        return [pixel for pixel, label in zip(self.pixels, self.prompt.labels, strict=True) if label]


class Scene:
    """One image and its attention, ready to segment any number of objects.

    The work comes in two halves. `advance` runs the Markov chain where the attention lives and keeps the maps;
    after it `release_operator` may free the N x N tensor. What remains of `segment` reads only the kept maps, so that
    it can run in another thread beside the next image's `advance`. `segment` alone does both. All methods may be
    called from several threads at once.

    Letters in names: H x W the image, h x w its working size, P points, N cells of the attention's grid.
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
        self.settings = settings or Settings()
        self._score = score
        self._image_HW3 = _checked_image(image, self.settings.max_pixels)
        self._point_maps: PointMaps | None
        self._chain: SpectralChain | None = None  # small beside an N x N tensor, so it stays when that is released
        if self.settings.affinity == "keys":
            keys_LNC, self.grid = _as_keys(attention)
            self._device = keys_LNC.device
            self._operator_bytes = keys_LNC.nbytes
            self._chain = key_chain(keys_LNC, self.settings)
            self._point_maps = self._chain.maps
        else:
            attention_NN, self.grid = _as_matrix(attention)
            self._device = attention_NN.device
            self._operator_bytes = attention_NN.nbytes
            self._point_maps = _point_maps(attention_NN, self.settings, overwrite_attention)
        self._begin_anew()

    def advance(self, points: Sequence[Point]) -> None:
        """Run the Markov chain for all these points at once and keep their maps."""
        self._grid_maps(self._pixels(points))

    def release_operator(self) -> None:
        """Free the N x N tensor: points that were advanced can still be segmented, new ones raise OperatorReleased."""
        self._point_maps = None
        self._operator_bytes = 0

    def reduced(self, pixels: int) -> Scene:
        """The scene of a smaller copy of the image, for an answer at once: points and masks are in the copy's pixels.

        The operator is shared, so this costs no more than averaging the image down to about `pixels` pixels.
        """
        small = copy.copy(self)
        small._operator_bytes = 0
        small._image_HW3 = working_image(self._image_HW3, pixels)
        small._begin_anew(small._image_HW3)
        return small

    def with_settings(self, settings: Settings) -> Scene:
        """The scene as other settings make it, which share this one's operator: only what comes after it is done anew.

        Raises:
            ValueError: the settings make another operator, see `Settings.operator_identity`.
            InvalidImage: it has more pixels than they allow.
        """
        if settings.operator_identity() != self.settings.operator_identity():
            found, allowed = settings.operator_identity(), self.settings.operator_identity()
            raise ValueError(f"these settings make another operator: found {found}, allowed {allowed}")
        other = copy.copy(self)
        other.settings = settings
        other._operator_bytes = 0
        _checked_image(self._image_HW3, settings.max_pixels)
        other._begin_anew()
        return other

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image, in pixels."""
        return self._image_HW3.shape[1], self._image_HW3.shape[0]

    @property
    def size_bytes(self) -> int:
        """Memory of the image, of the operator (a reduced scene has none of its own), and of what is kept of clicks."""
        kept = (self._markov_maps, self._readings, self._clicks)
        images = self._image_HW3.nbytes + self._small_hw3.nbytes
        return images + self._operator_bytes + sum(cache.used_bytes for cache in kept)

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
        self._grid_maps([pixel for each in objects for pixel in each.pixels])
        if self.settings.objects == "exclusive" and len(objects) > 1:
            made = [replace(mask, mask=np.packbits(mask.mask, axis=1)) for mask in self._made(objects)]
            keep_apart([mask.mask for mask in made], [each.foreground for each in objects])
            width = self._image_HW3.shape[1]
            for mask in made:
                yield replace(mask, mask=np.unpackbits(mask.mask, axis=1, count=width).view(np.bool_))
        else:
            yield from self._made(objects)

    def _made(self, objects: list[_Object]) -> Iterator[Mask]:
        at_once = max(1, BATCH_BYTES // self._image_HW3[..., 0].size)
        for group in self._groups(objects):
            clicks = self._click_maps([pixel for each in group for pixel in each.pixels])
            for first in range(0, len(group), at_once):
                yield from run_parallel(partial(self._segment_object, clicks, objects), group[first : first + at_once])
            del clicks  # or it would stand in memory beside the next group's

    def markov_maps(self, points: Sequence[Point]) -> np.ndarray:
        """Each point's Markov-map, upsampled and divided by its maximum: (P, H, W) float32."""
        maps_PHW = self._upsampled(self._pixels(points))
        if maps_PHW.shape[1:] == self._image_HW3.shape[:2]:
            return maps_PHW
        full_PHW: np.ndarray = torch.nn.functional.interpolate(
            torch.from_numpy(maps_PHW)[None], size=self._image_HW3.shape[:2], mode="bilinear", align_corners=False
        )[0].numpy()
        return full_PHW

    @cached_property
    def _small_hw3(self) -> np.ndarray:
        """The working image, made with the first mask: the thread that advances would keep the device waiting."""
        return working_image(self._image_HW3, working_pixels(self.settings, self.grid))

    @property
    def _smoother(self) -> Smoother | None:
        """What the settings smooth masks with."""
        if self._chain is None or not self.settings.smooth:
            return None
        return Smoother(self._chain, self.grid, self._small_hw3, self.settings)

    def _begin_anew(self, small_hw3: np.ndarray | None = None) -> None:
        """Nothing is known of clicks, and the working image is this one or is to be made."""
        self.__dict__.pop("_small_hw3", None)
        if small_hw3 is not None:
            self._small_hw3 = small_hw3
        self._markov_maps: BoundedCache[Pixel, np.ndarray] = BoundedCache(MARKOV_CACHE_BYTES)
        self._readings: BoundedCache[ReadClicks, Reading] = BoundedCache(CLICK_CACHE_BYTES)
        self._clicks: BoundedCache[Pixel, ClickMap] = BoundedCache(CLICK_CACHE_BYTES)

    def _placed(self, prompt: Prompt) -> _Object:
        (height, width), box = self._image_HW3.shape[:2], prompt.box
        if box is not None and not (box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0):
            raise InvalidPrompt(f"box {box} is outside the image of {width} x {height} pixels")
        return _Object(prompt, self._pixels(prompt.points))

    def _pixels(self, points: Sequence[Point]) -> list[Pixel]:
        """Points rounded to pixels of the image."""
        height, width = self._image_HW3.shape[:2]
        pixels = []
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y) and 0 <= round(x) < width and 0 <= round(y) < height):
                raise InvalidPrompt(f"point ({x:g}, {y:g}) is outside the image of {width} x {height} pixels")
            pixels.append((round(x), round(y)))
        return pixels

    def _small_pixel(self, pixel: Pixel) -> Pixel:
        """The pixel of the working image that holds a pixel of the image."""
        (x, y), (full_height, full_width) = pixel, self._image_HW3.shape[:2]
        height, width = self._small_hw3.shape[:2]
        return (2 * x + 1) * width // (2 * full_width), (2 * y + 1) * height // (2 * full_height)

    def _grid_maps(self, pixels: list[Pixel]) -> list[np.ndarray]:
        """Markov-maps on the grid, (N,) each; the missing ones are made together."""
        maps = {pixel: self._markov_maps.get(pixel) for pixel in pixels}
        missing = [pixel for pixel, map_N in maps.items() if map_N is None]
        if missing:
            point_maps = self._point_maps
            if point_maps is None:
                raise OperatorReleased(f"point {missing[0]} was not advanced before the operator was released")
            starts_PN = start_states(missing, self._image_HW3.shape[:2], self.grid)
            made_PN = to_host(point_maps(upload(starts_PN, self._device), self.settings))
            for pixel, map_N in zip(missing, made_PN, strict=True):
                maps[pixel] = map_N
                self._markov_maps.put(pixel, map_N, map_N.nbytes)
        return [map_N for pixel in pixels if (map_N := maps[pixel]) is not None]

    def _upsampled(self, pixels: list[Pixel]) -> np.ndarray:
        maps_Phw = np.stack(self._grid_maps(pixels)).reshape(len(pixels), *self.grid)
        with own_stream(self._device):
            return upsample(upload(maps_Phw, self._device), self._small_hw3, self.settings)

    def _maps_at_once(self) -> int:
        return max(1, BATCH_BYTES // (4 * self._small_hw3[..., 0].size))

    def _groups(self, objects: list[_Object]) -> Iterator[list[_Object]]:
        """Objects in order, in groups whose maps fit in memory together."""
        group: list[_Object] = []
        points = 0
        for each in objects:
            if group and points + len(each.pixels) > self._maps_at_once():
                yield group
                group, points = [], 0
            group.append(each)
            points += len(each.pixels)
        if group:
            yield group

    def _click_maps(self, pixels: list[Pixel]) -> dict[Pixel, ClickMap]:
        maps = {pixel: click for pixel in pixels if (click := self._clicks.get(pixel)) is not None}
        missing = [pixel for pixel in dict.fromkeys(pixels) if pixel not in maps]
        at_once = self._maps_at_once()
        for first in range(0, len(missing), at_once):
            batch = missing[first : first + at_once]
            made = run_parallel(self._click_map, zip(batch, self._upsampled(batch), strict=True))
            for pixel, click in zip(batch, made, strict=True):
                maps[pixel] = click
                self._clicks.put(pixel, click, click.size_bytes)
        return maps

    def _click_map(self, item: tuple[Pixel, np.ndarray]) -> ClickMap:
        pixel, map_hw = item
        return click_map(map_hw, *self._small_pixel(pixel), self.settings)

    def _segment_object(self, clicks: dict[Pixel, ClickMap], company: Sequence[_Object], each: _Object) -> Mask:
        mapped = [
            MappedClick(*self._small_pixel(pixel), label, clicks[pixel])
            for pixel, label in zip(each.pixels, each.prompt.labels, strict=True)
        ]
        box = self._box(each.prompt)
        reading, distance_hw = read_jointly(mapped, self.settings, box)
        before = read_jointly(mapped[:-1], self.settings, box)[0] if mapped[1:] else None
        if self.settings.more_clicks == "edit":
            before = self._edited(each, mapped[:-1]) if mapped[1:] else None
            reading = self._edited(each, mapped)
        elif self._smoother is not None:
            reading = self._smoother.smooth(None, reading, mapped)
        if box is not None:
            box.clear_beyond(reading.mask_hw, False)
        mask_HW = carry_mask(reading.mask_hw, self._small_hw3, self._image_HW3)
        if each.prompt.box is not None:
            full_size = self._image_HW3.shape[:2]
            box_on_grid(each.prompt.box, self.settings, full_size, full_size).clear_beyond(mask_HW, False)
        mark_points(mask_HW, each.pixels, each.prompt.labels)
        # No foreground point with a threshold above 0 means a mask of single pixels: stable, but nothing was found.
        if not any(value > 0 for value, label in zip(reading.thresholds, each.prompt.labels, strict=True) if label):
            return Mask(mask_HW, 0.0, reading.thresholds, None)
        rivals = [self._small_pixel(other.foreground[0]) for other in company if other is not each and other.foreground]
        evidence = gather_evidence(mapped, reading, before, stability(distance_hw), rivals, self.settings)
        return Mask(mask_HW, self._score(evidence), reading.thresholds, evidence)

    def _box(self, prompt: Prompt) -> BoxOnGrid | None:
        if prompt.box is None:
            return None
        return box_on_grid(prompt.box, self.settings, self._image_HW3.shape[:2], self._small_hw3.shape[:2])

    def _edited(self, each: _Object, mapped: list[MappedClick]) -> Reading:
        """The clicks one after the other; what came of the first ones is kept for the next call."""
        reading: Reading | None = None
        for count in range(1, len(mapped) + 1):
            key = each.prompt.box, tuple(zip(each.pixels[:count], each.prompt.labels[:count], strict=True))
            known = self._readings.get(key)
            if known is None:
                joint, _ = read_jointly(mapped[:count], self.settings, self._box(each.prompt))
                known = joint if reading is None else edit(reading, mapped[:count], joint)
                if self._smoother is not None:
                    known = self._smoother.smooth(reading, known, mapped[:count])
                self._readings.put(key, known, known.mask_hw.nbytes)
            reading = known
        assert reading is not None, "a prompt has a point"
        return reading


def _checked_image(image: np.ndarray, max_pixels: int) -> np.ndarray:
    check_image(image)
    height, width = image.shape[:2]
    if height * width > max_pixels:
        raise InvalidImage(f"{width} x {height} pixels are more than the limit of {max_pixels} (Settings.max_pixels)")
    return np.require(image, requirements=["C", "W"])  # kernels would be compiled once more for arrays of another kind


def _point_maps(attention_NN: torch.Tensor, settings: Settings, overwrite: bool) -> PointMaps:
    if settings.map == "attention":
        return lambda starts_PN, _: attention_maps(attention_NN, starts_PN)
    operator = transition_operator(attention_NN, settings, overwrite=overwrite)
    return lambda starts_PN, settings: markov_maps(operator, starts_PN, settings)


def _as_matrix(attention: torch.Tensor | np.ndarray) -> tuple[torch.Tensor, tuple[int, int]]:
    """Attention as (N, N) and its grid (rows, columns), without a copy."""
    if isinstance(attention, np.ndarray):
        tensor = torch.from_numpy(np.require(attention, requirements="W"))  # torch has no read-only tensors
    elif isinstance(attention, torch.Tensor):
        tensor = attention.detach()
    else:
        raise InvalidAttention(f"attention must be an array or a tensor, not {type(attention).__name__}")
    shape = tuple(tensor.shape)
    if len(shape) == 4 and shape[:2] == shape[2:] and min(shape) > 0:
        cells = shape[0] * shape[1]
        return tensor.reshape(cells, cells), (shape[0], shape[1])
    if len(shape) == 2 and shape[0] == shape[1] and shape[0] > 0 and math.isqrt(shape[0]) ** 2 == shape[0]:
        return tensor, (math.isqrt(shape[0]), math.isqrt(shape[0]))
    raise InvalidAttention(f"attention must be (h, w, h, w), or (N, N) of a square grid, not {shape}")


def _as_keys(keys: torch.Tensor | np.ndarray) -> tuple[torch.Tensor, tuple[int, int]]:
    """Keys as (layers, N, channels) and their grid (rows, columns), without a copy."""
    tensor = torch.from_numpy(np.require(keys, requirements="W")) if isinstance(keys, np.ndarray) else keys.detach()
    if tensor.ndim != 4 or tensor.numel() == 0:
        raise InvalidAttention(f"keys must be (layers, h, w, channels), not {tuple(tensor.shape)}")
    return tensor.flatten(1, 2), (tensor.shape[1], tensor.shape[2])
