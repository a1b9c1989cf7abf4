"""`shortlist="proven"`: the answer of "all", from the maps alone that a bound does not exclude."""

from __future__ import annotations

import pytest
import torch

from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, prepare
from diml.matching.bounds import structural_bounds
from diml.search import Index, index_folder, recode
from diml.search.codes.sketches import Sketches

SETTINGS = [
    {},
    {"weight": 1.0},
    {"weight": 0.0},
    {"transport": "one-sided", "weight": 0.85},
    {"transport": "dustbin"},
    {"transport": "dustbin", "bin_similarity": -0.5, "weight": 0.9},
    {"marginals": "cross_correlation"},
    {"mass": 0.6},
    {"eps": 0.01},
    {"max_iterations": 2},
]


def random_maps(n, seed=0, weighted=False, own_pooled=False, alike=True):
    """Maps around a few others, so that some are much more alike than most."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, 9, 16, generator=torch.Generator().manual_seed(99))
    local = torch.randn(n, 9, 16, generator=generator)
    if alike:
        local = centres[torch.randint(8, (n,), generator=generator)] + 0.6 * local
    weights = torch.rand(n, 9, generator=generator) if weighted else None
    pooled = torch.randn(n, 16, generator=generator) if own_pooled else None
    return FeatureMaps(local, (3, 3), pooled, weights=weights)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Indices of 300 images by whether their maps are weighted; not to be changed."""
    return {
        weighted: index_of(tmp_path_factory.mktemp("made"), random_maps(300, weighted=weighted))
        for weighted in (False, True)
    }


def index_of(folder, maps, **settings):
    index = Index.create(folder / "i.diml", sketches=True)
    index.add_maps(maps, paths=[f"{k:03d}" for k in range(len(maps))], sizes=[(60, 60)] * len(maps))
    return index.with_matcher(**settings)


def assert_same(index, query, **options):
    every = index.search(query, shortlist="all", **options)
    proven = index.search(query, shortlist="proven", **options)
    expected, found = every.to_dict(), proven.to_dict()
    assert found.pop("maps_read") == proven.maps_read <= len(index)
    assert "maps_read" not in expected
    assert found == expected
    return proven.maps_read


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: " ".join(f"{k} {v}" for k, v in each.items()) or "-")
@pytest.mark.parametrize("weighted", [False, True])
def test_the_answer_of_all(made, settings, weighted):
    index = made[weighted].with_matcher(**settings)
    read = []
    for seed, k in ((1, 1), (2, 7), (3, 1)):
        read.append(assert_same(index, random_maps(1, seed, weighted), k=k))
    if settings in ({}, {"weight": 1.0}, {"transport": "one-sided", "weight": 0.85}):
        assert min(read) < len(index)


def test_a_part_and_a_condition(tmp_path):
    index = index_of(tmp_path, random_maps(200), eps=0.02)
    query = random_maps(1, 3)
    sized = FeatureMaps(query.local, query.grid, geometry=index.maps(["000"]).geometry)
    assert assert_same(index, sized, k=3, regions=[(0, 0, 40, 20)]) <= 200
    assert_same(index, query, k=3, where="path > '100'")
    assert_same(index, query, k=300)
    assert index.search(query, k=3, shortlist="proven", where="path = 'x'").hits == []


def test_a_part_of_weighted_maps(tmp_path):
    """The weights of the query's cells decide how much each of the chosen ones counts."""
    maps = random_maps(500, weighted=True)
    index = index_of(tmp_path, maps, eps=0.02)
    geometry = index.maps(["000"]).geometry
    read = []
    for seed in range(3, 9):
        query = random_maps(1, seed, weighted=True)
        skewed = query.replace(weights=query.weights**6, geometry=geometry)
        read.append(assert_same(index, skewed, k=5, regions=[(0, 0, 60, 40)]))
        asked = index.model.query(skewed, regions=[(0, 0, 60, 40)])
        stored = index.maps(index.paths)
        likeness = asked.units @ torch.nn.functional.normalize(stored.local, dim=2).mT
        bounds = asked.upper_bounds(torch.ones(len(maps)), likeness, stored.weights)
        assert (bounds >= asked.scores(stored)).all()
    assert min(read) < 500


def test_duplicates_and_maps_of_zeros(tmp_path):
    maps = random_maps(300)
    local = maps.local.clone()
    local[100:200] = local[50]
    local[::7] = 0
    local[3, 4:] = 0
    index = index_of(tmp_path, FeatureMaps(local, (3, 3)))
    for query in (FeatureMaps(local[50:51], (3, 3)), FeatureMaps(local[3:4], (3, 3))):
        assert_same(index, query, k=20)


def test_pooled_vectors_that_nearly_cancel(tmp_path):
    """Rounding the parts to float16 turns such a vector: the stored one says nothing of that of the stored map."""
    local = random_maps(300, alike=False).local
    local = local - local.mean(dim=1, keepdim=True) + 1e-4 * random_maps(300, 5, alike=False).local[:, :1]
    index = index_of(tmp_path, FeatureMaps(local, (3, 3)), weight=0.2)
    for k in range(5):
        assert_same(index, FeatureMaps(local[k : k + 1], (3, 3)), k=5)


def test_a_pooled_vector_of_the_model(tmp_path):
    maps = random_maps(300, own_pooled=True)
    index = index_of(tmp_path, maps)
    for k in range(3):
        assert_same(index, maps[k], k=5)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: " ".join(f"{k} {v}" for k, v in each.items()) or "-")
def test_bounds_from_sketches_hold(settings):
    maps, query = random_maps(400, weighted=True), random_maps(1, 7, weighted=True)
    stored = maps.replace(local=maps.local.half().float())
    sketches = Sketches(9, 16)
    sketch = sketches.decode(sketches.encode(stored, maps.pooled))
    matcher = Matcher(**settings)
    likeness = sketch.likeness(prepare(query).rows[0, :-1])
    units = prepare(stored).rows
    assert (likeness >= (prepare(query).rows[0, :-1] @ units[:, :-1].mT) - 1e-6).all()
    true = matcher.replace(weight=1.0).rerank(query, stored, torch.arange(400)[None])[0]
    bounds = structural_bounds(matcher, likeness, query.weights, maps.weights)
    assert (bounds + 2e-5 >= true).all()
    apart = (units[:, -1] - torch.nn.functional.normalize(maps.pooled, dim=1)).norm(dim=1)
    assert (sketch.slack >= apart).all()


def test_sketches_of_images(tmp_path, model, photos, make_folder):
    index, _ = index_folder(photos, tmp_path / "s.diml", model=model.with_weights("norm"), sketches=True)
    assert index.stats().sketches
    assert index.stats().format == 3
    assert_same(index, photos / "a" / "0000.png", k=3)
    make_folder(20)
    again, report = index_folder(photos, tmp_path / "s.diml", model=model.with_weights("norm"))
    assert report.added == 8
    assert_same(again, photos / "b" / "0013.png", k=3)
    assert [each.to_dict() for each in again.search_many([photos / "a" / "0000.png"], k=3, shortlist="proven")] == [
        again.search(photos / "a" / "0000.png", k=3, shortlist="proven").to_dict()
    ]


def test_sketches_are_given_to_a_copy(tmp_path, index, photos):
    with pytest.raises(UsageError, match="expected an index with sketches for the shortlist proven"):
        index.search(photos / "a" / "0000.png", shortlist="proven")
    copy = recode(index.path, tmp_path / "copy.diml", "float16", sketches=True)
    copy = Index.open(copy.path, model=index.model)
    assert_same(copy, photos / "a" / "0000.png", k=3)
    assert copy.maps(copy.paths).local.equal(index.maps(index.paths).local)
    small = recode(copy.path, tmp_path / "small.diml", "int8")
    assert not small.stats().sketches
    with pytest.raises(UsageError, match="already"):
        recode(copy.path, tmp_path / "x.diml", "float16")
    with pytest.raises(UsageError, match="sketches are of maps in float16"):
        recode(copy.path, tmp_path / "x.diml", "int8", sketches=True)
    with pytest.raises(UsageError, match="sketches are of maps in float16"):
        Index.create(tmp_path / "x.diml", sketches=True, codes="int8")
    with pytest.raises(StoreError, match="was made with no sketches"):
        index_folder(photos, index.path, model=index.model, sketches=True)
