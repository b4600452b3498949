"""One image's scenes by several settings, which share all that they can: the network's pass, and the operator."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from m2n2.settings import Settings

if TYPE_CHECKING:
    from m2n2 import Scene
    from m2n2.backbones.protocol import Backbone


def scenes_of(
    backbone: Backbone, image_HW3: np.ndarray, wanted: Sequence[Settings]
) -> Iterator[tuple[Settings, Scene]]:
    """A scene of the image for each of the settings, which differ; their masks are those of a scene made alone.

    They come in an order in which the network runs once for all that read the same of it, and each operator is made
    once. An operator is let go before the next one is made, so a scene is to be done with when the next is asked for.
    """
    from m2n2 import Scene
    from m2n2.backbones.reading import read_image, reading_identity

    for same_reading in _grouped(wanted, reading_identity):
        operators = _grouped(same_reading, lambda settings: tuple(settings.operator_identity().items()))
        read = read_image(backbone, image_HW3, same_reading[0])
        for number, same_operator in enumerate(operators, 1):
            last = number == len(operators)
            scene = Scene(image_HW3, read, same_operator[0], overwrite_attention=last)
            if last:
                del read
            for settings in same_operator:
                yield settings, scene.with_settings(settings)
            del scene


def _grouped(wanted: Sequence[Settings], key: Callable[[Settings], Hashable]) -> list[list[Settings]]:
    groups: dict[Hashable, list[Settings]] = {}
    for settings in wanted:
        groups.setdefault(key(settings), []).append(settings)
    return list(groups.values())
