"""Pairs of an index that are alike, against a loop over all pairs in float64."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from diml.embedding import Preprocessing
from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import uniform
from diml.model import StructuralModel
from diml.search import Groups, Index, Pair
from diml.search.pairs import candidates, map_blocks
from diml.search.pairs import pairs as pairs_module
from diml.search.pairs.estimate import SAMPLE

GRID, DIM, IMAGES = (2, 3), 5, 20


def some_maps(kind: str, images: int = IMAGES, weighted: bool = False) -> FeatureMaps:
    """Maps with near-duplicates in places that say nothing, and an exact one: image 7 is image 2."""
    random = torch.Generator().manual_seed(3)
    parts = GRID[0] * GRID[1]
    local = torch.randn(images, parts, DIM, generator=random)
    if kind == "alike":  # as the maps of real images are: neighbours and other images share much
        local = 0.6 * local.cumsum(dim=1) + torch.randn(1, parts, DIM, generator=random) + 2
    for at in range(0, images - 1, 5):
        noise = torch.randn(parts, DIM, generator=random) * (0.05 + at / (2 * images))
        local[(3 * at + 4) % images] = local[at] + noise
    if images > 7:
        local[7] = local[2]
    weights = torch.rand(images, parts, generator=random) if weighted else None
    if weights is not None and images > 7:
        weights[7] = weights[2]
    return FeatureMaps(local, GRID, weights=weights)


def an_index(folder: Path, maps: FeatureMaps, labels: list[str] | None = None) -> Index:
    index = Index.create(folder / "own.diml")
    # Their order by path is another one than that in which they are stored.
    paths = [f"{(7 * at) % len(maps):03d}.png" for at in range(len(maps))] if len(maps) % 7 else None
    paths = paths or [f"{at:03d}.png" for at in range(len(maps))]
    index.add_maps(maps, paths=paths, labels=labels, sizes=[(64, 48)] * len(maps))
    return index


def naive(index: Index, above: float, paths: list[str] | None = None) -> dict[tuple[str, str], tuple[Any, ...]]:
    """By a match of all pairs: the numbers, and the direction."""
    found = {}
    pairs = list(itertools.combinations(index.paths if paths is None else paths, 2))
    maps = [index.maps([pair[side] for pair in pairs]) for side in (0, 1)]
    one_sided = index.model.matcher.transport == "one-sided"
    matches = [index.model.explain(*maps)] + ([index.model.explain(maps[1], maps[0])] if one_sided else [])
    columns = [[x.tolist() for x in (match.similarity, match.structural, match.pooled)] for match in matches]
    for at, pair in enumerate(pairs):
        rows = [tuple(column[at] for column in each) for each in columns]
        best = max(range(len(rows)), key=lambda way: rows[way][0])
        if rows[best][0] >= above:
            found[pair] = (*rows[best], ("a in b", "b in a")[best] if one_sided else None)
    return found


def numbers(pair: Pair) -> tuple[Any, ...]:
    return pair.similarity, pair.structural, pair.pooled, pair.direction


def assert_same(index: Index, *thresholds: float) -> int:
    every = naive(index, -2)
    number = 0
    for above in thresholds:
        found = list(index.pairs(above))
        expected = {pair: values for pair, values in every.items() if values[0] >= above}
        assert len({(pair.a, pair.b) for pair in found}) == len(found)
        assert {(pair.a, pair.b) for pair in found} == expected.keys()
        for pair in found:
            *shown, direction = expected[pair.a, pair.b]
            assert numbers(pair)[:3] == pytest.approx(shown, abs=1e-12)
            assert pair.direction == direction
        number += len(found)
    return number


SETTINGS: list[dict[str, Any]] = [
    {},
    {"marginals": "cross_correlation"},
    {"transport": "one-sided"},
    {"transport": "dustbin", "bin_similarity": 0.3},
    {"mass": 0.6},
    {"marginals": "sc"},
    {"marginals": uniform},
    {"eps": 0.003},
]


# Each setting at several weights; the last ones at one between the two similarities, and at that of plans alone.
WEIGHED = [
    *itertools.product(SETTINGS[:4], (0.0, 0.3, 0.5, 1.0)),
    *itertools.product(SETTINGS[4:], (0.3, 1.0)),
]


def named(settings: dict[str, Any] | float) -> str:
    """The same in every test process."""
    if not isinstance(settings, dict):
        return str(settings)
    return " ".join(f"{name} {getattr(value, '__name__', value)}" for name, value in settings.items()) or "default"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Index]:
    """Of both kinds; not to be changed."""
    kinds = (("random", False), ("alike", True))
    return [an_index(tmp_path_factory.mktemp(kind), some_maps(kind, weighted=weighted)) for kind, weighted in kinds]


@pytest.mark.parametrize(("settings", "weight"), WEIGHED, ids=named)
def test_the_pairs_of_a_loop(made: list[Index], settings: dict[str, Any], weight: float) -> None:
    found = 0
    for index in made:
        found += assert_same(index.with_matcher(weight=weight, **settings), 0.5, 0.9, 0.97)
    assert found > 5


@pytest.mark.parametrize("settings", SETTINGS[:4], ids=named)
def test_a_model_with_a_pooled_vector_of_its_own(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = StructuralModel.wrap(Corner(), Preprocessing(size=(32, 32)), name="corner")
    random = np.random.default_rng(0)
    for at in range(12):
        drawn = Image.fromarray(random.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((32, 32))
        drawn.save(tmp_path / f"{at}.png")
        drawn.resize((28, 28)).save(tmp_path / f"{at}-small.png")
    index = Index.create(tmp_path / "corner.diml", model)
    index.add(tmp_path)
    assert (index.maps("3.png").own_pooled is None) is False
    assert assert_same(index.with_matcher(**settings), 0.6, 0.9) > 0


class Corner(nn.Conv2d):
    """A random projection whose pooled vector is that of a corner."""

    def __init__(self) -> None:
        super().__init__(3, 12, 8, 8)

    def forward(self, pixels: Tensor) -> Any:
        local = super().forward(pixels)
        return local, local[:, :, 0, 0]


def test_pairs_at_the_edge(tmp_path: Path) -> None:
    index = an_index(tmp_path, some_maps("alike"))
    every = sorted(numbers[0] for numbers in naive(index, -0.999).values())
    assert len(every) == IMAGES * (IMAGES - 1) // 2 == len(list(index.pairs(-0.999)))
    for at in (len(every) - 1, len(every) - 2, len(every) - 20, 0):
        assert len(list(index.pairs(every[at]))) == len(every) - at
    assert list(index.pairs(1.0)) == []
    assert len(list(index.pairs(every[-1] + 1e-9))) == 0


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_blocks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight: float) -> None:
    index = an_index(tmp_path, some_maps("alike")).with_matcher(weight=weight)
    whole = list(index.pairs(0.8))
    assert [(pair.a, pair.b) for pair in whole] == sorted((pair.a, pair.b) for pair in whole)
    monkeypatch.setattr(map_blocks, "SIDE", 4)
    monkeypatch.setattr(map_blocks, "FEWEST", 4)
    monkeypatch.setattr(map_blocks, "KEPT_BYTES", 1)
    monkeypatch.setattr(candidates, "PIECE", 3)
    monkeypatch.setattr(pairs_module, "CHUNK", 2)
    search = index.pairs(0.8)
    parts = list(search)
    assert search.blocks.side == 4
    assert search.blocks.room == 2
    blocks = [(int(pair.a[:3]) // 4, int(pair.b[:3]) // 4, pair.a, pair.b) for pair in parts]
    assert blocks == sorted(blocks)
    assert {(pair.a, pair.b): numbers(pair) for pair in parts} == {(pair.a, pair.b): numbers(pair) for pair in whole}
    counts = search.counts
    assert counts.candidates >= counts.bounded >= counts.solved >= counts.found == len(parts) > 3


def test_copies_and_images_without_direction(tmp_path: Path) -> None:
    maps = some_maps("random")
    maps.local[11:14] = 0
    maps.local[15] = torch.cat([maps.local[3][:3], -maps.local[3][:3]])  # its mean is 0
    maps.local[16] = maps.local[15]
    index = an_index(tmp_path, maps)
    for weight in (0.0, 0.5, 1.0):
        assert_same(index.with_matcher(weight=weight), 0.3, 0.9)


def test_conditions(tmp_path: Path) -> None:
    index = an_index(tmp_path, some_maps("alike"), ["x" if at % 3 else "y" for at in range(IMAGES)])
    paths = [entry.path for entry in index.entries("label = 'x'")]
    found = list(index.pairs(0.8, where="label = 'x'"))
    assert {(pair.a, pair.b) for pair in found} == naive(index, 0.8, paths).keys()
    assert found
    assert list(index.pairs(0.5, where="label = 'z'")) == []
    with pytest.raises(UsageError, match="cannot be used"):
        next(iter(index.pairs(0.5, where="colour = 'x'")))


def test_indexes_of_no_and_one_image(tmp_path: Path) -> None:
    empty = Index.create(tmp_path / "empty.diml")
    assert list(empty.pairs()) == []
    assert empty.pairs().estimate().found == 0
    one = an_index(tmp_path, some_maps("random", 1))
    assert list(one.pairs(-0.5)) == []
    assert one.pairs().estimate().images == 1


@pytest.mark.parametrize("above", [-1, 1.01, float("nan"), "high", None])
def test_thresholds_out_of_range(tmp_path: Path, above: Any) -> None:
    index = an_index(tmp_path, some_maps("random", 2))
    with pytest.raises(UsageError, match="expected a similarity above -1 and up to 1"):
        index.pairs(above)


def test_weights_of_given_images_are_refused(tmp_path: Path) -> None:
    index = an_index(tmp_path, some_maps("random", 2))
    mu = torch.ones(2, 6)
    with pytest.raises(UsageError, match="expected marginals by name"):
        index.with_matcher(marginals=(mu, mu)).pairs()


@pytest.mark.parametrize("transport", ["full", "one-sided"])
def test_the_match_of_a_pair(tmp_path: Path, transport: str) -> None:
    index = an_index(tmp_path, some_maps("alike")).with_matcher(transport=transport)
    for pair in itertools.islice(index.pairs(0.7), 8):
        assert pair.match.similarity.item() == pair.similarity
        assert pair.match.maps_a.geometry is not None
        first, _ = (index.maps(path) for path in pair.compared)
        assert torch.equal(pair.match.maps_a.local, first.local.double())
        assert ("direction" in pair.to_dict()) == (transport == "one-sided")


def test_an_image_that_is_removed_meanwhile(tmp_path: Path) -> None:
    index = an_index(tmp_path, some_maps("alike"))
    pair = next(iter(index.pairs(0.7)))
    search = index.pairs(0.7)
    assert search.vectors
    index.remove(pair.a)
    with pytest.raises(StoreError, match="was removed"):
        list(search)
    with pytest.raises(StoreError, match="was removed"):
        _ = pair.match


class TestEstimates:
    def test_a_small_index_is_counted(self, tmp_path: Path) -> None:
        search = an_index(tmp_path, some_maps("alike")).pairs(0.7)
        estimate = search.estimate()
        found = len(list(search))
        assert (estimate.images, estimate.candidates, estimate.found) == (IMAGES, search.counts.candidates, found)
        assert 0 < estimate.seconds < 60

    def test_a_sample_of_a_larger_one(self, tmp_path: Path) -> None:
        random = torch.Generator().manual_seed(0)
        local = torch.randn(3 * SAMPLE, 6, DIM, generator=random)
        local[SAMPLE:] = local[:SAMPLE].repeat(2, 1, 1) + 0.1 * torch.randn(2 * SAMPLE, 6, DIM, generator=random)
        search = an_index(tmp_path, FeatureMaps(local, GRID)).pairs(0.95)
        estimate = search.estimate()
        found = len(list(search))
        assert estimate.found == pytest.approx(found, rel=0.25)
        assert estimate.candidates == pytest.approx(search.counts.candidates, rel=0.25)

    def test_nothing_alike(self, tmp_path: Path) -> None:
        estimate = an_index(tmp_path, some_maps("random", 7)).pairs(1.0).estimate()
        assert estimate.found == 0


class TestGroups:
    def test_connected_components(self) -> None:
        random = torch.Generator().manual_seed(0)
        for edges in (0, 5, 20, 60):
            ends = torch.randint(40, (edges, 2), generator=random).tolist()
            expected = {frozenset({at}) for at in itertools.chain(*ends)}
            groups = Groups()
            for a, b in ends:
                groups.join(f"{a:02d}", f"{b:02d}")
                joined = {group for group in expected if {a, b} & group}
                expected = (expected - joined) | {frozenset().union(*joined)}
            found = groups.largest_first()
            assert {frozenset(map(int, group.paths)) for group in found} == expected
            assert [len(group) for group in found] == sorted(map(len, found), reverse=True)
            assert all(list(group.paths) == sorted(group.paths) for group in found)

    def test_of_pairs(self, tmp_path: Path) -> None:
        search = an_index(tmp_path, some_maps("random")).pairs(0.9)
        groups = Groups(search).largest_first()
        assert {path for group in groups for path in group.paths} == {p for x in search for p in (x.a, x.b)}
        assert len(groups[0]) >= 2
