"""The index that the load benchmark asks: thousands of pictures made of the samples, built once into a folder."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from diml.search import Index

SAMPLE = Path(__file__).resolve().parents[1] / "sample"
SIDE = 256


def build(folder: Path, images: int) -> tuple[Path, Path]:
    """The folder of pictures and the index of it; made where they are not there yet."""
    pictures, path = folder / f"pictures-{images}", folder / f"pictures-{images}.diml"
    pictures.mkdir(parents=True, exist_ok=True)
    if len(list(pictures.iterdir())) < images:
        print(f"making {images} pictures in {pictures}; they are used again", flush=True)
        for i, picture in enumerate(_made(images)):
            picture.save(pictures / f"{i:06d}.jpg", quality=90)
    if not path.exists() or Index.open(path).stats().images < images:
        print(f"adding them to {path}", flush=True)
        (Index.open(path) if path.exists() else Index.create(path, "lite0", dim=128)).add(pictures)
    return pictures, path


def _made(images: int) -> Iterator[Image.Image]:
    """Drawings on pieces of photographs, each at another place, size and brightness: no two alike."""
    chance = random.Random(0)
    photos = [Image.open(path).convert("RGB") for path in sorted(SAMPLE.glob("photos/*.jpg"))]
    drawings = [Image.open(path).convert("RGBA") for path in sorted(SAMPLE.glob("emoji/*/*.png"))]
    for i in range(images):
        ground = _piece(photos[i % len(photos)], chance)
        drawing = chance.choice(drawings)
        side = chance.randrange(SIDE // 4, SIDE * 3 // 4)
        drawing = drawing.resize((side, side)).rotate(chance.uniform(-30, 30))
        ground.paste(drawing, (chance.randrange(SIDE - side), chance.randrange(SIDE - side)), drawing)
        yield ImageEnhance.Brightness(ground).enhance(chance.uniform(0.7, 1.3))


def _piece(photo: Image.Image, chance: random.Random) -> Image.Image:
    side = int(min(photo.size) * chance.uniform(0.3, 0.9))
    left, top = chance.randrange(photo.width - side), chance.randrange(photo.height - side)
    piece = photo.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
    return ImageOps.mirror(piece) if chance.random() < 0.5 else piece
