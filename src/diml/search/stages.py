"""What share of a query each stage of a search takes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diml.data import open_image
from diml.matching.speed import seconds
from diml.model import StructuralModel
from diml.search.coarse import nearest
from diml.search.index import Index
from diml.search.ranking import scores_shown, stored_maps

# Sides of the pictures made for it, in pixels: a small photograph.
SIZE = (640, 480)
STAGES = ("decode", "embed", "coarse", "fetch", "match", "explain")
# Hits whose numbers are shown.
HITS = 10


def measure_stages(model: StructuralModel, candidates: int, dim: int) -> dict[str, float]:
    """Seconds of each of `STAGES` for one query in an index of as many made-up pictures as there are candidates.

    `coarse` finds the ids of the nearest by the pooled vectors, `fetch` is what reading their maps adds to it, `match`
    takes their similarities and the order, `explain` the numbers of ten hits, in float64 solved to 1e-6.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        folder.mkdir()
        for number in range(candidates):
            _picture(number).save(folder / f"{number:06}.jpg", quality=90)
        index = Index.create(Path(place) / "bench.diml", model, dim=dim)
        index.add(folder)
        return _stages(index, folder / f"{0:06}.jpg", candidates)


def _stages(index: Index, path: Path, candidates: int) -> dict[str, float]:
    assert index._opened is not None
    manifest, store = index._opened
    model, image = index.model, open_image(path)
    query = model.encode(image)
    vector = query.pooled[0].detach().float().cpu().numpy()
    gallery = stored_maps(nearest(store, vector, candidates), manifest).to(query.device)
    every = torch.arange(len(gallery))[None]
    lean = store.cosine_query(vector, candidates, None).bypass_vector_index().select(["id", "_distance"])
    device = query.device

    def match() -> torch.Tensor:
        return model.matcher.rerank(query, gallery, every)[0].argsort()

    hits = gallery[match()[-HITS - 1 :]]  # and of the one after them, for the last one's margin
    found = {
        "decode": seconds(lambda: open_image(path)),
        "embed": seconds(lambda: model.encode(image), device),
        "coarse": seconds(lambda: store.read(lean.to_arrow)),
        "match": seconds(match, device),
        "explain": seconds(lambda: scores_shown(model.query(query), hits)),
    }
    fetched = seconds(lambda: stored_maps(nearest(store, vector, candidates), manifest))
    found["fetch"] = max(0.0, fetched - found["coarse"])
    return {stage: found[stage] for stage in STAGES}


def _picture(number: int) -> Image.Image:
    """Coloured blotches."""
    random = np.random.default_rng(number)
    small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)
