"""Many queries at once find what each of them finds alone, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diml.errors import ImageError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel
from diml.search import FailedQuery, Index, SearchResult, exhaustive, many
from diml.search.coarse import cosine_distances, nearest
from diml.search.many import nearest_of_each

GRID, DIM, IMAGES = (2, 3), 24, 100
Make = Callable[..., Path]


def random_maps(n: int, seed: int, weighted: bool = False) -> FeatureMaps:
    generator = torch.Generator().manual_seed(seed)
    local = torch.randn(n, 6, DIM, generator=generator) + torch.randn(n, 1, DIM, generator=generator)
    return FeatureMaps(local, GRID, weights=torch.rand(n, 6, generator=generator) if weighted else None)


def index_of(folder: Path, maps: FeatureMaps, **settings: Any) -> Index:
    index = Index.create(folder / "many.diml", **settings)
    labels = ["abc"[i % 3] for i in range(len(maps))]
    index.add_maps(maps, paths=[f"{i:04d}" for i in range(len(maps))], labels=labels, sizes=[(60, 40)] * len(maps))
    return index


def documents(results: list[SearchResult]) -> list[dict[str, Any]]:
    return [found.to_dict() for found in results]


def assert_same(index: Index, queries: FeatureMaps, **asked: Any) -> list[SearchResult]:
    alone = [index.search(queries[i], **asked) for i in range(len(queries))]
    together = index.search_many(queries, **asked)
    assert documents(together) == documents(alone)
    for found, other in zip(together, alone, strict=True):
        assert [hit.thumbnail for hit in found] == [hit.thumbnail for hit in other]
        for hit, same in zip(found, other, strict=True):
            assert torch.equal(hit.match.plan, same.match.plan)
    return together


@pytest.fixture(autouse=True)
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "BATCH", 40)
    monkeypatch.setattr(many, "BLOCK", 8)
    monkeypatch.setattr("diml.search.searcher.BLOCK", 8)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return index_of(tmp_path, random_maps(IMAGES, 0))


@pytest.fixture
def queries() -> FeatureMaps:
    """More than are ranked together, of which one is stored."""
    return FeatureMaps.cat([random_maps(10, 1), random_maps(IMAGES, 0)[7]])


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"k": 3, "shortlist": 20},
        {"k": 20, "shortlist": 3},
        {"k": 4, "shortlist": 17, "where": "label <> 'c'"},
        {"where": "label = 'none'"},
        {"k": 5, "shortlist": 0},
        {"k": 5, "shortlist": 0, "where": "label = 'a'"},
        {"k": 2, "shortlist": "all"},
        {"k": 999, "shortlist": 999},
        {"k": 999, "shortlist": 0},
    ],
)
def test_as_one_by_one(index: Index, queries: FeatureMaps, asked: dict[str, Any]) -> None:
    assert_same(index, queries, **asked)


def blocks_of(module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each further call of a function of a module is for."""
    blocks, original = [], getattr(module, name)

    def counting(store: Any, queries: Any, *rest: Any) -> Any:
        blocks.append(len(queries))
        return original(store, queries, *rest)

    monkeypatch.setattr(module, name, counting)
    return blocks


def test_the_index_is_read_once_for_a_block(
    index: Index, queries: FeatureMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = blocks_of(many, "nearest_of_each", monkeypatch)
    monkeypatch.setattr("diml.search.ranking.nearest", None)
    assert len(index.search_many(queries)) == 11
    assert blocks == [8, 3]


def test_every_map_is_read_once_for_a_block(
    index: Index, queries: FeatureMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = blocks_of(exhaustive, "_streamed", monkeypatch)
    monkeypatch.setattr(exhaustive, "BATCH", 40)
    assert len(index.search_many(queries, shortlist="all")) == 11
    assert blocks == [8, 3]
    blocks.clear()
    monkeypatch.setattr(many, "COSINES", 3 * IMAGES)
    assert_same(index, queries, k=4, shortlist="all", where="label <> 'c'")
    assert blocks == [*11 * [1], 4, 4, 3]  # of eight queries, then of three


@pytest.mark.parametrize("matcher", [{"transport": "one-sided"}, {"transport": "dustbin", "weight": 1.0}])
def test_settings_of_the_matcher(index: Index, queries: FeatureMaps, matcher: dict[str, Any]) -> None:
    [*_, stored] = assert_same(index.with_matcher(**matcher), queries, k=4, shortlist=18)
    assert stored[0].path == "0007"
    assert stored.settings["transport"] == matcher["transport"]


def test_weights_of_parts(tmp_path: Path) -> None:
    index = index_of(tmp_path, random_maps(IMAGES, 0, weighted=True))
    assert_same(index, random_maps(9, 1, weighted=True), k=4, shortlist=18)
    assert_same(index, random_maps(9, 1), k=4, shortlist=0)


@pytest.mark.parametrize("limit", [1, 5, 39, 40, 41, 70])
def test_equal_images_go_by_id(tmp_path: Path, limit: int) -> None:
    maps = random_maps(120, 0)
    maps.local[20:100:2] = maps.local[20]
    maps.local[21:101:2] = maps.local[21] * 4  # another length, the same direction
    index = index_of(tmp_path, maps)
    [found, _] = assert_same(index, FeatureMaps.cat([maps[20], maps[21]]), k=limit, shortlist=0)
    copies = sorted(entry.id for entry in index if 20 <= int(entry.path) < 100 and int(entry.path) % 2 == 0)
    assert [hit.id for hit in found][:40] == copies[:limit]
    assert [hit.pooled_rank for hit in found][:40] == [1] * min(limit, 40)
    assert_same(index, FeatureMaps.cat([maps[20], maps[21]]), k=limit, shortlist=limit)


def test_distances_that_differ_by_rounding(tmp_path: Path) -> None:
    maps = random_maps(120, 0)
    maps.local[:100] = maps.local[0]
    maps.local[:100, 0] *= 1 + 2.0**-11 * torch.arange(100)[:, None] / 10
    # Plans are not what is tested here and below, so that they need not be solved to the end.
    index = index_of(tmp_path, maps).with_matcher(max_iterations=1)
    _, store = index._state.require()
    distances = nearest(store, maps[3].pooled[0].numpy(), 100)["_distance"].to_numpy()
    assert 3 < len(np.unique(distances)) < 30
    assert distances.max() < 1e-6
    for limit in (1, 10, 50, 99):
        assert_same(index, FeatureMaps.cat([maps[3], random_maps(1, 9)]), k=limit, shortlist=0)


def test_images_and_queries_without_direction(tmp_path: Path) -> None:
    maps = random_maps(60, 0)
    maps.local[10:20] = 0
    index = index_of(tmp_path, maps).with_matcher(max_iterations=1)
    queries = FeatureMaps(torch.cat([torch.zeros(1, 6, DIM), random_maps(1, 1).local, -maps.local[:1]]), GRID)
    for limit in (1, 50, 51, 60):  # 50 have a direction
        for shortlist in (0, limit):
            assert_same(index, queries, k=limit, shortlist=shortlist)
    emptied = index.search_many(queries, k=60, shortlist=0)[0]
    assert [hit.id for hit in emptied] == sorted(entry.id for entry in index)


@pytest.mark.parametrize("size", [1e-6, 1e30])
def test_the_length_of_a_query_does_not_count(index: Index, queries: FeatureMaps, size: float) -> None:
    scaled = FeatureMaps(queries.local * size, GRID)
    found = assert_same(index, scaled, k=3, shortlist=20)
    plain = index.search_many(queries, k=3, shortlist=20)
    assert [[hit.id for hit in one] for one in found] == [[hit.id for hit in one] for one in plain]


def test_beyond_exact_search(tmp_path: Path, queries: FeatureMaps) -> None:
    index = index_of(tmp_path, random_maps(400, 0), exact_limit=200)
    assert index.stats().graph
    assert_same(index, queries, k=4, shortlist=20)
    assert_same(index, queries, k=4, shortlist=20, where="label = 'a'")  # few enough


def test_an_index_without_images(tmp_path: Path, queries: FeatureMaps, index: Index) -> None:
    unmade = Index.create(tmp_path / "new.diml", grid=GRID)
    assert [found.hits for found in unmade.search_many(queries)] == [[]] * 11
    index.remove(index.paths)
    assert [(found.hits, found.shortlist) for found in assert_same(index, queries)] == [([], 0)] * 11


def test_what_is_refused(index: Index, queries: FeatureMaps) -> None:
    broken = FeatureMaps(queries.local.clone(), GRID)
    broken.local[4] = torch.nan
    with pytest.raises(UsageError, match="expected a finite feature map"):
        index.search_many(broken)
    with pytest.raises(UsageError, match="got grid 3x2"):
        index.search_many(FeatureMaps(queries.local, (3, 2)))
    with pytest.raises(UsageError, match="cannot be used"):
        index.search_many(queries, where="colour = 'x'")


def test_images_that_were_removed_meanwhile_are_left_out(
    index: Index, queries: FeatureMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = index.search_many(queries[:2], k=5, shortlist=20)
    gone = {found[0].id for found in before}
    scanned = many._scanned

    def removing(*asked: Any) -> Any:
        found = scanned(*asked)
        index.remove(sorted(gone & {entry.id for entry in index}))
        return found

    monkeypatch.setattr(many, "_scanned", removing)
    after = index.search_many(queries[:2], k=4, shortlist=20)
    for old, new in zip(before, after, strict=True):
        assert [hit.id for hit in new] == [hit.id for hit in old if hit.id not in gone][:4]


class TestCoarse:
    def test_the_rows_are_those_of_nearest(self, index: Index, queries: FeatureMaps) -> None:
        _, store = index._state.require()
        vectors = list(queries.pooled.numpy())
        for limit, where in ((1, None), (40, None), (IMAGES, None), (30, "label = 'b'")):
            for vector, rows in zip(vectors, nearest_of_each(store, vectors, limit, where), strict=True):
                assert rows.equals(nearest(store, vector, limit, where))

    def test_distances_depend_on_nothing_beside_them(self) -> None:
        random = np.random.default_rng(0)
        for dim in (1, 7, 128, 1280):
            pooled = random.standard_normal((50, dim), np.float32)
            vector = random.standard_normal(dim, np.float32)
            every = cosine_distances(pooled, vector)
            for start in range(0, 50, 7):
                assert (cosine_distances(pooled[start : start + 5], vector) == every[start : start + 5]).all()
            expected = 1 - pooled @ vector / np.linalg.norm(pooled, axis=1) / np.linalg.norm(vector)
            np.testing.assert_allclose(every, expected, atol=1e-5)


class TestStream:
    @pytest.fixture
    def photos(self, make_folder: Make) -> Path:
        return make_folder(7)

    @pytest.fixture
    def files(self, photos: Path) -> list[Path]:
        """Images, and what is none between them."""
        (photos / "text.png").write_text("text")
        files: list[Path] = [photos / path for path in ("a/0000.png", "b/0001.png", "c/0002.png", "a/0003.png")]
        return [files[0], photos / "none.png", *files[1:], photos / "text.png"]

    def test_failures_are_in_their_places(
        self, tmp_path: Path, model: StructuralModel, photos: Path, files: Any
    ) -> None:
        index = Index.create(tmp_path / "photos.diml", model)
        index.add(photos)
        found = list(index.search_stream(iter(files), k=3, where="width < 99", batch_size=2))
        assert [type(one) for one in found] == [SearchResult, FailedQuery, *[SearchResult] * 3, FailedQuery]
        readable = [file for file in files if file.name not in ("none.png", "text.png")]
        alone = [index.search(file, k=3, where="width < 99") for file in readable]
        for one, other in zip((one for one in found if isinstance(one, SearchResult)), alone, strict=True):
            assert one.query.source == other.query.source
            assert [hit.id for hit in one] == [hit.id for hit in other]
            assert [hit.similarity for hit in one] == pytest.approx([hit.similarity for hit in other], abs=1e-6)
        failed = found[1]
        assert isinstance(failed, FailedQuery)
        assert (failed.source, type(failed.error)) == (files[1], ImageError)
        assert failed.to_dict() == {"query": str(files[1]), "error": str(failed.error)}
        assert "there is no such file" in str(failed.error)

    def test_all_that_fail(self, tmp_path: Path, model: StructuralModel, photos: Path, files: Any) -> None:
        index = Index.create(tmp_path / "photos.diml", model)
        index.add(photos)
        found = list(index.search_stream([files[1], files[-1]] * 3, batch_size=2))
        assert [type(one) for one in found] == [FailedQuery] * 6
        assert list(index.search_stream([])) == []

    def test_it_reads_no_further_than_it_must(
        self, tmp_path: Path, model: StructuralModel, photos: Path, index: Index
    ) -> None:
        embedding = Index.create(tmp_path / "photos.diml", model)
        embedding.add(photos)
        taken = 0

        def endless() -> Iterator[Image.Image]:
            nonlocal taken
            while True:
                taken += 1
                yield Image.new("RGB", (40, 50), (taken % 256, 0, 0))

        stream = embedding.search_stream(endless(), k=1, batch_size=2)
        for _ in range(5):
            assert isinstance(next(stream), SearchResult)
        assert taken < 30
        stream.close()  # type: ignore[attr-defined]
        with pytest.raises(UsageError, match="expected k >= 1"):
            index.search_stream([], k=0)
        with pytest.raises(UsageError, match="has no model to embed images"):
            list(index.search_stream([photos / "a" / "0000.png"]))
