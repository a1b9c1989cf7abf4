"""An index: made of a folder, described, moved elsewhere; pooled vectors of its model's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diml.data.collection import open_table
from diml.errors import StoreError
from diml.model import StructuralModel
from diml.search import Index, index_folder

Make = Callable[..., Path]


class TestIndexFolder:
    def test_creates_then_adds(self, tmp_path: Path, model: StructuralModel, make_folder: Make) -> None:
        photos = make_folder(6)
        index, report = index_folder(photos, tmp_path / "n.diml", model=model, dim=3, labels_from="folder")
        assert (report.added, index.stats().labels, index.stats().dim) == (6, 3, 3)
        make_folder(8)
        index, report = index_folder(photos, tmp_path / "n.diml", model=model, dim=3)
        assert (report.added, report.unchanged) == (2, 6)

    def test_refuses_other_models_grids_and_dims(self, index: Index, photos: Path, model: StructuralModel) -> None:
        other = StructuralModel.wrap(torch.nn.Conv2d(3, 12, 8, 8), model.encoder.preprocessing, name="other")
        with pytest.raises(StoreError, match=r"made with the model tiny .* got other"):
            index_folder(photos, index.path, model=other)
        with pytest.raises(StoreError, match=r"expected grid 4x4, .* got 2x2"):
            index_folder(photos, index.path, model=model, grid=2)
        with pytest.raises(StoreError, match=r"expected dim 12, .* got 7"):
            index_folder(photos, index.path, model=model, dim=7)

    def test_refuses_folders_of_others(self, photos: Path, model: StructuralModel) -> None:
        with pytest.raises(StoreError, match="holds 'a' and is not an index"):
            index_folder(photos, photos, model=model)
        with pytest.raises(StoreError, match="is a file"):
            index_folder(photos, photos / "a" / "0000.png", model=model)

    def test_grid(self, tmp_path: Path, photos: Path, model: StructuralModel) -> None:
        index, _ = index_folder(photos, tmp_path / "g.diml", model=model, grid=(1, 2))
        assert index.stats().to_dict()["grid"] == [1, 2]
        assert index_folder(photos, tmp_path / "g.diml", model=model)[1].unchanged == 12

    def test_csv(self, tmp_path: Path, photos: Path, model: StructuralModel) -> None:
        (photos / "two.csv").write_text("path,label\na/0000.png,x\nb/0001.png,y\n")
        index, report = index_folder(open_table(photos / "two.csv"), tmp_path / "c.diml", model=model)
        assert (report.added, index.stats().labels) == (2, 2)


def test_stats(index: Index, photos: Path) -> None:
    stats = index.stats().to_dict()
    assert {"images": 12, "model": "tiny", "grid": [4, 4], "dim": 12, "format": 1, "labels": 3}.items() <= stats.items()
    assert stats["collection"] == str(photos)
    assert stats["bytes"] > 12 * 16 * 12 * 2


def test_pooled_vector_of_the_models_own(
    tmp_path: Path, photos: Path, model: StructuralModel, backbone_class: Any
) -> None:
    """A model that brings one: scores and residual are those of the model, not of the mean."""

    class WithPooled(backbone_class):
        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            maps = super().forward(pixels)
            return maps, maps.amax(dim=(2, 3))

    model = StructuralModel.wrap(WithPooled(), model.encoder.preprocessing, grid=(4, 4), name="max")
    index = Index.create(tmp_path / "max.diml", model, dim=4)
    index.add(photos)
    query = index.model.encode(photos / "a" / "0000.png")
    for hit in index.search(query, k=5):
        fresh = index.model.explain(query, index.model.encode(photos / hit.path))
        assert hit.similarity == pytest.approx(fresh.similarity.item(), abs=2e-3)
        assert hit.match.residual.item() == pytest.approx(fresh.residual.item(), abs=2e-3)
        assert hit.rank == 1 or abs(hit.match.residual.item()) > 1e-3


def test_index_is_a_model_anywhere(index: Index, backbone: Any, tmp_path: Path, photos: Path) -> None:
    shutil.copytree(index.path, tmp_path / "elsewhere.diml")
    shutil.rmtree(index.path)
    copy = Index.open(tmp_path / "elsewhere.diml", backbone=backbone)
    assert copy.search(photos / "c" / "0002.png", k=1)[0].path == "c/0002.png"
    loaded = StructuralModel.from_pretrained(tmp_path / "elsewhere.diml", backbone=backbone)
    assert loaded.fingerprint == copy.model.fingerprint
