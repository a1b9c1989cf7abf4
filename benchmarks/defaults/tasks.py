"""The benchmark collections as raw maps of one backbone, embedded once, with who asks and who is searched."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from diml.data import Collection, open_table
from diml.embedding import fit_whitening
from diml.embedding.part_weights import TEMPERATURE, Rarity, parse_weights
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel

NAMES = ("emoji", "clutter-emoji", "furniture", "clutter-furniture")
DIM = 128
# Images whose parts a rarity is fitted on.
SAMPLE = 1024


@dataclass(frozen=True, eq=False)
class Raw:
    """Maps of images without a head, and what is known of the images.

    Attributes:
        maps: of n images, float16.
        labels, train, query, gallery: n each; whether the image is in the training half, asks, and is searched.
    """

    maps: FeatureMaps
    labels: list[str]
    train: list[bool]
    query: list[bool]
    gallery: list[bool]


@dataclass(frozen=True, eq=False)
class Task:
    """Queries and a gallery, with maps after the head. Where both are the same images, a query does not find itself."""

    queries: FeatureMaps
    query_labels: list[str]
    gallery: FeatureMaps
    gallery_labels: list[str]
    same: bool


def raw_maps(name: str, folder: Path, cache: Path, grid: int = 4) -> Raw:
    """The maps of the images of `folder/NAME/data.csv`, embedded once, and who asks and is searched among them."""
    collection = open_table(folder / name / "data.csv")
    local = embedded([collection.file(at) for at in range(len(collection))], cache / f"{name}-{grid}.pt", grid)
    return raw_of(collection, FeatureMaps(local, (grid, grid)))


def raw_of(collection: Collection, maps: FeatureMaps) -> Raw:
    """Maps of the images of a collection, with its halves and roles."""
    halves = _column(collection, "half") or list(collection.splits or [])
    roles = _column(collection, "role")
    return Raw(
        maps,
        collection.known_labels,
        [half == "train" for half in halves],
        [role == "query" for role in roles] if roles else [True] * len(collection),
        [role == "gallery" for role in roles] if roles else [True] * len(collection),
    )


def embedded(files: list[Path], store: Path, grid: int, source: str = "lite0") -> torch.Tensor:
    """(n, r, c) float16 maps of a model without weights; kept in a file, and read from it the next time."""
    if store.is_file():
        stored: torch.Tensor = torch.load(store, weights_only=True)
        return stored
    model = StructuralModel.from_pretrained(source).with_weights(None).with_grid(grid)
    blocks = []
    for batch in model.stream(files):
        if batch.failures:
            raise batch.failures[0][1]
        blocks.append(batch.maps.local.half())
    store.parent.mkdir(parents=True, exist_ok=True)
    torch.save(torch.cat(blocks), store)
    return torch.cat(blocks)


def _column(collection: Collection, name: str) -> list[str]:
    return [str(value) for value in collection.columns.get(name, [])]


def fold(label: str) -> int:
    """0 or 1: classes of the training half are cut in two, so that heads are not judged on what they were fitted on."""
    return hashlib.sha1(label.encode(), usedforsecurity=False).digest()[1] % 2


class Fitted:
    """A head and weights that are fitted on some images of a collection, applied to others.

    Args:
        raw: the images.
        on: n, whether the head and the sample of a rarity are fitted on the image.
        dim: of the head; None for no head.
        without: directions that the head leaves out, see `fit_whitening`.
    """

    def __init__(self, raw: Raw, on: list[bool], dim: int | None = DIM, without: Tensor | None = None) -> None:
        self.raw = raw
        at = torch.tensor(on).nonzero()[:, 0]
        means = torch.cat([raw.maps[piece].mean for piece in torch.split(at, 512)])
        self.head = unchanged(means.shape[1]) if dim is None else fit_whitening(means, dim, without=without)
        some = at[torch.randperm(len(at), generator=torch.Generator().manual_seed(0))[:SAMPLE]]
        self.sample = self._headed(raw.maps[some]).local.flatten(0, 1)

    def task(self, of: list[bool], weights: str) -> Task:
        """The images in `of`, asking and searched; maps as an index stores them, in float16."""
        queries = torch.tensor([a and b for a, b in zip(of, self.raw.query, strict=True)]).nonzero()[:, 0]
        gallery = torch.tensor([a and b for a, b in zip(of, self.raw.gallery, strict=True)]).nonzero()[:, 0]
        same = torch.equal(queries, gallery)
        asked = self.maps(queries, weights)
        searched = asked if same else self.maps(gallery, weights)
        labels = [[self.raw.labels[at] for at in where.tolist()] for where in (queries, gallery)]
        return Task(asked, labels[0], searched, labels[1], same)

    @torch.no_grad()
    def _headed(self, raw: FeatureMaps) -> FeatureMaps:
        return FeatureMaps(torch.cat([self.head(piece.float()) for piece in torch.split(raw.local, 512)]), raw.grid)

    def maps(self, at: Tensor, weights: str) -> FeatureMaps:
        return self.weighted(self.raw.maps[at], weights)

    @torch.no_grad()
    def weighted(self, raw: FeatureMaps, name: str) -> FeatureMaps:
        """Raw maps after the head, in float16 as an index stores them, with weights."""
        maps = self._headed(raw)
        stored = maps.local.half().float()
        name, _, temperature = name.partition(" t=")
        scheme = parse_weights(name, lambda: DIM)
        if scheme is None:
            return maps.replace(local=stored)
        for each in scheme.modules():
            if isinstance(each, Rarity):
                each.temperature = float(temperature or TEMPERATURE)
                each.fit(self.sample)
        return maps.replace(local=stored, weights=scheme(maps.local))


def unchanged(channels: int) -> nn.Linear:
    """A head that changes nothing.

    >>> x = torch.rand(3, 5)
    >>> torch.equal(unchanged(5)(x), x)
    True
    """
    head = nn.Linear(channels, channels, bias=False)
    nn.init.eye_(head.weight)
    return head
