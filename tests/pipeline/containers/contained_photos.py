"""The photos of a fault test in containers instead of files: eight a container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tests.faults.data import Photos
from tests.pipeline.containers.make_parquets import parquet_of
from tests.pipeline.containers.make_tars import tar_of

PHOTOS_A_CONTAINER = 8


@dataclass(frozen=True)
class ContainedPhotos(Photos):
    """The same pictures, with the same clicks, as members of containers."""

    suffix: ClassVar[str]

    @property
    def images(self) -> str:
        return self.store.url(f"shards/*{self.suffix}")

    @classmethod
    def name(cls, number: int) -> str:
        return f"shard-{number // PHOTOS_A_CONTAINER}{cls.suffix}/{Photos.name(number)}"

    @staticmethod
    def container_of(files: Mapping[str, bytes]) -> bytes:
        raise NotImplementedError

    def write(self) -> ContainedPhotos:
        self.write_clicks()
        for first in range(0, self.count, PHOTOS_A_CONTAINER):
            members = range(first, min(first + PHOTOS_A_CONTAINER, self.count))
            container = self.container_of({Photos.name(number): self.picture(number) for number in members})
            self.store.put(f"shards/{self.name(first).split('/')[0]}", container)
        return self


class TarPhotos(ContainedPhotos):
    """In tars."""

    suffix = ".tar"
    container_of = staticmethod(tar_of)


class ParquetPhotos(ContainedPhotos):
    """In Parquet, three a row group, in another order than that of their names."""

    suffix = ".parquet"

    @staticmethod
    def container_of(files: Mapping[str, bytes]) -> bytes:
        return parquet_of(sorted(files.items(), reverse=True), rows_a_group=3)
