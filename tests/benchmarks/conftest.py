"""A tiny collection of drawn shapes with masks, and photographs of noise."""

import csv
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

SHAPES = {"box": "rectangle", "disc": "ellipse", "ring": "ellipse", "bar": "rectangle"}


def draw(label, variant):
    """A shape of 48 x 48 pixels on light grey, and its mask; shapes and colours are plain, so that masks show."""
    image, mask = Image.new("RGB", (48, 48), (236, 236, 236)), Image.new("L", (48, 48))
    bounds = (20, 4, 28, 43) if label == "bar" else (6 + variant, 8, 40, 42 - variant)
    for canvas, colour in ((image, (200, 30 * variant, 20)), (mask, 255)):
        getattr(ImageDraw.Draw(canvas), SHAPES[label])(bounds, fill=colour)
    return image, mask


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """4 classes of 4 images, half of them to train, as the builds of emoji and furniture write them."""
    folder = tmp_path_factory.mktemp("shapes")
    rows = []
    for number, label in enumerate(SHAPES):
        for kind in ("images", "masks"):
            (folder / kind / label).mkdir(parents=True)
        for variant in range(4):
            for kind, picture in zip(("images", "masks"), draw(label, variant), strict=True):
                picture.save(folder / kind / label / f"{variant}.png")
            rows.append(
                {"path": f"images/{label}/{variant}.png", "label": label, "split": ("train", "test")[number % 2]}
            )
    with open(folder / "data.csv", "w", newline="") as file:
        table = csv.DictWriter(file, ["path", "label", "split"])
        table.writeheader()
        table.writerows(rows)
    (folder / "SOURCES.json").write_text('{"shapes": "drawn here"}')
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Two photographs, one for each half: bluish noise, so that no pixel looks like a shape."""
    folder = tmp_path_factory.mktemp("photographs")
    credits = []
    for number, split in enumerate(("train", "test")):
        noise = np.random.default_rng(number).integers(0, 90, (90, 120, 3), np.uint8)
        noise[..., 2] += 150
        Image.fromarray(noise).save(folder / f"{split}.jpg", quality=95)
        credit = dict.fromkeys(("package", "version", "file", "copyright", "license"), "none")
        credits.append({**credit, "name": split, "split": split})
    (folder / "CREDITS.json").write_text(json.dumps(credits))
    return folder
