"""An index as one guesses it: made by a model's name, found again, listed, asked for maps, given lists of files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diml.errors import DatasetError, StoreError, UsageError
from diml.model import StructuralModel
from diml.search import Entry, Index, index_folder

Make = Callable[..., Path]


@pytest.fixture
def photos(make_folder: Make) -> Path:
    return make_folder(7)


@pytest.fixture
def index(tmp_path: Path, model: StructuralModel, photos: Path) -> Index:
    made = Index.create(tmp_path / "photos.diml", model)
    made.add(photos, labels_from="folder")
    return made


def stored_paths(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.png"))


class TestCreate:
    @pytest.mark.slow
    def test_by_the_name_of_a_model(self, tmp_path: Path, model: StructuralModel) -> None:
        model.save_pretrained(tmp_path / "model")
        assert Index.create(tmp_path / "a.diml", "lite0").model.name == "lite0"
        assert Index.create(tmp_path / "b.diml", "lite0", grid=2).model.grid == (2, 2)

    def test_home_is_expanded(
        self, tmp_path: Path, model: StructuralModel, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        index = Index.create("~/mine.diml", model)
        assert index.add("~/photos").added == 7
        assert (tmp_path / "mine.diml" / "manifest.json").is_file()
        assert len(Index.open("~/mine.diml", model=model)) == 7
        assert index_folder("~/photos", "~/mine.diml", model=model)[1].unchanged == 7
        assert index.search("~/photos/a/0000.png", k=1)[0].path == "a/0000.png"

    def test_a_relative_path_survives_a_change_of_folder(
        self, tmp_path: Path, model: StructuralModel, photos: Path, backbone: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        made = Index.create("photos.diml", model)
        made.add("photos")
        opened = Index.open("photos.diml", backbone=backbone)
        (tmp_path / "elsewhere").mkdir()
        os.chdir(tmp_path / "elsewhere")
        for index in (made, opened):
            assert index.path == tmp_path / "photos.diml"
            assert len(index.search(photos / "a" / "0000.png")) == 7
            assert index.add(photos).unchanged == 7
        assert os.listdir() == []

    def test_adding_after_a_change_of_folder(
        self, tmp_path: Path, model: StructuralModel, photos: Path, make_folder: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        unmade = Index.create("photos.diml", model)
        (tmp_path / "elsewhere").mkdir()
        os.chdir(tmp_path / "elsewhere")
        assert unmade.add(photos).added == 7
        os.chdir(tmp_path)
        opened = Index.open("photos.diml", model=model)
        os.chdir(tmp_path / "elsewhere")
        assert opened.add(make_folder(9)).added == 2
        # Image files are relative to the working directory of the call, and known below the folder of the index.
        assert opened.add(["../photos/a/0000.png"]).unchanged == 1
        assert opened.remove("a/0000.png") == 1
        assert len(Index.open(tmp_path / "photos.diml", model=model)) == 8
        assert os.listdir() == []


class TestNumbers:
    @pytest.mark.parametrize("k", [2, 2.0, np.int64(2), np.float32(2), torch.tensor(2)])
    def test_whole_numbers(self, index: Index, photos: Path, k: Any) -> None:
        found = index.search(photos / "a" / "0000.png", k=k, shortlist=k)
        assert (len(found), found.k, found.shortlist) == (2, 2, 2)
        assert type(found.to_dict()["k"]) is int

    @pytest.mark.parametrize("k", [2.5, "2", None, float("nan"), float("inf"), [2]])
    def test_others_are_refused(self, index: Index, photos: Path, k: Any) -> None:
        with pytest.raises(UsageError, match="expected a whole number for k, got"):
            index.search(photos / "a" / "0000.png", k=k)
        with pytest.raises(UsageError, match="expected a whole number or 'all' for shortlist, got"):
            index.search(photos / "a" / "0000.png", shortlist=k)

    def test_plain_boxes(self, index: Index, photos: Path) -> None:
        plain = index.search(photos / "a" / "0000.png", regions=[(0, 0, 20, 25)])
        weighted = index.search(photos / "a" / "0000.png", regions=[((0, 0, 20, 25), 1.0)])
        assert [(h.id, h.similarity) for h in plain] == [(h.id, h.similarity) for h in weighted]


class TestListing:
    def test_entries_are_in_the_order_of_their_paths(self, index: Index, photos: Path) -> None:
        found = list(index)
        assert [entry.path for entry in found] == index.paths == stored_paths(photos)
        assert [entry.label for entry in found] == index.labels == [path[0] for path in index.paths]
        hit = index.search(photos / "b" / "0001.png", k=1)[0]
        assert Entry(hit.id, hit.path, hit.label, hit.columns, hit.size) in found

    def test_columns(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        (photos / "all.csv").write_text("path,designer\na/0000.png,Ann\nb/0001.png,\n")
        index = Index.create(tmp_path / "c.diml", model)
        index.add(photos / "all.csv")
        assert [(entry.columns, entry.size) for entry in index] == [
            ({"designer": "Ann"}, (40, 50)),
            ({"designer": None}, (40, 50)),
        ]

    def test_membership_by_path_and_id(self, index: Index) -> None:
        assert "a/0000.png" in index
        assert next(iter(index)).id in index
        assert "a/9999.png" not in index
        assert "it's.png" not in index

    def test_nothing_stored(self, tmp_path: Path, model: StructuralModel) -> None:
        index = Index.create(tmp_path / "none.diml", model)
        assert (list(index), index.paths, index.labels, "a" in index) == ([], [], [], False)


class TestMaps:
    def test_in_the_order_asked_for(self, index: Index, photos: Path) -> None:
        names = [index.paths[4], next(iter(index)).id, index.paths[2], index.paths[4]]
        wanted = [index.paths[4], index.paths[0], index.paths[2], index.paths[4]]
        maps = index.maps(names)
        fresh = index.model.encode([photos / path for path in wanted])
        assert torch.equal(maps.local, fresh.local.half().float())
        assert maps.geometry is not None
        assert maps.geometry.size.tolist() == [[40, 50]] * 4

    def test_every_order(self, index: Index) -> None:
        everything = index.maps(index.paths).local
        backwards = index.maps(index.paths[::-1]).local
        assert torch.equal(everything, backwards.flip(0))
        assert torch.equal(index.maps(index.paths[3]).local[0], everything[3])
        assert len(index.maps([])) == 0

    def test_unknown(self, index: Index, tmp_path: Path, model: StructuralModel) -> None:
        with pytest.raises(UsageError, match=r"nobody\.png is not in .*; give an id, or a path"):
            index.maps(["a/0000.png", "nobody.png"])
        with pytest.raises(StoreError, match="does not exist yet; add images first"):
            Index.create(tmp_path / "none.diml", model).maps(["a"])


class TestFiles:
    def test_paths_are_relative_to_the_folder_of_the_index(self, index: Index, photos: Path, write_image: Any) -> None:
        write_image(photos / "c" / "new.png", "new")
        report = index.add([photos / "c" / "new.png", photos / "c" / "0002.png"], labels=["fresh", "old"])
        assert (report.added, report.unchanged, report.relabelled) == (1, 1, 1)
        assert dict(zip(index.paths, index.labels, strict=True))["c/new.png"] == "fresh"
        assert index.add(photos / "c" / "new.png").unchanged == 1
        assert len(index) == 8

    def test_elsewhere_they_are_relative_to_what_they_share(
        self, index: Index, tmp_path: Path, write_image: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("more/x/1.png", "more/y/2.png"):
            write_image(tmp_path / name, name)
        monkeypatch.chdir(tmp_path / "more")
        assert index.add(["x/1.png", "x/../y/2.png"]).added == 2
        assert {"x/1.png", "y/2.png"} < set(index.paths)

    def test_a_new_index(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        index = Index.create(tmp_path / "few.diml", model)
        files = [str(photos / "b" / "0001.png"), str(photos / "a" / "0003.png")]
        assert index.add(files, labels=[7, None]).added == 2
        assert list(zip(index.paths, index.labels, strict=True)) == [("a/0003.png", None), ("b/0001.png", "7")]
        assert index.add(photos).unchanged == 2  # the same folder: they keep their ids

    def test_files_that_cannot_be_read_are_skipped(self, index: Index, photos: Path, tmp_path: Path) -> None:
        report = index.add([photos / "a" / "0000.png", photos / "a" / "none.png"])
        assert (report.unchanged, [skipped.path for skipped in report.skipped]) == (1, ["a/none.png"])
        with pytest.raises(DatasetError, match=r"none of the 1 images .*none\.png"):
            Index.create(tmp_path / "n.diml", index.model).add([photos / "none.png"])

    def test_what_is_refused(self, index: Index, photos: Path) -> None:
        file = photos / "a" / "0000.png"
        with pytest.raises(UsageError, match="expected at least one image file to add, got an empty list"):
            index.add([])
        with pytest.raises(UsageError, match="expected paths in the list of image files to add, got Image"):
            index.add([Image.new("RGB", (4, 4))])  # type: ignore[list-item]
        with pytest.raises(UsageError, match="expected a folder, a table or a list of image files to add, got int"):
            index.add(3)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="expected 1 labels, one for each image, got 2"):
            index.add([file], labels=["a", "b"])
        with pytest.raises(UsageError, match="listed twice, with two labels"):
            index.add([file, file], labels=["a", "b"])
        with pytest.raises(UsageError, match="labels needs a list of image files; for a folder use labels_from"):
            index.add(photos, labels=["a"])
        with pytest.raises(UsageError, match="labels_from needs a folder"):
            index.add([file], labels_from="folder")
        with pytest.raises(UsageError, match="cannot be combined"):
            index.add([file], labels=["a"], labels_from="folder")


class TestMatcher:
    def test_other_settings(self, index: Index, photos: Path, model: StructuralModel) -> None:
        query = photos / "a" / "0000.png"
        changed = index.with_matcher(weight=1.0, eps=0.1)
        opened = Index.open(index.path, model=model.with_matcher(weight=1.0, eps=0.1))
        found, same = changed.search(query, k=3), opened.search(query, k=3)
        assert [(h.id, h.similarity) for h in found] == [(h.id, h.similarity) for h in same]
        assert all(hit.similarity == hit.structural == pytest.approx(hit.match.similarity.item()) for hit in found)
        assert changed.model.matcher.weight == 1
        assert index.model.matcher.weight == 0.5

    def test_the_document_states_what_differs(self, index: Index, photos: Path) -> None:
        query = photos / "a" / "0000.png"
        usual = ["index", "query", "query_size", "where", "k", "shortlist", "hits"]
        assert list(index.search(query, k=1).to_dict()) == usual
        assert list(index.with_matcher(weight=0.5).search(query, k=1).to_dict()) == usual
        changed = index.with_matcher(marginals="cross_correlation", eps=0.1).with_matcher(mass=0.5, weight=0.25)
        document = changed.search(query, k=1).to_dict()
        assert {name: document[name] for name in ("marginals", "weight", "eps", "mass")} == {
            "marginals": "cross_correlation",
            "weight": 0.25,
            "eps": 0.1,
            "mass": 0.5,
        }
        part = changed.search(query, k=1, regions=[(0, 0, 20, 25)]).to_dict()
        assert list(part) == ["index", "query", "query_size", "part", "eps", *usual[3:]]

    def test_a_wrong_setting(self, index: Index) -> None:
        with pytest.raises(UsageError, match="weight"):
            index.with_matcher(weight=2.0)

    def test_shares_what_is_stored(self, index: Index, make_folder: Make) -> None:
        changed = index.with_matcher(weight=1.0)
        changed.add(make_folder(3, "more", prefix="x"))
        assert len(index) == len(changed) == 10


def test_names_in_the_document(index: Index, photos: Path) -> None:
    query = photos / "a" / "0000.png"
    document = index.search(query, k=1).to_dict()
    assert (document["index"], document["query"]) == (str(index.path), str(query))
    document = index.search(Image.open(query), k=1).to_dict(index="i.diml")
    assert (document["index"], document["query"]) == ("i.diml", None)
