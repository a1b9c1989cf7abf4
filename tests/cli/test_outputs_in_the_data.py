"""Commands that write into the folder they read: what they wrote is not read the next time."""

import json

import pytest
from PIL import Image

TINY = """--model timm:test_resnet?weights=random --set model.dim=6 --set model.grid=2x2 --set data.size=64
    --set data.batch=4 --set data.workers=0 --set data.validation=0 --set model.head=random --set optim.epochs=1
    --set run.accelerator=cpu"""
TINY = TINY.split()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Six classes of three drawings, as the working directory."""
    for number in range(6):
        (tmp_path / "data" / f"class{number}").mkdir(parents=True)
        for i in range(3):
            image = Image.new("RGB", (40, 30 + i), (40 * number, 90, 200 - 30 * number))
            image.paste((250 - 40 * number, 30 * number, 90), (5 + i, 5, 25 + 2 * i, 22))
            image.save(tmp_path / "data" / f"class{number}" / f"{i}.png")
    monkeypatch.chdir(tmp_path / "data")


@pytest.mark.slow
def test_train_evaluate_and_resume_in_the_folder_of_the_data(diml, here):
    first = diml("train", ".", *TINY)
    assert (first.code, first.err) == (0, "")
    evaluated = diml("evaluate", ".", "--model", "runs/data-margin-structural-seed0/model", "--json")
    assert evaluated.err == ("left out, as diml wrote them: training runs 1 (runs/data-margin-structural-seed0)\n")
    assert json.loads(evaluated.out)["classes"] == 6
    more = [each.replace("optim.epochs=1", "optim.epochs=2") for each in TINY]
    resumed = diml("train", ".", "--resume", *more)
    assert (resumed.code, resumed.err) == (0, "")
    assert "left out, as diml wrote them: training runs 1" in resumed.out
    assert "epoch 2/2" in resumed.out


@pytest.mark.slow
def test_index_search_and_index_again_in_the_folder_of_the_images(diml, here):
    index = ("index", ".", "--into", "here.diml", "--labels-from", "folder", "--strict")
    assert "18 added" in diml(*index).out
    assert diml("search", "here.diml", "class0/0.png", "-k", "2", "--out", "class0/hits.png").code == 0
    again = diml(*index)
    assert (again.code, "0 added, 18 unchanged; 18 images in all" in again.out) == (0, True)
    assert again.err == "left out, as diml wrote them: indices 1 (here.diml), pictures 1 (class0/hits.png)\n"
