"""The algorithm's constants, each with the section of the paper it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

from m2n2.errors import InvalidSettings

# What 0.1.0 had: the constants that every plan's identity names. Later ones are named where they are not the default.
FIRST_CONSTANTS = frozenset(
    [
        "temperature",
        "sinkhorn_tolerance",
        "sinkhorn_max_rounds",
        "operator_dtype",
        "markov_threshold",
        "markov_max_steps",
        "spatial_sigma_cells",
        "colour_sigma",
        "truncation_sigmas",
        "working_pixels",
        "max_pixels",
        "prior_max_share",
        "edge_levels",
        "objects",
    ]
)

ABOVE_ZERO = (
    *("temperature", "markov_threshold", "spatial_sigma_cells", "colour_sigma", "truncation_sigmas"),
    *("prior_max_share", "key_temperature"),
)
FROM_ZERO = ("sinkhorn_tolerance", "box_margin")
FROM_ONE = ("sinkhorn_max_rounds", "markov_max_steps", "max_pixels", "edge_levels", "key_layers")


@dataclass(frozen=True)
class Score:
    """Which factors of a candidate segment's score count (section 7); one that is off is 1 for every candidate."""

    prior: bool = True
    edge: bool = True
    positive: bool = True
    negative: bool = True


@dataclass(frozen=True)
class Settings:
    """What the head does with an attention map. The defaults are the published constants.

    Attributes:
        temperature: T of section "transition operator"; attention becomes `A^(1/T)`, rows renormalised.
        sinkhorn_tolerance: Sinkhorn stops when no scaling factor changes by more than this share in a round.
        sinkhorn_max_rounds: rounds of Sinkhorn at most.
        operator_dtype: storage of `A^(1/T)`; "float16" halves memory and keeps entries to about 5e-4.
        markov_threshold: tau; a cell's Markov-map value is the number of steps until its state exceeds it.
        markov_max_steps: steps at most; cells never reached get this value.
        spatial_sigma_cells: sigma_s of the joint bilateral upsampling, in cells of the attention grid.
        colour_sigma: sigma_r of the joint bilateral upsampling, with colours in 0..1.
        truncation_sigmas: offsets further than this many spatial sigmas have no weight.
        working_pixels: larger images are segmented at about this many pixels, and the result carried to full size;
            "auto" is 8 by 8 a cell of the attention's grid, more than which the maps cannot tell apart.
        max_pixels: images with more pixels are refused.
        prior_max_share: candidate segments above this rank (as a share of all candidates) score 0.
        edge_levels: the gradient magnitude is quantised to integers 0..edge_levels.
        objects: "independent" segments every object by itself, as the paper does; "exclusive" also gives each
            pixel to at most one object of the image, the smallest that has it.
        map: what a point's map is. "markov" counts steps of the chain, as the paper does; "attention" is the paper's
            baseline, minus the logarithm of the point's row of the attention, without temperature and Sinkhorn.
        flood_fill: False leaves the flood fill out: a pixel's value is its difference from the prompt's pixel.
        score: factors of a candidate's score that count.
        affinity: what the chain walks over: "attention", or "keys", likeness of the last layers' keys, for backbones
            that give them (m2n2/refined/key_affinity.py); T, Sinkhorn's constants and `map` take no part then.
        key_layers: how many layers' keys.
        key_temperature: t of the keys' affinity.
        threshold: "edge" is the paper's score; "central" also asks how central the click is and how much of the image's
            border is inside (m2n2/refined/central_threshold.py).
        more_clicks: "joint" reads all points at once, as the paper does; "edit" changes the last mask around each
            new click and leaves the rest (m2n2/refined/edit.py).
        smooth: each mask is smoothed along the chain of the keys (m2n2/refined/smooth.py); takes no part where the
            affinity is attention.
        box_margin: where an object has a box, its mask stays within the box grown by this share of its sides.

    Raises:
        InvalidSettings: a number that no algorithm could work with, such as a temperature of 0, or an unknown choice.
    """

    temperature: float = 0.65
    sinkhorn_tolerance: float = 1e-6
    sinkhorn_max_rounds: int = 200
    operator_dtype: Literal["float32", "float16"] = "float32"
    markov_threshold: float = 0.3
    markov_max_steps: int = 1000
    spatial_sigma_cells: float = 1.0
    colour_sigma: float = 0.1
    truncation_sigmas: float = 3.0
    working_pixels: int | Literal["auto"] = "auto"
    max_pixels: int = 100_000_000
    prior_max_share: float = 0.4
    edge_levels: int = 1024
    objects: Literal["independent", "exclusive"] = "independent"
    map: Literal["markov", "attention"] = "markov"
    flood_fill: bool = True
    score: Score = Score()
    affinity: Literal["attention", "keys"] = "attention"
    key_layers: int = 3
    key_temperature: float = 0.08
    threshold: Literal["edge", "central"] = "edge"
    more_clicks: Literal["joint", "edit"] = "joint"
    smooth: bool = False
    box_margin: float = 0.1

    def __post_init__(self) -> None:
        for name in ABOVE_ZERO:
            self._refuse_unless(name, _is(Real, self, name) and getattr(self, name) > 0, "a number above 0")
        for name in FROM_ZERO:
            self._refuse_unless(name, _is(Real, self, name) and getattr(self, name) >= 0, "a number from 0")
        for name in FROM_ONE:
            self._refuse_unless(name, _is(Integral, self, name) and getattr(self, name) >= 1, "a whole number from 1")
        pixels = self.working_pixels
        known = pixels == "auto" or (_is(Integral, self, "working_pixels") and int(pixels) >= 1)
        self._refuse_unless("working_pixels", known, "a whole number from 1, or auto")
        for name, choices in _choices().items():
            self._refuse_unless(name, getattr(self, name) in choices, ", ".join(choices))

    def _refuse_unless(self, name: str, fits: bool, allowed: str) -> None:
        if not fits:
            raise InvalidSettings(f"{name}: found {getattr(self, name)!r}; allowed: {allowed}")

    @classmethod
    def reference(cls) -> Settings:
        """Exactly the published head, whatever the defaults become: no working size, every object by itself."""
        return cls(
            temperature=0.65,
            sinkhorn_tolerance=0.0,
            sinkhorn_max_rounds=200,
            operator_dtype="float32",
            markov_threshold=0.3,
            markov_max_steps=1000,
            spatial_sigma_cells=1.0,
            colour_sigma=0.1,
            truncation_sigmas=3.0,
            working_pixels=100_000_000,
            max_pixels=100_000_000,
            prior_max_share=0.4,
            edge_levels=1024,
            objects="independent",
            map="markov",
            flood_fill=True,
            score=Score(),
            affinity="attention",
            threshold="edge",
            more_clicks="joint",
            smooth=False,
        )

    @classmethod
    def refined(cls) -> Settings:
        """The head that goes beyond the paper; what was measured is in docs/quality.md."""
        return cls(affinity="keys", prior_max_share=0.5, threshold="central", more_clicks="edit", smooth=True)

    def operator_identity(self) -> dict[str, Any]:
        """What the operator is made by, as plain values: equal for settings that can share an image's operator."""
        if self.affinity == "keys":
            names = ["affinity", "key_layers", "key_temperature"]
        elif self.map == "attention":
            names = ["affinity", "map"]
        else:
            names = ["affinity", "map", "temperature", "sinkhorn_tolerance", "sinkhorn_max_rounds", "operator_dtype"]
        return {name: getattr(self, name) for name in names}

    def identity(self) -> dict[str, Any]:
        """What decides the masks, as plain values: equal for equal settings, also across versions.

        A constant that was added after 0.1.0 is in it only where it is not the default, so that a plan or a library
        of an earlier version, which cannot name it, is that of the same settings.
        """
        defaults = type(self)()
        added = {each.name for each in fields(self)} - FIRST_CONSTANTS
        unsaid = {name for name in added if getattr(self, name) == getattr(defaults, name)}
        return {name: value for name, value in asdict(self).items() if name not in unsaid}


def _is(kind: type, settings: Settings, name: str) -> bool:
    return isinstance(getattr(settings, name), kind) and not isinstance(getattr(settings, name), bool)


@cache
def _choices() -> Mapping[str, tuple[str, ...]]:
    """The words that a constant may be, of those that are words."""
    return {name: get_args(hint) for name, hint in get_type_hints(Settings).items() if get_origin(hint) is Literal}
