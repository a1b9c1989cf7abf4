"""Searching an index: ranking, shortlists, hits and their document."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from diml.data.collection import open_folder
from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel
from diml.search import Index
from diml.search.items import image_id

Make = Callable[..., Path]


class TestSearch:
    def test_scores_are_those_of_explain(self, index: Index, photos: Path) -> None:
        """The law of this room: a hit's numbers and its explanation are the same."""
        query = index.model.encode(photos / "b" / "0004.png")
        stored = {entry.id: index.maps(entry.id) for entry in index}
        result = index.search(query, k=7, shortlist=9)
        assert [hit.rank for hit in result] == list(range(1, 8))
        for hit in result:
            match = index.model.explain(query, stored[hit.id])
            for name in ("similarity", "structural", "pooled"):
                shown = getattr(hit, name)
                assert shown == pytest.approx(getattr(match, name).item(), abs=1e-12)
                assert shown == pytest.approx(getattr(hit.match, name).item(), abs=1e-12)
            assert hit.match.contributions.sum().item() == pytest.approx(hit.similarity, abs=1e-10)
            assert len(hit.match.parts(3)) == 3
        scores = [hit.similarity for hit in result]
        assert scores == sorted(scores, reverse=True)

    def test_full_shortlist_is_exhaustive_matching(self, index: Index, photos: Path) -> None:
        query = index.model.encode(photos / "b" / "0004.png")
        every = {
            id: index.model.explain(query, index.maps(id)).similarity.item()
            for id in sorted(entry.id for entry in index)
        }
        hits = index.search(query, k=12, shortlist=12).hits
        assert [hit.id for hit in hits] == sorted(every, key=lambda id: (-every[id], id))

    @pytest.mark.parametrize("k", [1, 5, 12])
    def test_all_images_are_matched_batch_by_batch(
        self, index: Index, photos: Path, k: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        query = photos / "a" / "0000.png"
        wanted = index.search(query, k=k, shortlist=12)
        monkeypatch.setattr("diml.search.exhaustive.BATCH", 5)
        found = index.search(query, k=k, shortlist="all")
        assert [(hit.id, hit.similarity) for hit in found] == [(hit.id, hit.similarity) for hit in wanted]
        assert found.shortlist == 12
        some = index.search(query, k=k, shortlist="all", where="label = 'a'")
        assert {hit.label for hit in some} == {"a"}

    def test_shortlist_only_permutes_the_pooled_ranking(self, index: Index, photos: Path) -> None:
        query = photos / "b" / "0004.png"
        coarse = index.search(query, k=6, shortlist=0)
        assert coarse.shortlist == 0
        assert [hit.pooled for hit in coarse] == sorted((hit.pooled for hit in coarse), reverse=True)
        fine = index.search(query, k=6, shortlist=6)
        assert {hit.id for hit in fine} == {hit.id for hit in coarse}
        assert fine.shortlist == 6

    def test_agrees_with_explaining_the_file(self, index: Index, photos: Path) -> None:
        for hit in index.search(photos / "a" / "0000.png", k=3):
            a, b = index.model.encode(photos / "a" / "0000.png"), index.model.encode(photos / hit.path)
            assert hit.similarity == pytest.approx(index.model.explain(a, b).similarity.item(), abs=2e-3)

    @pytest.mark.parametrize(
        ("k", "shortlist", "hits", "effective"), [(1, 5, 1, 5), (5, 1, 5, 5), (99, 3, 12, 12), (3, 99, 3, 12)]
    )
    def test_effective_shortlist(
        self, index: Index, photos: Path, k: int, shortlist: int, hits: int, effective: int
    ) -> None:
        result = index.search(photos / "a" / "0000.png", k=k, shortlist=shortlist)
        assert (len(result), result.k, result.shortlist) == (hits, k, effective)
        assert len({hit.id for hit in result}) == hits

    def test_hit_carries_what_is_stored(self, index: Index, photos: Path) -> None:
        hit = index.search(photos / "a" / "0000.png", k=1)[0]
        assert (hit.path, hit.label, hit.size, hit.columns) == ("a/0000.png", "a", (40, 50), {})
        assert hit.id == image_id("a/0000.png")
        assert Image.open(io.BytesIO(hit.thumbnail)).size == (40, 50)
        boxes = hit.match.maps_b.boxes(0)
        assert boxes is not None
        assert boxes[-1].tolist() == [30.0, 37.5, 40.0, 50.0]

    def test_to_dict(self, index: Index, photos: Path) -> None:
        document = index.search(photos / "a" / "0000.png", k=2).to_dict(index="i", query="q")
        assert list(document) == ["index", "query", "query_size", "where", "k", "shortlist", "hits"]
        assert document["query_size"] == [40, 50]
        described = ["rank", "id", "path", "label"]
        numbers = ["similarity", "structural", "pooled", "pooled_rank", "margin", "concentration"]
        assert [list(hit) for hit in document["hits"]] == [[*described, *numbers, "size", "columns"]] * 2

    def test_bad_numbers(self, index: Index, photos: Path) -> None:
        with pytest.raises(UsageError, match="expected k >= 1, got 0"):
            index.search(photos / "a" / "0000.png", k=0)
        with pytest.raises(UsageError, match="expected shortlist >= 0 or 'all', got -1"):
            index.search(photos / "a" / "0000.png", shortlist=-1)

    @pytest.mark.parametrize("where", ["colour = 'x'", "label =", "label", "label = 'a'; DROP TABLE images", "", "'"])
    def test_wrong_where(self, index: Index, photos: Path, where: str) -> None:
        with pytest.raises(UsageError, match=r"cannot be used \(.*columns id, path, label, hash") as caught:
            index.search(photos / "a" / "0000.png", where=where)
        assert "\n" not in str(caught.value)
        assert ".rs" not in str(caught.value)

    def test_where_that_nothing_meets(self, index: Index, photos: Path) -> None:
        result = index.search(photos / "a" / "0000.png", where="label = 'none'")
        assert (result.hits, result.shortlist, result.where) == ([], 0, "label = 'none'")
        assert result.to_dict(index="i", query="q")["where"] == "label = 'none'"

    def test_query_that_does_not_fit(self, index: Index) -> None:
        with pytest.raises(UsageError, match="got grid 2x2"):
            index.search(FeatureMaps(torch.ones(1, 4, 12), (2, 2)))
        with pytest.raises(UsageError, match="dim 5"):
            index.search(FeatureMaps(torch.ones(1, 16, 5), (4, 4)))
        with pytest.raises(UsageError, match="2 images"):
            index.search(FeatureMaps(torch.ones(2, 16, 12), (4, 4)))
        with pytest.raises(UsageError, match="expected a finite feature map"):
            index.search(FeatureMaps(torch.full((1, 16, 12), torch.nan), (4, 4)))

    def test_matcher_of_the_caller(self, index: Index, photos: Path, model: StructuralModel) -> None:
        other = Index.open(index.path, model=model.with_matcher(weight=1.0))
        for hit in other.search(photos / "a" / "0000.png", k=3):
            assert hit.similarity == pytest.approx(hit.structural)

    def test_emptied_index_has_no_hits(self, index: Index, photos: Path) -> None:
        assert index.remove([*open_folder(photos).paths[1:], image_id(open_folder(photos).paths[0])]) == 12
        assert index.search(photos / "a" / "0000.png").hits == []
        assert len(Index.open(index.path, model=index.model)) == 0
        assert index.add(photos).added == 12

    def test_remove_unknown_removes_nothing(self, index: Index) -> None:
        with pytest.raises(UsageError, match=r"nobody\.png is not in"):
            index.remove(["a/0000.png", "nobody.png"])
        assert len(index) == 12
