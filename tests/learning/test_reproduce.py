"""`recipes/reproduce.sh`: ResNet-50 with weights from a file, through every recipe of CUB-200-2011, for three steps."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

RECIPES = Path(__file__).parents[2] / "recipes"
PHOTOS = sorted((RECIPES.parent / "sample" / "photos").glob("*.jpg"))
BIRDS = ("Albatross", "Ani", "Auklet", "Blackbird", "Bobolink", "Bunting", "Cardinal", "Catbird")
SHORT = ("optim.epochs=1", "optim.batches_per_epoch=3", "data.batch=4", "data.workers=0", "run.accelerator=cpu")


def planted(root: Path) -> Path:
    """Eight species of three crops of a photograph each, as the data set's archive has its files."""
    lines, labels = [], []
    for number, bird in enumerate(BIRDS, 1):
        name = f"{number:03}.{bird}"
        (root / "images" / name).mkdir(parents=True)
        with Image.open(PHOTOS[number % len(PHOTOS)]) as photograph:
            for k in range(3):
                shape = photograph.resize((260, 240)).crop((10 * k + number, 5 * k, 200 + 10 * k, 200 + 5 * k))
                shape.convert("RGB").save(root / "images" / name / f"{bird}_000{k}_1.jpg")
                lines.append(f"{name}/{bird}_000{k}_1.jpg")
                labels.append(number)
    (root / "images.txt").write_text("".join(f"{i} {line}\n" for i, line in enumerate(lines, 1)))
    (root / "image_class_labels.txt").write_text("".join(f"{i} {label}\n" for i, label in enumerate(labels, 1)))
    (root / "classes.txt").write_text("".join(f"{i} {i:03}.{bird}\n" for i, bird in enumerate(BIRDS, 1)))
    return root


def reproduce(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", str(RECIPES / "reproduce.sh"), *arguments],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )


def test_it_says_how_it_is_called(tmp_path):
    for arguments in ([], ["cub200"], ["birds", str(tmp_path)]):
        found = reproduce(*arguments)
        assert (found.returncode, found.stdout) == (2, "")
        assert found.stderr == "usage: recipes/reproduce.sh cub200|cars196|sop DIR [OUT] [OPTIONS of diml train]\n"


@pytest.mark.long
@pytest.mark.skipif(shutil.which("bash") is None, reason="a shell script")
def test_every_row_of_cub200_on_resnet50(tmp_path):
    import timm
    from safetensors.torch import save_file

    weights = tmp_path / "resnet50.safetensors"
    save_file(timm.create_model("resnet50", pretrained=False).state_dict(), weights)
    data, out = planted(tmp_path / "CUB_200_2011"), tmp_path / "out"
    settings = [part for setting in SHORT for part in ("--set", setting)]
    found = reproduce("cub200", str(data), str(out), *settings, WEIGHTS=str(weights), SEEDS="3")
    assert found.returncode == 0, found.stderr[-3000:]
    report = (out / "report.md").read_text()
    assert found.stdout.endswith(report + "\n")
    assert report.startswith("cub200: 12 test images of 4 classes, protocol published, percent\n")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines()[4:12]]
    rows = [
        (loss, trained, ranking, "1")
        for loss in ("margin", "multisimilarity")
        for trained in ("pooled", "structural")
        for ranking in ("pooled", "structural (100)")
    ]
    assert [tuple(row[:4]) for row in cells] == rows
    assert all(0 <= float(number) <= 100 for row in cells for number in row[4:10])
    assert [row[10] for row in cells] == ["", "", "", "", "", "68.15", "", "68.15"]
    for row in (cells[5], cells[7]):
        assert float(row[11]) == pytest.approx(float(row[4]) - 68.15, abs=0.006)

    runs = sorted(run.name for run in out.iterdir() if run.is_dir())
    assert runs == sorted({f"{loss}-{trained}-seed3" for loss, trained, *_ in rows})
    before = {file: file.stat().st_mtime_ns for file in out.glob("*/*.json")}
    again = reproduce("cub200", str(data), str(out), *settings, WEIGHTS=str(weights), SEEDS="3")
    assert (again.returncode, again.stdout) == (0, report + "\n")
    assert {file: file.stat().st_mtime_ns for file in out.glob("*/*.json")} == before
