"""Features that were computed elsewhere: an index of a model takes them, and one without a model lives on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import Matcher
from diml.model import StructuralModel
from diml.search import Index, index_folder

Make = Callable[..., Path]
NAMES = ["d", "b/x", "a", "it's"]
SIZES = [(64, 48), (30, 90), (64, 48), (10, 10)]


@pytest.fixture
def photos(make_folder: Make) -> Path:
    return make_folder(8)


@pytest.fixture
def maps() -> FeatureMaps:
    return FeatureMaps(torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0)), (2, 3))


@pytest.fixture
def own(tmp_path: Path, maps: FeatureMaps) -> Index:
    index = Index.create(tmp_path / "own.diml")
    index.add_maps(
        maps, paths=NAMES, labels=[1, None, "x", np.str_("y")], columns={"year": [1, 2, None, 4]}, sizes=SIZES
    )
    return index


class TestWithoutAModel:
    def test_what_is_stored(self, own: Index, maps: FeatureMaps) -> None:
        assert [(e.path, e.label, e.columns, e.size) for e in own] == [
            ("a", "x", {"year": None}, (64, 48)),
            ("b/x", None, {"year": "2"}, (30, 90)),
            ("d", "1", {"year": "1"}, (64, 48)),
            ("it's", "y", {"year": "4"}, (10, 10)),
        ]
        stored = own.maps(NAMES)
        assert torch.equal(stored.local, maps.local.half().float())
        assert stored.geometry is not None
        assert stored.geometry.visible.tolist() == [[0, 0, *size] for size in SIZES]
        stats = own.stats().to_dict()
        assert {"images": 4, "model": "none", "head": "none", "grid": [2, 3], "dim": 5, "collection": ""}.items() <= (
            stats.items()
        )

    @pytest.mark.slow
    def test_searching_by_maps(self, own: Index, maps: FeatureMaps) -> None:
        for index in (own, Index.open(own.path)):
            for shortlist in (0, 4, "all"):
                found = index.search(maps[1], k=2, shortlist=shortlist, where="label IS NULL OR label <> 'q'")  # type: ignore[arg-type]
                assert found[0].path == "b/x"
                assert [hit.thumbnail for hit in found] == [b"", b""]
            expected = Matcher().tight().match(maps[[1]].to(torch.float64), own.maps(["b/x"]).to(torch.float64))
            assert index.search(maps[1], k=1)[0].similarity == pytest.approx(expected.similarity.item(), abs=1e-9)
            assert [found[0].path for found in index.search_many(maps, k=1)] == NAMES
        weighed = own.with_matcher(weight=1.0).search(maps[1], k=1)
        assert weighed[0].similarity == weighed[0].structural
        part = FeatureMaps(
            maps.local[:1], (2, 3), None, Geometry(torch.tensor([[30, 20]]), torch.tensor([[0.0, 0, 30, 20]]).double())
        )
        found = own.search(part, k=1, regions=[(0, 0, 10, 10)])
        assert found[0].match.chosen == [0]

    def test_images_are_refused(self, own: Index, photos: Path, tmp_path: Path) -> None:
        image = photos / "a" / "0000.png"
        for index in (own, Index.open(own.path), Index.create(tmp_path / "new.diml", grid=2)):
            with pytest.raises(UsageError, match="has no model to embed images; give it feature maps"):
                index.search(image)
            with pytest.raises(UsageError, match="has no model to embed images"):
                index.search_many([image])
            with pytest.raises(UsageError, match="has no model to embed images"):
                index.add(photos)
        assert not (tmp_path / "new.diml").exists()
        with pytest.raises(UsageError, match="has no model to embed images"):
            index_folder(photos, own.path)
        with pytest.raises(StoreError, match="without a model; leave the model out"):
            Index.open(own.path, model=StructuralModel.from_pretrained("lite0"))

    def test_grid_and_dim_that_were_asked_for(self, tmp_path: Path, maps: FeatureMaps) -> None:
        index = Index.create(tmp_path / "n.diml", grid=(2, 3), dim=7)
        with pytest.raises(UsageError, match=r"expected feature maps of grid 2x3, dim 7 .*, got grid 2x3, dim 5"):
            index.add_maps(maps, paths=NAMES, sizes=SIZES)
        assert not (tmp_path / "n.diml").exists()
        assert index.search(maps[0]).hits == []
        wide = FeatureMaps(torch.randn(1, 6, 7), (2, 3))
        assert index.add_maps(wide, paths=["one"], sizes=[(5, 5)]).added == 1

    def test_added_again(self, own: Index, maps: FeatureMaps) -> None:
        changed = FeatureMaps(torch.cat([maps.local[:1] + 1, maps.local[1:]]), (2, 3))
        report = own.add_maps(changed, paths=NAMES, labels=["1", None, "z", "y"], sizes=SIZES)
        assert (report.added, report.changed, report.unchanged, report.relabelled) == (0, 1, 3, 1)
        assert own.labels == ["z", None, "1", "y"]
        assert own.add_maps(changed, paths=NAMES, sizes=SIZES).unchanged == 4
        assert own.labels == ["z", None, "1", "y"]
        assert own.remove(["it's"]) == 1
        assert own.add_maps(changed[3], paths=["it's"], sizes=[(9, 9)]).added == 1

    def test_in_pieces(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maps: FeatureMaps) -> None:
        monkeypatch.setattr("diml.search.adding.GIVEN", 3)
        index = Index.create(tmp_path / "p.diml")
        assert index.add_maps(maps, paths=NAMES, sizes=SIZES).added == 4
        report = index.add_maps(maps, paths=NAMES, labels=list("abcd"), sizes=SIZES)
        assert (report.unchanged, report.relabelled) == (4, 4)
        assert dict(zip(index.paths, index.labels, strict=True)) == dict(zip(NAMES, "abcd", strict=True))
        assert torch.equal(index.maps(NAMES).local, maps.local.half().float())

    def test_what_is_refused(self, own: Index, maps: FeatureMaps) -> None:
        sized: dict[str, Any] = {"paths": NAMES, "sizes": SIZES}
        geometry = Geometry(torch.ones(4, 2).long(), torch.ones(4, 4).double())
        nan = FeatureMaps(torch.full((4, 6, 5), torch.nan), (2, 3))
        for given, options, said in [
            (maps, {"paths": NAMES}, r"with a geometry, got none; give sizes=\[\(width, height\)"),
            (FeatureMaps(maps.local, (2, 3), None, geometry), sized, "sizes cannot be combined"),
            (maps, {"paths": NAMES, "sizes": [(0, 1)] * 4}, "sizes as 4 pairs"),
            (maps, {"paths": NAMES, "sizes": [(1, 1)] * 3}, "sizes as 4 pairs"),
            (maps, {**sized, "paths": NAMES[:3]}, "expected 4 paths, one for each image, got 3"),
            (maps, {**sized, "paths": "abcd"}, "expected 4 paths, one for each image, got 1"),
            (maps, {**sized, "paths": ["a", "a", "b", "c"]}, "a is listed twice"),
            (maps, {**sized, "labels": ["a"]}, "expected 4 labels, one for each image, got 1"),
            (maps, {**sized, "labels": "abcd"}, "expected a list of 4 labels, got str"),
            (maps, {**sized, "columns": {"year": [1]}}, "expected 4 values of column 'year', .* got 1"),
            (maps, {**sized, "columns": {"month": [1] * 4}}, "'month' is not one of the fixed columns"),
            (nan, sized, "expected finite feature maps"),
            (maps[:0], {"paths": [], "sizes": []}, "at least one image"),
            (FeatureMaps(torch.ones(4, 6, 4), (2, 3)), sized, "expected feature maps of grid 2x3, dim 5 .* dim 4"),
            (FeatureMaps(maps.local, (3, 2)), sized, "expected feature maps of grid 2x3, .* got grid 3x2"),
            (FeatureMaps(maps.local, (2, 3), maps.mean + 1), sized, "the mean as pooled vector, got .* of their own"),
        ]:
            with pytest.raises(UsageError, match=said):
                own.add_maps(given, **options)
        assert len(own) == 4


class TestWithAModel:
    def test_beside_embedded_images(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        index = Index.create(tmp_path / "m.diml", model, dim=0)
        index.add(photos)
        maps = model.encode([Image.new("RGB", (20, 30), "red"), photos / "a" / "0000.png"])
        report = index.add_maps(maps, paths=["red", "a/0000.png"])
        assert (report.added, report.changed) == (1, 1)  # without a thumbnail, and the next add brings it back
        assert index.search(maps[0], k=1)[0].path == "red"
        assert index.search(photos / "a" / "0000.png", k=1)[0].thumbnail == b""
        report = index.add(photos)
        assert (report.changed, report.unchanged) == (1, 7)
        assert index.search(photos / "a" / "0000.png", k=1)[0].thumbnail
        assert len(index) == 9

    def test_first(self, tmp_path: Path, model: StructuralModel, photos: Path, backbone: Any) -> None:
        index = Index.create(tmp_path / "m.diml", model, dim=3)
        maps = model.encode([Image.new("RGB", (20, 30), "red")])
        index.add_maps(maps, paths=["red"])
        assert (index.stats().dim, index.stats().head) == (12, "none")
        assert index.add(photos).added == 8
        opened = Index.open(index.path, backbone=backbone)
        assert opened.search(photos / "b" / "0001.png", k=1)[0].path == "b/0001.png"
        with pytest.raises(UsageError, match="dim 12"):
            opened.add_maps(FeatureMaps(torch.ones(1, 16, 3), (4, 4)), paths=["x"], sizes=[(1, 1)])

    def test_maps_that_the_model_does_not_make(self, tmp_path: Path, model: StructuralModel) -> None:
        index = Index.create(tmp_path / "m.diml", model)
        with pytest.raises(UsageError, match="expected feature maps of grid 4x4, dim 12"):
            index.add_maps(FeatureMaps(torch.ones(1, 16, 3), (4, 4)), paths=["x"], sizes=[(1, 1)])
        assert not (tmp_path / "m.diml").exists()

    def test_pruning_by_a_folder(self, own: Index, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        index = Index.create(tmp_path / "m.diml", model, dim=0)
        index.add_maps(model.encode([Image.new("RGB", (20, 30), "red")]), paths=["red"])
        with pytest.raises(UsageError, match="which was made of feature maps, so pruning would drop them all"):
            index.add(photos, prune=True)
        index.add(photos)
        assert index.add(photos, prune=True).removed == 1
