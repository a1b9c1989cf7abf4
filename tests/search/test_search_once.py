"""One query is decoded, embedded and solved once, whatever is asked of its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from diml.errors import ImageError, UsageError
from diml.matching import Matcher, matcher
from diml.model import StructuralModel, sources
from diml.search import Index, ranking

Make = Callable[..., Path]


@pytest.fixture
def photos(make_folder: Make) -> Path:
    return make_folder(12)


@pytest.fixture
def index(tmp_path: Path, model: StructuralModel, photos: Path) -> Index:
    made = Index.create(tmp_path / "photos.diml", model)
    made.add(photos, labels_from="folder")
    return made


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The files that were decoded."""
    decoded: list[Any] = []
    original = sources.open_image

    def counting(file: Any, *how: Any, **more: Any) -> Image.Image:
        decoded.append(file)
        return original(file, *how, **more)

    monkeypatch.setattr(sources, "open_image", counting)
    return decoded


def test_a_hit_keeps_its_match(index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "CHUNK", 3)
    query = photos / "a" / "0000.png"
    solved = 0
    original = Matcher.match

    def counting(self: Matcher, maps_a: Any, maps_b: Any) -> Any:
        nonlocal solved
        solved += len(maps_a)
        return original(self, maps_a, maps_b)

    monkeypatch.setattr(matcher.Matcher, "match", counting)
    found = index.search(query, k=5)
    assert solved == 6  # and the image after the last hit, for its margin
    for hit in found:
        assert len(hit.match) == 1
        assert hit.match.similarity.item() == pytest.approx(hit.similarity, abs=1e-12)
        assert hit.match.contributions.sum().item() == pytest.approx(hit.similarity, abs=1e-10)
        fresh = index.model.explain(found.query.maps, index.maps(hit.path))
        torch.testing.assert_close(
            hit.match.plan, original(index.model.matcher.tight(), hit.match.maps_a, hit.match.maps_b).plan
        )
        assert fresh.similarity.item() == pytest.approx(hit.similarity, abs=1e-9)
    assert found[0].match.maps_a is found[1].match.maps_a  # held once, not by each hit


def test_the_query_is_decoded_once_and_kept(index: Index, photos: Path, opened: list[Any]) -> None:
    query = photos / "a" / "0000.png"
    found = index.search(query, k=3, regions=[(0, 0, 20, 25)])
    assert opened == [query]
    assert found.query.image is not None
    assert found.query.image.size == (40, 50)
    assert found.query.source == query
    assert found.part is not None
    assert found.part.chosen == found[0].match.chosen == [0, 1, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("shortlist", [0, 5, "all"])
def test_many_are_searched_as_one_by_one(index: Index, photos: Path, shortlist: Any, backbone: Any) -> None:
    queries = [photos / path for path in index.paths[:7]]
    before = backbone.images
    together = index.search_many(queries, k=4, shortlist=shortlist, where="label <> 'c'", batch_size=3)
    assert backbone.images - before == 7
    assert len(together) == 7
    for query, found in zip(queries, together, strict=True):
        alone = index.search(query, k=4, shortlist=shortlist, where="label <> 'c'")
        assert [hit.id for hit in found] == [hit.id for hit in alone]
        assert [hit.similarity for hit in found] == pytest.approx([hit.similarity for hit in alone], abs=1e-6)
        assert (found.k, found.shortlist, found.where) == (alone.k, alone.shortlist, alone.where)
        assert (found.query.source, found.query.image) == (query, None)


@pytest.mark.slow
def test_many_of_other_kinds(index: Index, photos: Path) -> None:
    queries = [photos / path for path in index.paths[:3]]
    expected = [[hit.id for hit in index.search(query, k=2)] for query in queries]
    kinds = (index.model.encode(queries), [Image.open(query) for query in queries], iter(queries))
    for images in kinds:
        assert [[hit.id for hit in found] for found in index.search_many(images, k=2)] == expected
    assert len(index.search_many(queries[0], k=2)) == 1
    assert index.search_many([]) == []


def test_many_with_one_that_cannot_be_read(index: Index, photos: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png"):
        index.search_many([photos / "a" / "0000.png", photos / "none.png"])
    with pytest.raises(UsageError, match="expected k >= 1"):
        index.search_many([], k=0)


def test_many_are_drawn_with_their_pictures(index: Index, photos: Path, tmp_path: Path, opened: list[Any]) -> None:
    from diml.explanation import draw_hits

    found = index.search_many([photos / "a" / "0000.png"], k=2)[0]
    opened.clear()
    draw_hits(found, tmp_path / "hits.html")
    assert "0000.png" in (tmp_path / "hits.html").read_text()
    assert "no image file" not in (tmp_path / "hits.html").read_text()
