"""What makes a hit shaky: its margin, its place in the pooled ranking, how concentrated its plan is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from torch import nn

from diml.embedding import Preprocessing
from diml.matching import concentration
from diml.model import StructuralModel
from diml.search import Index, exhaustive


@pytest.fixture
def photos(make_folder: Callable[..., Path]) -> Path:
    return make_folder(12)


@pytest.fixture
def index(tmp_path: Path, model: StructuralModel, photos: Path) -> Index:
    made = Index.create(tmp_path / "photos.diml", model)
    made.add(photos, labels_from="folder")
    return made


@pytest.mark.parametrize("shortlist", [12, 100, "all"])
def test_margin_is_the_lead_over_the_next_shown_or_not(index: Index, photos: Path, shortlist: int | str) -> None:
    query = photos / "a" / "0000.png"
    everything = [hit.similarity for hit in index.search(query, k=12, shortlist=shortlist)]  # type: ignore[arg-type]
    hits = index.search(query, k=4, shortlist=shortlist).hits  # type: ignore[arg-type]
    assert [hit.similarity for hit in hits] == pytest.approx(everything[:4], abs=1e-12)
    expected = [one - other for one, other in pairwise(everything[:5])]
    assert [hit.margin for hit in hits] == pytest.approx(expected, abs=1e-12)
    assert all(hit.margin is not None and hit.margin >= 0 for hit in hits)


def test_margin_is_unknown_where_nothing_follows(index: Index, photos: Path) -> None:
    query = photos / "a" / "0000.png"
    for k, shortlist in ((12, 100), (50, "all"), (5, 3), (5, 5), (12, 0)):
        hits = index.search(query, k=k, shortlist=shortlist).hits  # type: ignore[arg-type]
        assert hits[-1].margin is None, (k, shortlist)
        assert all(hit.margin is not None for hit in hits[:-1])


def test_the_pooled_ranking_has_margins_of_its_own(index: Index, photos: Path) -> None:
    query = photos / "a" / "0000.png"
    pooled = [hit.pooled for hit in index.search(query, k=12, shortlist=0)]
    hits = index.search(query, k=3, shortlist=0).hits
    assert [hit.margin for hit in hits] == pytest.approx([pooled[i] - pooled[i + 1] for i in range(3)], abs=1e-12)
    assert [hit.pooled_rank for hit in hits] == [1, 2, 3]


@pytest.mark.parametrize("batch", [5, 4096])
def test_pooled_rank_is_the_place_in_the_coarse_ranking(
    index: Index, photos: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhaustive, "BATCH", batch)
    query = photos / "a" / "0000.png"
    place = {hit.id: hit.rank for hit in index.search(query, k=12, shortlist=0)}
    for shortlist in (12, "all"):
        hits = index.search(query, k=6, shortlist=shortlist).hits  # type: ignore[arg-type]
        assert {hit.id: hit.pooled_rank for hit in hits} == {hit.id: place[hit.id] for hit in hits}
    assert any(hit.pooled_rank != hit.rank for hit in index.search(query, k=12))


def test_pooled_rank_counts_the_shortlist_only(index: Index, photos: Path) -> None:
    query = photos / "a" / "0000.png"
    hits = index.search(query, k=12, where="label = 'b'")
    assert sorted(hit.pooled_rank for hit in hits) == list(range(1, len(hits) + 1))


def test_images_alike_share_a_pooled_rank(
    tmp_path: Path, model: StructuralModel, write_image: Callable[[Path, str], None]
) -> None:
    for name, seed in (("a", "one"), ("b", "one"), ("c", "one"), ("d", "other")):
        write_image(tmp_path / "twins" / f"{name}.png", seed)
    index = Index.create(tmp_path / "twins.diml", model)
    index.add(tmp_path / "twins")
    for shortlist in (4, "all"):
        hits = index.search(tmp_path / "twins" / "b.png", k=4, shortlist=shortlist).hits  # type: ignore[arg-type]
        assert [hit.pooled_rank for hit in hits] == [1, 1, 1, 4]
        assert [hit.margin for hit in hits[:2]] == [0, 0]


def test_concentration_is_that_of_the_plan(index: Index, photos: Path) -> None:
    for hit in index.search(photos / "a" / "0000.png", k=5):
        assert hit.concentration == pytest.approx(concentration(hit.match.plan).item(), abs=1e-9)
        assert 0 <= hit.concentration <= 1


def test_the_image_itself_is_surest(index: Index, photos: Path) -> None:
    hits = index.search(photos / "a" / "0000.png", k=12).hits
    assert hits[0].concentration == max(hit.concentration for hit in hits)


def test_a_model_with_a_pooled_vector_of_its_own(tmp_path: Path, photos: Path) -> None:
    class Pooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Conv2d(3, 6, 8, 8)

        def forward(self, pixels):  # type: ignore[no-untyped-def]
            features = self.project(pixels)
            return features, features.amax(dim=(2, 3))

    index = Index.create(tmp_path / "own.diml", StructuralModel.wrap(Pooling(), Preprocessing(size=(32, 32))), dim=0)
    index.add(photos)
    query = photos / "a" / "0000.png"
    place = {hit.id: hit.rank for hit in index.search(query, k=12, shortlist=0)}
    for shortlist in (12, "all"):
        hits = index.search(query, k=4, shortlist=shortlist).hits  # type: ignore[arg-type]
        assert [hit.pooled_rank for hit in hits] == [place[hit.id] for hit in hits]
    assert len(index.search(query, k=4, shortlist="all", regions=[((0.0, 0.0, 20.0, 20.0), 1.0)])) == 4
