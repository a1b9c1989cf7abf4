"""Several indices opened as one find what one index of all their images finds, to the last bit."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel
from diml.search import Index, SearchResult, coarse, index_folder, many, sharded_state
from diml.search.manifest import Manifest
from diml.search.shards import Shards
from diml.search.transfer import pack_result, unpack_result

GRID, DIM, IMAGES = (2, 3), 16, 90
FORMS: dict[str, dict[str, Any]] = {
    "float16": {},
    "sketches": {"sketches": True},
    "int8": {"codes": "int8"},
    "pq": {"codes": "pool3+pq4"},
}
SHORTLISTS = (0, 3, 20, 1000, "all")
SETTINGS: list[dict[str, Any]] = [
    {},
    {"weight": 1.0},
    {"weight": 0.0},
    {"transport": "one-sided"},
    {"transport": "dustbin", "bin_similarity": 0.2},
    {"marginals": "cross_correlation"},
    {"mass": 0.6},
]


def some_maps(images: int = IMAGES, seed: int = 0, weighted: bool = False, own_pooled: bool = False) -> FeatureMaps:
    """Maps around a few others; every seventh is a copy of its neighbour, and one and its copy are all zero."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, 6, DIM, generator=torch.Generator().manual_seed(9))
    local = centres[torch.randint(5, (images,), generator=random)] + torch.randn(images, 6, DIM, generator=random)
    weights = torch.rand(images, 6, generator=random) if weighted else None
    pooled = torch.randn(images, DIM, generator=random) if own_pooled else None
    for at in range(6, images - 1, 7):
        for values in (local, weights, pooled):
            if values is not None:
                values[at] = values[at - 1]
    if images > 30:
        local[29:31] = 0
    return FeatureMaps(local, GRID, pooled, weights=weights)


def paths_of(images: int) -> list[str]:
    """In another order than the rows."""
    return [f"{(17 * at) % 997:04d}.png" for at in range(images)]


def index_of(path: Path, maps: FeatureMaps, **settings: Any) -> Index:
    index = Index.create(path, columns=["side"], **settings)
    labels = ["abc"[i % 3] if i % 5 else None for i in range(len(maps))]
    columns = {"side": ["left" if i % 2 else "right" for i in range(len(maps))]}
    sizes = [(60 + i, 40) for i in range(len(maps))]
    index.add_maps(maps, paths=paths_of(len(maps)), labels=labels, columns=columns, sizes=sizes)
    return Index.open(path)


def divided(index: Index, parts: int) -> list[Path]:
    """Copies of an index, each with another part of its images; neighbours, which may be copies, are in different ones.

    They have the model and the centroids of the index.
    """
    paths = []
    for part in range(parts):
        path = index.path.with_name(f"part-{part}.diml")
        shutil.copytree(index.path, path)
        others = [name for at, name in enumerate(paths_of(len(index))) if at % parts != part]
        Index.open(path).remove(others)
        paths.append(path)
    return paths


def documents(results: Sequence[SearchResult]) -> list[dict[str, Any]]:
    """Without the names of the indices."""
    found = [result.to_dict(index="") for result in results]
    for hit in itertools.chain.from_iterable(each["hits"] for each in found):
        hit.pop("shard", None)
    return found


def assert_same(whole: Index, shards: Index, query: Any, **asked: Any) -> SearchResult:
    expected, found = whole.search(query, **asked), shards.search(query, **asked)
    assert documents([found]) == documents([expected])
    assert found.hits == expected.hits
    for hit, other in zip(found, expected, strict=True):
        assert hit.shard in shards.shards
        assert other.shard is None
        assert torch.equal(hit.match.plan, other.match.plan)
        assert torch.equal(hit.match.maps_b.local, other.match.maps_b.local)
    return found


@pytest.fixture(autouse=True)
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "BATCH", 16)
    monkeypatch.setattr("diml.search.exhaustive.BATCH", 16)
    monkeypatch.setattr("diml.search.exhaustive.FIRST", 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Index, Index]]:
    """One index, and the same images in several that are opened as one; not to be changed."""
    known: dict[tuple[Any, ...], tuple[Index, Index]] = {}

    def make(form: str = "float16", parts: int = 3, weighted: bool = False) -> tuple[Index, Index]:
        key = form, parts, weighted
        if key not in known:
            folder = tmp_path_factory.mktemp("shards")
            whole = index_of(folder / "whole.diml", some_maps(weighted=weighted), **FORMS[form])
            known[key] = whole, Index.open(divided(whole, parts))
        return known[key]

    return make


@pytest.fixture
def queries() -> FeatureMaps:
    """Of which one is stored twice, in two shards, and one has no direction."""
    return FeatureMaps.cat([some_maps(2, 1), some_maps()[[6, 29]]])


class TestSearch:
    @pytest.mark.parametrize(("form", "parts"), [("float16", 2), *((form, 3) for form in FORMS)])
    def test_every_shortlist(self, made: Any, queries: FeatureMaps, form: str, parts: int) -> None:
        whole, shards = made(form, parts)
        for i, shortlist in itertools.product(range(len(queries)), SHORTLISTS):
            assert_same(whole, shards, queries[i], k=5, shortlist=shortlist)

    @pytest.mark.parametrize("form", ["float16", "pq"])
    def test_the_nearest_are_chosen_before_their_maps_are_read(
        self, made: Any, queries: FeatureMaps, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        monkeypatch.setattr(coarse, "AT_ONCE", 0)
        whole, shards = made(form, 3)
        for i, shortlist in itertools.product(range(len(queries)), (0, 1, 2, 20, IMAGES - 1, IMAGES)):
            where = None if i % 2 else "label = 'a'"
            assert_same(whole, shards, queries[i], k=1 if where is None else 5, shortlist=shortlist, where=where)

    @pytest.mark.parametrize("settings", SETTINGS, ids=str)
    def test_every_matcher(self, made: Any, queries: FeatureMaps, settings: dict[str, Any]) -> None:
        whole, shards = (each.with_matcher(**settings) for each in made("sketches"))
        for shortlist in (20, "all", "proven"):
            assert_same(whole, shards, queries[0], k=6, shortlist=shortlist)

    def test_weights_of_parts(self, made: Any) -> None:
        whole, shards = made(weighted=True)
        query = some_maps(3, 1, weighted=True)
        for shortlist in SHORTLISTS:
            assert_same(whole, shards, query[1], k=7, shortlist=shortlist)

    def test_pooled_vectors_of_their_own(self, tmp_path: Path) -> None:
        maps = some_maps(own_pooled=True)
        pooled = maps.pooled.clone()
        pooled[[10, 11, 40]] = 0
        whole = index_of(tmp_path / "whole.diml", maps.replace(pooled=pooled))
        shards = Index.open(divided(whole, 2))
        for shortlist in (*SHORTLISTS, IMAGES - 2):
            assert_same(whole, shards, maps[3], k=5, shortlist=shortlist)

    def test_images_without_direction_come_last_by_id(self, made: Any, queries: FeatureMaps) -> None:
        whole, shards = made()
        for shortlist in (0, IMAGES - 1, IMAGES):
            assert_same(whole, shards, queries[0], k=IMAGES, shortlist=shortlist)
            assert_same(whole, shards, queries[3], k=IMAGES - 1, shortlist=shortlist)

    @pytest.mark.parametrize("where", ["label = 'a'", "side = 'left' AND width > 100", "path = '0000.png'", "1 = 0"])
    def test_conditions(self, made: Any, queries: FeatureMaps, where: str) -> None:
        whole, shards = made("sketches")
        for shortlist in (*SHORTLISTS, "proven"):
            assert_same(whole, shards, queries[1], k=4, shortlist=shortlist, where=where)

    def test_parts_of_a_query(self, made: Any) -> None:
        whole, shards = made("sketches")
        stored = whole.maps("0000.png")
        for shortlist in (10, "all", "proven"):
            found = assert_same(whole, shards, stored, k=5, shortlist=shortlist, regions=[(0, 0, 25, 15)])
            assert found.part is not None

    def test_copies_in_two_shards_are_ties_by_id(self, made: Any, queries: FeatureMaps) -> None:
        whole, shards = made()
        for shortlist in (0, 2, "all"):
            found = assert_same(whole, shards, queries[2], k=2, shortlist=shortlist)
            assert found[0].similarity == found[1].similarity
            assert found[0].margin == 0
            assert found[0].id < found[1].id
            assert found[0].shard != found[1].shard
            assert found[0].pooled_rank == found[1].pooled_rank == 1

    @pytest.mark.parametrize("at_once", [0, 1024])
    def test_the_end_of_a_shortlist_among_copies(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
    ) -> None:
        monkeypatch.setattr(coarse, "AT_ONCE", at_once)
        maps = some_maps(4).local[[0, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 3]]
        whole = index_of(tmp_path / "whole.diml", FeatureMaps(maps, GRID))
        # Plans are not what is tested here, so that they need not be solved to the end.
        shards = Index.open(divided(whole, 3)).with_matcher(max_iterations=1)
        whole = whole.with_matcher(max_iterations=1)
        assert_same(whole, shards, FeatureMaps(maps[[7]], GRID), k=12, shortlist=0)
        for limit in range(1, 12):
            assert_same(whole, shards, FeatureMaps(maps[[1]], GRID), k=1, shortlist=limit)
            assert_same(whole, shards, FeatureMaps(maps[[1]], GRID), k=limit, shortlist=0)

    def test_proven_reads_no_more_maps(self, made: Any, queries: FeatureMaps) -> None:
        _, shards = made("sketches")
        found = shards.search(queries[0], k=2, shortlist="proven")
        assert found.maps_read is not None
        assert found.maps_read < IMAGES

    @pytest.mark.parametrize("shortlist", [0, 20, "all"])
    def test_many_queries(self, made: Any, queries: FeatureMaps, shortlist: Any) -> None:
        whole, shards = made()
        for where in (None, "label = 'b'"):
            asked: dict[str, Any] = {"k": 4, "shortlist": shortlist, "where": where}
            expected, found = whole.search_many(queries, **asked), shards.search_many(queries, **asked)
            assert documents(found) == documents(expected)
            assert {hit.shard for each in found for hit in each} <= {*shards.shards}

    def test_an_empty_shard(self, tmp_path: Path, queries: FeatureMaps) -> None:
        whole = index_of(tmp_path / "whole.diml", some_maps(), sketches=True)
        paths = divided(whole, 2)
        empty = paths[0].with_name("empty.diml")
        shutil.copytree(paths[0], empty)
        Index.open(empty).remove(Index.open(empty).paths)
        shards = Index.open([paths[0], empty, paths[1]])
        for shortlist in (*SHORTLISTS, "proven"):
            assert_same(whole, shards, queries[0], k=4, shortlist=shortlist)
        assert shards.stats().shards == {"part-0": IMAGES // 2, "empty": 0, "part-1": IMAGES // 2}
        alone = Index.open([empty, empty.with_name("part-0.diml")])
        Index.open(paths[0]).remove(Index.open(paths[0]).paths)
        assert len(alone.search(queries[0])) == len(alone) == 0

    def test_more_images_than_one_exact_search_takes(self, tmp_path: Path, queries: FeatureMaps) -> None:
        """Each shard is searched exactly, as it has no more than its limit; all of them together have more."""
        whole = index_of(tmp_path / "whole.diml", some_maps())
        paths = divided(whole, 3)
        for path in paths:
            replaced = Manifest.read(path)
            Manifest(**{**vars(replaced), "exact_limit": IMAGES // 3}).write(path)
        shards = Index.open(paths)
        for i in range(len(queries)):
            assert_same(whole, shards, queries[i], k=5, shortlist=9)
        assert documents(shards.search_many(queries)) == documents(whole.search_many(queries))

    @pytest.mark.slow
    def test_graphs_find_the_nearest_of_each_shard(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        maps = some_maps(600)
        # Plans are not what is tested here, so that they need not be solved to the end.
        whole = index_of(tmp_path / "whole.diml", maps).with_matcher(max_iterations=1)
        paths = divided(whole, 2)
        for path in paths:
            Manifest(**{**vars(Manifest.read(path)), "exact_limit": 100}).write(path)
            opened = Index.open(path)
            opened._state.for_writing().finish(0)
        shards = Index.open(paths).with_matcher(max_iterations=1)
        assert shards.stats().graph
        expected = [whole.search(maps[i], k=10, shortlist=0) for i in range(20)]
        for at_once in (0, 1024):
            monkeypatch.setattr(coarse, "AT_ONCE", at_once)
            found = [shards.search(maps[i], k=10, shortlist=0) for i in range(20)]
            both = sum(len({hit.id for hit in a} & {hit.id for hit in b}) for a, b in zip(found, expected, strict=True))
            assert both >= 0.99 * 200


class TestPairs:
    @pytest.mark.parametrize("settings", [{}, {"transport": "one-sided"}, {"weight": 1.0}], ids=str)
    def test_pairs_across_shards(self, made: Any, settings: dict[str, Any]) -> None:
        whole, shards = (each.with_matcher(**settings) for each in made())
        found, expected = list(shards.pairs(0.5)), list(whole.pairs(0.5))
        assert found == expected
        assert len(found) > 10
        assert found[0].match.similarity.item() == pytest.approx(found[0].similarity, abs=1e-9)
        assert shards.pairs(0.5).estimate().images == IMAGES
        assert shards.pairs().thumbnails([found[0].a]) == [b""]


class TestContents:
    def test_what_is_stored(self, made: Any) -> None:
        whole, shards = made("int8", 3)
        assert list(shards) == list(whole)
        assert (shards.paths, shards.labels, len(shards)) == (whole.paths, whole.labels, len(whole))
        assert shards.columns == whole.columns == ("side",)
        for where in (None, "label = 'a'"):
            assert shards.count(where) == whole.count(where)
            assert shards.entries(where, 2, 5) == whole.entries(where, 2, 5)
        names = [whole.paths[4], whole.entry(whole.paths[2]).id, whole.paths[0]]
        maps, others = shards.maps(names), whole.maps(names)
        assert torch.equal(maps.local, others.local)
        assert maps.geometry is not None
        assert others.geometry is not None
        assert torch.equal(maps.geometry.size, others.geometry.size)
        assert shards.entry(names[1]) == whole.entry(names[1])
        assert shards.thumbnail(names[1]) == b""
        assert names[0] in shards
        assert "none" not in shards
        assert shards.missing(["none", names[0]]) == ["none"]
        assert shards.value_counts("label", 2) == whole.value_counts("label", 2)

    def test_stats_are_of_all(self, made: Any) -> None:
        whole, shards = made("int8", 3)
        found, expected = shards.stats(), whole.stats()
        assert (found.images, found.labels, found.codes) == (expected.images, expected.labels, expected.codes)
        assert found.shards == {"part-0": 30, "part-1": 30, "part-2": 30}
        assert found.bytes == sum(Index.open(path).stats().bytes for path in shards.shards.values())
        assert found.path == ", ".join(map(str, shards.shards.values()))
        assert "shards" not in expected.to_dict()
        assert found.row_bytes["map"] == expected.row_bytes["map"]

    def test_their_names(self, made: Any) -> None:
        whole, shards = made("int8", 3)
        assert list(shards.shards) == ["part-0", "part-1", "part-2"]
        assert whole.shards == {}
        assert repr(shards) == f"Index('{shards.stats().path}', images={IMAGES})"
        with pytest.raises(UsageError, match="no one path"):
            _ = shards.path

    def test_a_result_keeps_them_on_its_way(self, made: Any, queries: FeatureMaps) -> None:
        _, shards = made()
        found = shards.search(queries[0], k=4)
        sent = unpack_result(pack_result(found, found.to_dict()))
        assert [hit.shard for hit in sent] == [hit.shard for hit in found]
        assert sent.hits == found.hits

    def test_one_in_a_list_is_that_index(self, made: Any) -> None:
        whole, _ = made()
        opened = Index.open([whole.path])
        assert opened.path == whole.path
        assert opened.shards == {}


class TestChanges:
    def test_what_others_commit_is_found(self, tmp_path: Path, queries: FeatureMaps) -> None:
        whole = index_of(tmp_path / "whole.diml", some_maps())
        paths = divided(whole, 2)
        shards = Index.open(paths)
        assert_same(whole, shards, queries[0], k=3)
        new = {"paths": ["new-0.png", "new-1.png"], "sizes": [(9, 9)] * 2, "labels": ["n"] * 2}
        whole.add_maps(queries[:2], **new)
        other = Index.open(paths[1])
        other.add_maps(queries[:2], **new)
        found = assert_same(whole, shards, queries[0], k=3)
        assert (found[0].path, found[0].shard) == ("new-0.png", "part-1")
        assert len(shards) == IMAGES + 2
        other.remove("new-0.png")
        whole.remove("new-0.png")
        assert_same(whole, shards, queries[0], k=3)

    def test_a_shard_of_another_model_in_its_place(self, made: Any, tmp_path: Path) -> None:
        paths = [shutil.copytree(path, tmp_path / path.name) for path in made()[1].shards.values()]
        shards = Index.open(paths)
        shutil.rmtree(paths[1])
        with pytest.raises(StoreError, match=r"part-1.diml was moved or removed while it was open"):
            shards.stats()
        with pytest.raises(StoreError, match=r"part-1.diml was moved or removed while it was open"):
            shards.search(some_maps(1), shortlist=5)

    def test_a_damaged_file_is_named_with_its_shard(self, made: Any, tmp_path: Path) -> None:
        paths = [shutil.copytree(path, tmp_path / path.name) for path in made()[1].shards.values()]
        shards = Index.open(paths)
        for file in (paths[2] / "images.lance" / "data").glob("*"):
            file.unlink()
        for shortlist in (5, "all"):
            with pytest.raises(StoreError, match=r"part-2.diml was copied in part"):
                shards.search(some_maps(1), shortlist=shortlist)

    def test_nothing_is_written(self, made: Any, queries: FeatureMaps) -> None:
        _, shards = made()
        changes: list[Callable[[], object]] = [
            lambda: shards.add("/nowhere"),
            lambda: shards.add_maps(queries, paths=["a", "b", "c", "d"], sizes=[(9, 9)] * 4),
            lambda: shards.remove(shards.paths[0]),
        ]
        for change in changes:
            with pytest.raises(UsageError, match="are open as one index, which is only read; open the one to change"):
                change()
        assert len(shards) == IMAGES


class TestOneImageInTwo:
    @pytest.fixture
    def paths(self, tmp_path: Path) -> list[Path]:
        whole = index_of(tmp_path / "whole.diml", some_maps())
        paths = divided(whole, 2)
        first = paths_of(IMAGES)[0]
        Index.open(paths[1]).add_maps(some_maps()[0], paths=[first], sizes=[(60, 40)])
        return paths

    def test_it_is_refused_on_opening(self, paths: list[Path]) -> None:
        with pytest.raises(StoreError) as refused:
            Index.open(paths)
        assert str(refused.value) == (
            f"0000.png is in {paths[0]} and in {paths[1]}; an image is known by its path, so remove it from one of them"
        )

    @pytest.mark.parametrize("shortlist", [0, 5, "all"])
    def test_many_images_are_checked_where_both_are_read(
        self, paths: list[Path], monkeypatch: pytest.MonkeyPatch, shortlist: Any
    ) -> None:
        monkeypatch.setattr(sharded_state, "CHECKED", IMAGES - 1)
        shards = Index.open(paths)
        maps = some_maps()
        asked: list[Callable[[], object]] = [
            lambda: shards.search(maps[0], k=3, shortlist=shortlist),
            lambda: shards.search_many(maps[:2], k=3, shortlist=shortlist),
            shards.stats,
            lambda: shards.maps("0000.png"),
            lambda: shards.entry("0000.png"),
            lambda: shards.paths,
            lambda: list(shards.pairs()),
        ]
        for ask in asked:
            with pytest.raises(StoreError, match=r"0000.png is in .* and in .*; an image is known by its path"):
                ask()

    def test_removed_from_one_it_is_well(self, paths: list[Path]) -> None:
        Index.open(paths[0]).remove("0000.png")
        assert len(Index.open(paths)) == IMAGES


class TestAlike:
    def refused(self, *paths: Path) -> str:
        with pytest.raises((StoreError, UsageError)) as refused:
            Index.open(paths)
        return str(refused.value)

    @pytest.mark.parametrize(
        ("settings", "difference"),
        [
            ({"codes": "int8"}, "their codes differ, float16 and int8"),
            ({"sketches": True}, "their sketches differ, no and yes"),
        ],
    )
    def test_other_rows(self, tmp_path: Path, settings: dict[str, Any], difference: str) -> None:
        a = index_of(tmp_path / "a.diml", some_maps(4))
        b = index_of(tmp_path / "b.diml", some_maps(4), **settings)
        said = self.refused(a.path, b.path)
        assert said.startswith(f"{a.path} and {b.path} cannot be opened as one index: {difference}; ")

    def test_other_maps(self, tmp_path: Path) -> None:
        a = index_of(tmp_path / "a.diml", some_maps(4))
        other = Index.create(tmp_path / "columns.diml")
        other.add_maps(some_maps(4), paths=list("wxyz"), sizes=[(9, 9)] * 4)
        assert "their columns differ, side and none" in self.refused(a.path, other.path)
        b = index_of(tmp_path / "dim.diml", FeatureMaps(torch.ones(4, 6, 3), GRID))
        assert "their dim differ, 16 and 3" in self.refused(a.path, b.path)
        c = index_of(tmp_path / "grid.diml", FeatureMaps(torch.ones(4, 4, DIM), (2, 2)))
        assert "differ" in self.refused(a.path, c.path)
        d = index_of(tmp_path / "weights.diml", some_maps(4, weighted=True))
        assert "their weights of parts differ, uniform and given" in self.refused(a.path, d.path)
        e = index_of(tmp_path / "pooled.diml", some_maps(4, own_pooled=True))
        assert "their pooled vectors differ, means of the parts and of their own" in self.refused(a.path, e.path)

    def test_other_models(self, tmp_path: Path, index: Index, photos: Path, backbone_class: Any) -> None:
        torch.manual_seed(1)
        backbone = backbone_class()
        torch.nn.init.normal_(backbone.weight)
        model = StructuralModel.wrap(backbone, index.model.encoder.preprocessing, name="other")
        other = Index.create(tmp_path / "other.diml", model)
        other.add(photos)
        said = self.refused(index.path, other.path)
        assert "their model differ, tiny (" in said
        assert f"--into {other.path} --model {index.path}" in said
        features = index_of(tmp_path / "features.diml", some_maps(4))
        assert "their model differ" in self.refused(index.path, features.path)

    def test_other_matchers(self, tmp_path: Path, index: Index, model: StructuralModel, photos: Path) -> None:
        other = Index.create(tmp_path / "other.diml", model.with_matcher(weight=0.9))
        other.add(photos, labels_from="folder")
        assert "their settings weight of the matcher differ, 0.5 and 0.9; " in self.refused(index.path, other.path)

    def test_no_index_or_one_twice(self, made: Any, tmp_path: Path) -> None:
        whole, _ = made()
        assert self.refused() == "expected at least one index to open, got an empty list"
        link = tmp_path / "link.diml"
        link.symlink_to(whole.path)
        assert self.refused(whole.path, link) == f"{link} is listed twice; name each index once"
        assert "does not exist; make an index with" in self.refused(whole.path, tmp_path / "none.diml")

    def test_names_tell_indices_apart(self, tmp_path: Path) -> None:
        a = index_of(tmp_path / "a" / "photos.diml", some_maps(4))
        b = Index.create(tmp_path / "b" / "photos.diml", columns=["side"])
        b.add_maps(some_maps(4, 1), paths=list("wxyz"), columns={"side": list("1234")}, sizes=[(9, 9)] * 4)
        shards = Index.open([a.path, b.path])
        assert {hit.shard for hit in shards.search(some_maps(1), k=8)} == {"a/photos", "b/photos"}


def test_centroids_of_their_own(tmp_path: Path) -> None:
    """Each image has the numbers that it has in its own index; codes with other centroids cannot be in one index."""
    maps = some_maps(100)  # half of them have parts enough to fit centroids on
    opened = []
    for name, part in (("a", range(50)), ("b", range(50, 100))):
        index = Index.create(tmp_path / f"{name}.diml", codes="pq4")
        index.add_maps(maps[list(part)], paths=[f"{at}.png" for at in part], sizes=[(60, 40)] * 50)
        opened.append(index)
    shards = Index.open([index.path for index in opened])
    assert isinstance(shards._state.require().store, Shards)
    query = some_maps(1, 5)
    for shortlist in (0, 75, "all"):
        alone = [hit for index in opened for hit in index.search(query, k=50, shortlist=shortlist)]
        known = {hit.id: (hit.similarity, hit.structural, hit.pooled, hit.concentration) for hit in alone}
        found = shards.search(query, k=100, shortlist=shortlist)
        numbers = [(hit.similarity, hit.structural, hit.pooled, hit.concentration) for hit in found]
        assert numbers == [known[hit.id] for hit in found]
        ranked_by = [hit.pooled if shortlist == 0 else hit.similarity for hit in found]
        assert ranked_by == sorted(ranked_by, reverse=True)
        assert len(found) == 100
    assert torch.equal(shards.maps(["3.png", "75.png"]).local[0], opened[0].maps("3.png").local[0])
    assert torch.equal(shards.maps(["3.png", "75.png"]).local[1], opened[1].maps("75.png").local[0])
    for shortlist in (0, 20, "all"):  # of which one index has none
        (hit,) = shards.search(query, shortlist=shortlist, where="path = '75.png'")
        assert hit.similarity == known[hit.id][0]
        assert not shards.search(query, shortlist=shortlist, where="path = 'none'").hits
    again = shards.search_many(FeatureMaps.cat([query, some_maps(1, 6)]), k=5)
    assert documents(again[:1]) == documents([shards.search(query, k=5)])


def test_images_of_files(index: Index, photos: Path, tmp_path: Path, make_folder: Any) -> None:
    """With a model: a second index is made with that of the first."""
    more = make_folder(9, "more", "m")
    index_folder(photos, tmp_path / "whole.diml", model=index.model)
    paths = [index.path, tmp_path / "more.diml"]
    moved = tmp_path / "all"
    for folder in (photos, more):
        shutil.copytree(folder, moved, dirs_exist_ok=True)
    index_folder(more, paths[1], model=index.model, labels_from="folder")
    whole, _ = index_folder(moved, tmp_path / "all.diml", model=index.model, labels_from="folder")
    backbone = index.model.encoder.backbone
    shards = Index.open(paths, backbone=backbone)
    assert shards.model.fingerprint == index.model.fingerprint
    image = more / "a" / "m0000.png"
    found = shards.search(image, k=21)
    assert documents([found]) == documents([whole.search(image, k=21)])
    assert [hit.thumbnail for hit in found] == [hit.thumbnail for hit in whole.search(image, k=21)]
    assert found[0].shard == "more"
    assert shards.collection is None
    assert shards.collection_of("a/m0000.png") == more
    assert shards.collection_of("a/0000.png") == photos == index.collection_of("a/0000.png")
    with pytest.raises(UsageError, match=r"none.png is not in .*photos.diml, .*more.diml; give an id"):
        shards.collection_of("none.png")
    assert [type(each).__name__ for each in shards.search_stream([image, "none.png"])] == [
        "SearchResult",
        "FailedQuery",
    ]
    assert Index.open(paths, model=index.model).search(image, k=3).hits == found.hits[:3]
