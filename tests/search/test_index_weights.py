"""Weights of parts in an index: fitted with it, stored beside the maps, and the same in hits and explanations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel
from diml.search import Index, index_folder
from diml.search.schema import stored_name

NAMES = ("norm", "norm2", "rarity", "norm2*rarity", "learned")
FORMATS = Path(__file__).parents[1] / "formats"


def manifest(index: Index) -> dict:
    return json.loads((Path(index.path) / "manifest.json").read_text())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shortlist", [0, 5, "all"])
def test_hits_have_the_numbers_of_an_explanation(
    name: str, shortlist: int | str, tmp_path: Path, model: StructuralModel, photos: Path
) -> None:
    made = Index.create(tmp_path / "i.diml", model.with_weights(name), dim=4)
    made.add(photos)
    index = Index.open(tmp_path / "i.diml", backbone=type(model.encoder.backbone)())
    assert index.model.weights == name
    query = index.model.encode(photos / "a" / "0000.png")
    assert query.weights is not None
    hits = index.search(photos / "a" / "0000.png", k=5, shortlist=shortlist)  # type: ignore[arg-type]
    assert len(hits) == 5
    for hit in hits:
        match = index.model.explain(query, index.maps(hit.path))
        assert hit.similarity == pytest.approx(match.similarity.item(), abs=1e-6)
        assert hit.pooled == pytest.approx(match.pooled.item(), abs=1e-6)
        assert match.contributions.sum().item() == pytest.approx(match.similarity.item(), abs=1e-9)


def test_stored_weights_are_those_of_the_model(tmp_path: Path, model: StructuralModel, photos: Path) -> None:
    index = Index.create(tmp_path / "i.diml", model.with_weights("norm2*rarity"), dim=4)
    index.add(photos)
    assert index.model.weights_fitted_on == "12 of the 12 images of " + str(photos)
    maps = index.maps(index.paths)
    again = index.model.encode([photos / path for path in index.paths])
    torch.testing.assert_close(maps.weights, again.weights, atol=1e-5, rtol=1e-4)
    assert maps.weights.dtype == torch.float32
    assert not model.with_weights("rarity").weights_ready


def test_images_that_are_added_after_reopening_are_weighted_alike(
    tmp_path: Path, model: StructuralModel, make_folder: Callable[..., Path]
) -> None:
    photos, more = make_folder(12), make_folder(5, "more", "x")
    Index.create(tmp_path / "i.diml", model.with_weights("rarity")).add(photos)
    index = Index.open(tmp_path / "i.diml", backbone=type(model.encoder.backbone)())
    assert index.add(more).added == 5
    again = Index.open(tmp_path / "i.diml", model=model.with_weights("rarity"))
    file = more / "a" / "x0000.png"
    expected = again.model.encode(file)
    torch.testing.assert_close(again.maps("a/x0000.png").weights, expected.weights, atol=1e-5, rtol=1e-4)
    assert again.search(file, k=1)[0].path == "a/x0000.png"


@pytest.mark.parametrize("dim", [0, 4, 8])
def test_weights_are_fitted_with_or_without_a_head(
    dim: int, tmp_path: Path, model: StructuralModel, photos: Path
) -> None:
    """Twelve images are too few for a head of dim 8."""
    ready = model.with_weights("rarity").fit_weights(torch.rand(3, 3, 32, 32))
    for name, given in (("new", model.with_weights("rarity")), ("ready", ready)):
        index = Index.create(tmp_path / f"{name}.diml", given, dim=dim)
        index.add(photos)
        kept = name == "ready" and dim != 4
        assert index.model.weights_fitted_on == ("3 images" if kept else f"12 of the 12 images of {photos}")
        assert index.model.encoder.weights.sample.shape[1] == (4 if dim == 4 else 12)
    assert ready.weights_fitted_on == "3 images"


def test_the_manifest_names_weights_only_where_there_are_any(
    tmp_path: Path, model: StructuralModel, photos: Path, index: Index
) -> None:
    plain = manifest(index)
    assert plain["version"] == 1
    assert "weights" not in plain
    assert (index.stats().weights, index.stats().format) == ("uniform", 1)
    weighted = Index.create(tmp_path / "i.diml", model.with_weights("rarity"))
    weighted.add(photos)
    assert (manifest(weighted)["version"], manifest(weighted)["weights"]) == (2, "rarity")
    assert weighted.stats().weights.startswith("rarity, fitted on 12 of the 12 images")
    assert weighted.stats().format == 2
    assert weighted.maps(weighted.paths).weights is not None
    assert index.maps(index.paths).weights is None


def test_another_scheme_is_refused(tmp_path: Path, model: StructuralModel, photos: Path, index: Index) -> None:
    with pytest.raises(StoreError, match=r"expected weights uniform, those of .*, got norm"):
        Index.open(index.path, model=model.with_weights("norm"))
    index_folder(photos, tmp_path / "i.diml", model=model.with_weights("rarity"))
    with pytest.raises(StoreError, match="expected weights rarity"):
        index_folder(photos, tmp_path / "i.diml", model=model)
    _, report = index_folder(photos, tmp_path / "i.diml", model=model.with_weights("rarity"))
    assert report.unchanged == 12


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_index_of_an_earlier_format_has_no_weights_and_takes_none(version: str, tmp_path: Path) -> None:
    shutil.copytree(FORMATS / version / "index.diml", tmp_path / "old.diml")
    index = Index.open(tmp_path / "old.diml", backbone=nn.Sequential(nn.Conv2d(3, 6, 16, 16), nn.ReLU()))
    maps = index.maps(index.paths)
    assert maps.weights is None
    assert index.stats().weights == "uniform"
    weighted = maps.replace(weights=torch.ones(len(maps), maps.parts))
    with pytest.raises(UsageError, match="without weights of parts, as the index has none"):
        index.add_maps(weighted, paths=[f"new/{path}" for path in index.paths])
    index.add_maps(maps, paths=[f"new/{path}" for path in index.paths])
    assert manifest(index)["version"] == 1


def given(n: int = 3, weights: Callable[[int], torch.Tensor] | None = None) -> FeatureMaps:
    local = torch.randn(n, 4, 8, generator=torch.Generator().manual_seed(0))
    return FeatureMaps(local, (2, 2), weights=None if weights is None else weights(n))


def falling(n: int) -> torch.Tensor:
    return torch.tensor([[4.0, 3.0, 2.0, 1.0]]).expand(n, -1)


def test_given_maps_keep_their_weights(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "i.diml")
    maps = given(weights=falling)
    index.add_maps(maps, paths=["a", "b", "c"], sizes=[(8, 8)] * 3)
    again = Index.open(tmp_path / "i.diml")
    torch.testing.assert_close(again.maps(["a", "b", "c"]).weights, maps.weights)
    assert again.stats().weights == "given"
    with pytest.raises(UsageError, match="with weights of parts, as those of the index, got none"):
        again.add_maps(given(), paths=["d", "e", "f"], sizes=[(8, 8)] * 3)
    hit = again.search(maps[0], k=1)[0]
    assert hit.path == "a"
    explained = again.model.explain(maps[0], again.maps("a"))
    assert hit.similarity == pytest.approx(explained.similarity.item(), abs=1e-6)
    # Other weights are other maps.
    turned = maps.replace(weights=maps.weights.flip(1))
    assert again.add_maps(turned, paths=["a", "b", "c"], sizes=[(8, 8)] * 3).changed == 3
    torch.testing.assert_close(again.maps(["a", "b", "c"]).weights, turned.weights)
    assert again.add_maps(turned, paths=["a", "b", "c"], sizes=[(8, 8)] * 3).unchanged == 3


def test_the_name_of_the_column_is_reserved(tmp_path: Path, model: StructuralModel) -> None:
    with pytest.raises(UsageError, match="reserves"):
        Index.create(tmp_path / "i.diml", model, columns=["part_weights"])
    assert stored_name("part_weights") == "part_weights_"


def test_a_chosen_part_counts_by_its_weights(tmp_path: Path, model: StructuralModel, photos: Path) -> None:
    index = Index.create(tmp_path / "i.diml", model.with_weights("norm2"), dim=4)
    index.add(photos)
    query = index.model.query(photos / "a" / "0000.png", regions=[(0, 0, 20, 25)])
    alpha = index.model.encode(photos / "a" / "0000.png").weights[0]
    chosen = query.part.chosen
    expected = alpha[chosen] / alpha[chosen].sum()
    hits = index.search(photos / "a" / "0000.png", k=3, regions=[(0, 0, 20, 25)], shortlist="all")
    for hit in hits:
        plan = hit.match.plan[0]
        torch.testing.assert_close(plan.sum(dim=1)[chosen], expected.double(), atol=1e-6, rtol=1e-5)
        again = query.match(index.maps(hit.path))
        assert hit.similarity == pytest.approx(again.similarity.item(), abs=1e-6)
        assert query.scores(index.maps(hit.path)).item() == pytest.approx(hit.similarity, abs=1e-4)
