"""The parts of a collection by its splits: what a head may be fitted on, the queries, and the gallery."""

from __future__ import annotations

from dataclasses import dataclass

from diml.data import Collection
from diml.errors import DatasetError


@dataclass(frozen=True)
class Halves:
    """Positions in a collection.

    Attributes:
        train: images that a head may be fitted on; empty without a training half.
        queries: images to search with.
        gallery: images to search in; None for leave-one-out among the queries.
    """

    train: list[int]
    queries: list[int]
    gallery: list[int] | None

    @property
    def evaluated(self) -> list[int]:
        return [*self.queries, *(self.gallery or [])]

    @staticmethod
    def of(collection: Collection) -> Halves:
        """Raises DatasetError if the splits have other names."""
        if collection.splits is None:
            return Halves([], list(range(len(collection))), None)
        of: dict[str, list[int]] = {}
        for at, split in enumerate(collection.splits):
            of.setdefault(split, []).append(at)
        if "query" in of and "gallery" in of and "test" not in of:
            return Halves(of.get("train", []), of["query"], of["gallery"])
        if "test" in of and not {"query", "gallery"} & of.keys():
            return Halves(of.get("train", []), of["test"], None)
        raise DatasetError(
            f"{collection.name}: its splits are {', '.join(sorted(of))}; expected test among them, or query and "
            "gallery: rename the one to evaluate"
        )
