"""The photos of a fault test in tars instead of files: eight a tar."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.data import Photos
from tests.pipeline.containers.make_tars import tar_of

PHOTOS_A_TAR = 8


@dataclass(frozen=True)
class TarPhotos(Photos):
    """The same pictures, with the same clicks, as members of tars."""

    @property
    def images(self) -> str:
        return self.store.url("shards/*.tar")

    @staticmethod
    def name(number: int) -> str:
        return f"shard-{number // PHOTOS_A_TAR}.tar/{Photos.name(number)}"

    def write(self) -> TarPhotos:
        self.write_clicks()
        for first in range(0, self.count, PHOTOS_A_TAR):
            members = range(first, min(first + PHOTOS_A_TAR, self.count))
            tar = tar_of({Photos.name(number): self.picture(number) for number in members})
            self.store.put(f"shards/{self.name(first).split('/')[0]}", tar)
        return self
