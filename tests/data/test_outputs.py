"""What this program has written is never taken for input, wherever it stands; similar files of others are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from diml.data import open_dataset, open_folder
from diml.data.outputs import describe
from diml.errors import DatasetError


def plant(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / path, "PNG")
    return root


def plant_run(folder: Path) -> None:
    plant(folder, "curves.png")
    (folder / "settings.toml").write_text("[data]\n")
    versions = {"versions": {"python": "3.12.1", "diml": "0.1.0", "torch": "2"}, "commit": None}
    (folder / "versions.json").write_text(json.dumps(versions, indent=2))


def plant_index(folder: Path) -> None:
    plant(folder, "model/picture.png")
    (folder / "manifest.json").write_text(json.dumps({"format": "diml-index", "version": 1}, indent=1))


def test_indices_and_runs_are_left_out_wherever_they_stand(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/1.png")
    for place in ("photos.diml", "cat/index", "dog/deep/x"):
        plant_index(tmp_path / place)
    for place in ("runs/first", "runs/second", "cat/run"):
        plant_run(tmp_path / place)
    found = open_dataset(tmp_path)
    assert (found.paths, found.labels, found.skipped) == (["cat/1.png", "dog/1.png"], ["cat", "dog"], [])
    assert found.notes == ["left out, as diml wrote them: indices 3 (cat/index, ...), training runs 3 (cat/run, ...)"]


def test_folders_with_files_of_the_same_names_are_input(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "cat" / "manifest.json").write_text('{"format": "of another program"}')
    (tmp_path / "dog" / "settings.toml").write_text("")
    (tmp_path / "dog" / "versions.json").write_text('{"versions": {"other": "1"}}')
    found = open_folder(tmp_path)
    assert (found.paths, found.notes) == (["cat/1.png", "dog/1.png"], [])


def test_an_interrupted_index_is_left_out(tmp_path: Path) -> None:
    plant(tmp_path, "1.png", "new.diml/left.png")
    (tmp_path / "new.diml" / "images.lance").mkdir()
    (tmp_path / "new.diml" / "writer.lock").touch()
    assert open_folder(tmp_path).paths == ["1.png"]


def test_pictures_of_this_program_are_left_out_and_those_of_others_are_not(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from diml.explanation import save_picture

    plant(tmp_path, "1.png")
    figure = Figure((1, 1))
    save_picture(figure, tmp_path / "why.png")
    figure.savefig(tmp_path / "plot.png")
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "dimly lit")
    Image.new("RGB", (2, 2)).save(tmp_path / "lit.png", pnginfo=info)
    found = open_folder(tmp_path)
    assert found.paths == ["1.png", "lit.png", "plot.png"]
    assert found.notes == ["left out, as diml wrote them: pictures 1 (why.png)"]


def test_a_table_may_name_a_picture_of_this_program(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from diml.data import open_table
    from diml.explanation import save_picture

    save_picture(Figure((1, 1)), tmp_path / "why.png")
    (tmp_path / "list.csv").write_text("path,label\nwhy.png,picture\n")
    assert open_table(tmp_path / "list.csv").paths == ["why.png"]


def test_an_index_itself_is_no_folder_of_images(tmp_path: Path) -> None:
    plant_index(tmp_path)
    with pytest.raises(DatasetError, match=r"holds no images; .*; left out, as diml wrote them: indices 1 \(\.\)"):
        open_folder(tmp_path)


def test_notes_are_safe_to_print() -> None:
    assert describe([("a\x1b.png", "pictures")]).endswith("pictures 1 (a\\x1b.png)")
