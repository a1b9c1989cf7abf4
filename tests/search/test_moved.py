"""An index that is moved, removed or replaced while it is open: every use says what is the case, and writes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diml.embedding import Preprocessing
from diml.errors import StoreError
from diml.model import StructuralModel
from diml.search import Index

Make = Callable[..., Path]
USES: dict[str, Callable[[Index, Path], Any]] = {
    "len": lambda index, photos: len(index),
    "in": lambda index, photos: "a/0000.png" in index,
    "iterate": lambda index, photos: list(index),
    "paths": lambda index, photos: index.paths,
    "labels": lambda index, photos: index.labels,
    "maps": lambda index, photos: index.maps("a/0000.png"),
    "stats": lambda index, photos: index.stats(),
    "search": lambda index, photos: index.search(photos / "a" / "0000.png"),
    "search all": lambda index, photos: index.search(photos / "a" / "0000.png", shortlist="all"),
    "where": lambda index, photos: index.search(photos / "a" / "0000.png", where="label = 'a'"),
    "add": lambda index, photos: index.add(photos),
    "remove": lambda index, photos: index.remove("a/0000.png"),
}


@pytest.fixture
def photos(make_folder: Make) -> Path:
    return make_folder(3)


@pytest.fixture
def path(tmp_path: Path, model: StructuralModel, photos: Path) -> Path:
    Index.create(tmp_path / "photos.diml", model).add(photos, labels_from="folder")
    return tmp_path / "photos.diml"


@pytest.mark.parametrize("loaded", [True, False], ids=["model loaded", "model not loaded"])
def test_moved(path: Path, photos: Path, model: StructuralModel, backbone: Any, loaded: bool) -> None:
    index = Index.open(path, model=model) if loaded else Index.open(path, backbone=backbone)
    path.rename(path.with_name("elsewhere.diml"))
    for name, use in USES.items():
        with pytest.raises(StoreError) as caught:
            use(index, photos)
        expected = f"{path} was moved or removed while it was open; open it where it is now"
        assert str(caught.value) == expected, name
        assert not path.exists(), name


def test_moved_while_images_are_embedded(path: Path, make_folder: Make, model: StructuralModel) -> None:
    index, more = Index.open(path, model=model), make_folder(9)

    def move(done: int, total: int) -> None:
        if path.exists():
            path.rename(path.with_name("elsewhere.diml"))

    with pytest.raises(StoreError, match="was moved or removed while it was open"):
        index.add(more, progress=move)
    assert not path.exists()
    assert len(Index.open(path.with_name("elsewhere.diml"), model=model)) == 3


def test_replaced(path: Path, photos: Path, model: StructuralModel, backbone_class: Any) -> None:
    index = Index.open(path, model=model)
    shutil.rmtree(path)
    other = backbone_class()
    other.bias.data += 1
    Index.create(path, StructuralModel.wrap(other, Preprocessing(size=(32, 32)), name="other")).add(photos)
    for use in ("add", "remove"):
        with pytest.raises(
            StoreError, match="was replaced by an index of another model while it was open; open it again"
        ):
            USES[use](index, photos)


def test_a_folder_that_others_may_not_read(path: Path, model: StructuralModel) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read anything")
    (path / "images.lance").chmod(0)
    with pytest.raises(StoreError, match="permission denied; check the permissions"):
        Index.open(path, model=model)
    (path / "images.lance").chmod(0o755)
