"""Part queries of an index against matching every stored map by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diml.embedding import Preprocessing
from diml.errors import ImageError, UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import find_part, region_weights
from diml.model import StructuralModel
from diml.search import Index, exhaustive, ranking
from diml.search.stored_maps import stored_maps

CORNER = [((0.0, 0.0, 20.0, 25.0), 1.0)]


@pytest.fixture
def photos(make_folder: Callable[..., Path]) -> Path:
    return make_folder(12)


@pytest.fixture
def index(tmp_path: Path, model: StructuralModel, photos: Path) -> Index:
    made = Index.create(tmp_path / "photos.diml", model)
    made.add(photos, labels_from="folder")
    return made


def by_hand(index: Index, query: FeatureMaps, regions: list) -> list[tuple[float, str]]:
    """Similarity and path of every stored image, best first."""
    manifest, store = index._state.require()
    rows = store.rows(sorted(store.ids()))
    weights = region_weights(query, regions)
    query = query.to(torch.float64)
    scores = [find_part(query, maps, weights).similarity.item() for maps in each(stored_maps(rows, manifest))]
    return sorted(zip(scores, rows["path"].to_pylist(), strict=True), key=lambda pair: (-pair[0], pair[1]))


def each(maps: FeatureMaps) -> list[FeatureMaps]:
    return [maps[i].to(torch.float64) for i in range(len(maps))]


@pytest.mark.parametrize("shortlist", [12, "all"])
def test_hits_are_those_of_matching_every_map_by_hand(
    index: Index, photos: Path, shortlist: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhaustive, "BATCH", 5)
    monkeypatch.setattr(ranking, "CHUNK", 3)
    query = index.model.encode(photos / "a" / "0000.png")
    regions = [*CORNER, ((10.0, 10.0, 33.0, 44.0), 0.5)]
    found = index.search(query, k=5, shortlist=shortlist, regions=regions)  # type: ignore[arg-type]
    expected = by_hand(index, query, regions)
    assert [hit.path for hit in found] == [path for _, path in expected[:5]]
    assert [hit.similarity for hit in found] == pytest.approx([score for score, _ in expected[:5]], abs=1e-9)
    assert [hit.margin for hit in found] == pytest.approx(
        [expected[i][0] - expected[i + 1][0] for i in range(5)], abs=1e-9
    )
    assert found.shortlist == 12


def test_a_hit_accounts_for_itself(index: Index, photos: Path) -> None:
    for hit in index.search(photos / "a" / "0000.png", k=4, regions=CORNER):
        assert hit.match.weight == 1
        assert hit.match.similarity.item() == pytest.approx(hit.similarity, abs=1e-12)
        assert hit.match.contributions.sum().item() == pytest.approx(hit.similarity, abs=1e-12)
        assert hit.similarity == hit.structural
        # A quarter of the image: four of the sixteen cells.
        assert hit.match.plan[0].sum(dim=1).nonzero().flatten().tolist() == [0, 1, 4, 5]


def test_the_coarse_ranking_goes_by_the_chosen_cells(index: Index, photos: Path) -> None:
    query = photos / "a" / "0000.png"
    coarse = index.search(query, k=12, shortlist=0, regions=CORNER)
    assert [hit.pooled for hit in coarse] == sorted((hit.pooled for hit in coarse), reverse=True)
    assert [hit.pooled_rank for hit in coarse] == list(range(1, 13))
    whole = index.search(query, k=12, shortlist=0)
    assert [hit.path for hit in coarse] != [hit.path for hit in whole]
    short = index.search(query, k=2, shortlist=3, regions=CORNER)
    assert {hit.path for hit in short} <= {hit.path for hit in coarse[:3]}  # type: ignore[misc, attr-defined]


def test_a_part_is_found_where_it_was_moved_to(tmp_path: Path, backbone_class: type) -> None:
    """One drawing in four places on grey; the query knows it in one, the rest of the query shows something else."""
    rng = np.random.default_rng(0)
    motif = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    (tmp_path / "c").mkdir()
    for name in range(6):
        page = np.full((64, 64, 3), 128, np.uint8)
        if name < 4:
            page[16 * name : 16 * name + 16, 48 - 16 * name : 64 - 16 * name] = motif
        else:
            page[:16, :16] = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(page).save(tmp_path / "c" / f"{name}.png")
    query = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    query[32:48, 16:32] = motif
    Image.fromarray(query).save(tmp_path / "query.png")
    pixels = Preprocessing(size=(32, 32), interpolation="nearest")
    index = Index.create(tmp_path / "c.diml", StructuralModel.wrap(backbone_class(), pixels))
    index.add(tmp_path / "c")
    found = index.search(tmp_path / "query.png", k=6, shortlist="all", regions=[((16.0, 32.0, 32.0, 48.0), 1.0)])
    assert {hit.path for hit in list(found)[:4]} == {"0.png", "1.png", "2.png", "3.png"}
    assert found[3].margin is not None
    assert found[3].margin > 0.02
    for hit in list(found)[:4]:
        name = int(hit.path[0])
        assert hit.match.parts(1)[0].b == (name, 3 - name)


def test_a_mask_says_the_same_as_a_region(index: Index, photos: Path, tmp_path: Path) -> None:
    query = photos / "a" / "0000.png"
    mask = np.zeros((50, 40), np.uint8)
    mask[:25, :20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    expected = [(hit.path, hit.similarity) for hit in index.search(query, k=3, regions=CORNER)]
    for given in (mask > 0, torch.from_numpy(mask), Image.fromarray(mask), tmp_path / "mask.png"):
        found = index.search(query, k=3, mask=given)
        assert [(hit.path, hit.similarity) for hit in found] == expected
    part = index.search(query, k=1, mask=tmp_path / "mask.png").part
    assert part is not None
    assert part.mask == str(tmp_path / "mask.png")


def test_the_document_says_the_part(index: Index, photos: Path) -> None:
    query = photos / "a" / "0000.png"
    document = index.search(query, k=1, regions=CORNER).to_dict(index="i", query="q")
    assert list(document) == ["index", "query", "query_size", "part", "where", "k", "shortlist", "hits"]
    cells = [[0.25, 0.25, 0, 0]] * 2 + [[0.0] * 4] * 2
    assert document["part"] == {
        "regions": [{"box": [0.0, 0.0, 20.0, 25.0], "weight": 1.0}],
        "mask": None,
        "cells": cells,
    }
    assert "part" not in index.search(query, k=1).to_dict(index="i", query="q")


def test_where_and_an_empty_index(index: Index, photos: Path, model: StructuralModel, tmp_path: Path) -> None:
    query = photos / "a" / "0000.png"
    for shortlist in (100, "all"):
        found = index.search(query, k=50, shortlist=shortlist, where="label = 'b'", regions=CORNER)  # type: ignore[arg-type]
        assert {hit.label for hit in found} == {"b"}
        assert found[len(found) - 1].margin is None
        assert not index.search(query, shortlist=shortlist, where="label = 'x'", regions=CORNER).hits  # type: ignore[arg-type]
    assert not Index.create(tmp_path / "none.diml", model).search(query, regions=CORNER).hits


def test_what_is_refused(index: Index, photos: Path, tmp_path: Path) -> None:
    query = photos / "a" / "0000.png"
    with pytest.raises(UsageError, match="extends beyond the image of 40x50"):
        index.search(query, regions=[((0.0, 0.0, 50.0, 40.0), 1.0)])
    with pytest.raises(UsageError, match="a mask of 40x50 pixels, the size of the image, got 50x40"):
        index.search(query, mask=np.ones((40, 50)))
    with pytest.raises(UsageError, match="selects nothing"):
        index.search(query, mask=np.zeros((50, 40)))
    with pytest.raises(UsageError, match="one of them"):
        index.search(query, regions=CORNER, mask=np.ones((50, 40)))
    with pytest.raises(ImageError, match="no such file"):
        index.search(query, mask=tmp_path / "none.png")
