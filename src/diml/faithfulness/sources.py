"""What a user names, opened as pairs to measure on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch

from diml.data import open_dataset, open_folder
from diml.data.keypoints import Keypoints, cub_keypoints
from diml.errors import UsageError
from diml.faithfulness.pairs import Pair, Points, pairs_of_classes
from diml.faithfulness.photographs import photographs, warped_pairs
from diml.model import HeadFitting, StructuralModel

# Images that a head is fitted on, at most: more of them change a covariance little.
SAMPLE = 1000


def open_pairs(spec: str, n: int, seed: int = 0) -> tuple[str, list[Pair]]:
    """The name of a collection, and at most n pairs of it.

    Args:
        spec: `photos` for scikit-image's photographs, or a folder of photographs that are in no class folders, or
            `photos:FOLDER` whatever is in it: each is paired with warped copies of itself. Else what `open_dataset`
            opens: pairs of a class, for `cub200:DIR` with its part annotations where these are there.
        seed: of what is drawn.

    Raises:
        UsageError: there is no such collection.
        DatasetError: it is not laid out as it should be, or no class has two images.
    """
    if _is_photographs(spec):
        collection = photographs(spec)
        return collection.name, warped_pairs(collection, n, seed)
    collection = open_dataset(spec)
    pairs = pairs_of_classes(collection, n, seed)
    kind, _, folder = spec.partition(":")
    if kind == "cub200" and any((Path(folder) / place / "parts").is_dir() for place in ("", "CUB_200_2011")):
        keypoints = cub_keypoints(Path(folder))
        pairs = [with_keypoints(pair, keypoints, collection.root) for pair in pairs]
    return collection.name, pairs


def fitted(model: StructuralModel, spec: str, dim: int, seed: int = 0) -> StructuralModel:
    """Fit the head of a model that has none, in place: on the training half where there is one, without labels.

    Raises:
        UsageError: the model has a head, or the images are not more than `dim`.
    """
    if model.head_fitted:
        raise UsageError(f"the model {model.name} has a head already; leave out the dim of one to be fitted")
    collection = photographs(spec) if _is_photographs(spec) else open_dataset(spec)
    splits = collection.splits or [""] * len(collection)
    where = [i for i, split in enumerate(splits) if split == "train"] or list(range(len(collection)))
    files = [collection.file(i) for i in where]
    HeadFitting(dim, most=SAMPLE, seed=seed, required=True).fit_files(model, files, collection.name)
    return model


def _is_photographs(spec: str) -> bool:
    return spec.partition(":")[0] == "photos" or _bare_folder(spec)


def _bare_folder(spec: str) -> bool:
    """Whether it is a folder without class folders."""
    return os.path.isdir(spec) and not any(open_folder(spec, labels_from="folder").labels or [])


def with_keypoints(pair: Pair, keypoints: Keypoints, root: Path) -> Pair:
    """A pair with the marked points that both of its images show, files below `root`."""
    a, b = (keypoints.points.get(Path(p.name).relative_to(root).as_posix(), {}) for p in (pair.a, pair.b))
    nowhere = (float("nan"), float("nan"))
    both = [name for name in keypoints.names if name in a and name in b]
    rows = [(a[name], b[name], b.get(keypoints.mirrored(name) or "", nowhere)) for name in both]
    points = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3, 2)
    return replace(pair, points=Points(points[:, 0], points[:, 1], points[:, 2]))
