"""The true masks of the objects in the benchmark collections, as shares of cells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def masks_of(folder: Path, paths: list[str]) -> list[Path]:
    """The masks of the objects in images of a collection."""
    described = folder / "metadata.jsonl"
    if described.is_file():
        lines = (json.loads(line) for line in described.read_text(encoding="utf-8").splitlines())
        by_path = {line["path"]: line["mask"] for line in lines}
        return [folder / by_path[path] for path in paths]
    return [folder / path.replace("images/", "masks/", 1) for path in paths]


def coverage(mask: Path, grid: int) -> torch.Tensor:
    """(r,) the share of each cell that the object covers."""
    with Image.open(mask) as image:
        small = image.convert("L").resize((8 * grid, 8 * grid), Image.Resampling.BOX)
    cells = torch.from_numpy(np.asarray(small, dtype=np.float64) / 255).reshape(grid, 8, grid, 8)
    return cells.mean(dim=(1, 3)).reshape(-1)
