"""How long each stage of a search takes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diml.matching.speed import seconds
from diml.model import StructuralModel
from diml.search.coarse import coarse_vector, nearest
from diml.search.index import Index
from diml.search.ranking import shown_numbers
from diml.search.stored_maps import stored_maps, unread_maps

# Size of the generated pictures in pixels: a small photograph.
SIZE = (640, 480)
STAGES = ("decode", "embed", "coarse", "fetch", "match", "explain")
# Hits whose numbers are shown.
HITS = 10


def measure_stages(model: StructuralModel, candidates: int, dim: int) -> dict[str, float]:
    """Seconds of each of `STAGES` for one query, in an index of `candidates` generated pictures.

    `coarse` finds the ids of the nearest pooled vectors, `fetch` is the additional time to read their maps, `match`
    computes their similarities and sorts them, `explain` computes the numbers of ten hits, in float64 solved to 1e-6.
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
    manifest, store = index._state.for_writing().require()
    image = index.model.read(path)
    query = index.model.query(image)
    device, vector = query.maps.device, coarse_vector(query)
    rows = nearest(store, vector, candidates)
    gallery = unread_maps(rows, manifest, store.codec)
    ids_only = store.cosine_query(vector, candidates, None).bypass_vector_index().select(["id", "_distance"])

    def match() -> torch.Tensor:
        return query.scores(gallery).argsort()

    # One more than shown, for the margin of the last.
    hits = stored_maps(rows.take(match()[-HITS - 1 :].cpu().numpy()), manifest, store.codec).to(device)
    found = {
        "decode": seconds(lambda: index.model.read(path)),
        "embed": seconds(lambda: index.model.encode(image), device),
        "coarse": seconds(lambda: store.read(ids_only.to_arrow)),
        "match": seconds(match, device),
        "explain": seconds(lambda: shown_numbers(query.match(hits))),
    }
    fetched = seconds(lambda: unread_maps(nearest(store, vector, candidates), manifest, store.codec))
    found["fetch"] = max(0.0, fetched - found["coarse"])
    return {stage: found[stage] for stage in STAGES}


def _picture(number: int) -> Image.Image:
    """A random pattern of colours."""
    random = np.random.default_rng(number)
    small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)
