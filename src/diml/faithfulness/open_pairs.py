"""From the name of a collection to pairs to measure on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from diml.data import open_dataset, open_folder
from diml.data.keypoints import Keypoints, cub_keypoints
from diml.errors import ImageError, UsageError
from diml.faithfulness.known import with_masks, with_points
from diml.faithfulness.pairs import ImagePair, KnownPoints, pairs_of_classes
from diml.faithfulness.warped_pairs import photographs, warped_pairs
from diml.files import user_path
from diml.model import Fitting, HeadFitting, StructuralModel

# The most images that a head is fitted on: more of them hardly change the covariance.
SAMPLE = 1000


def open_pairs(
    spec: str, n: int, seed: int = 0, *, masks: Path | None = None, points: Path | None = None
) -> tuple[str, list[ImagePair]]:
    """The name of a collection, and at most n pairs from it.

    Args:
        spec: `photos` for the photographs of scikit-image, a folder of images without class folders, or `photos:FOLDER`
            for any folder: each image is paired with warped copies of itself. Anything else as `open_dataset` takes it:
            pairs of a class, with the part annotations of `cub200:DIR` if they exist.
        n: the largest number of pairs.
        seed: of the random choice.
        masks, points: tables of what is known of the images of a labelled collection, see `with_masks` and
            `with_points`; their paths are relative to the folder of the collection.

    Raises:
        UsageError: the collection or a table does not exist, or masks or points of photographs, which are warped.
        DatasetError: its layout is not the expected one, or no class has two images.
    """
    if _is_photographs(spec):
        if masks is not None or points is not None:
            raise UsageError(
                "masks and points are of the images of a labelled collection, and photographs are paired with warped "
                "copies of themselves; leave them out, or name a collection"
            )
        collection = photographs(spec)
        return collection.name, warped_pairs(collection, n, seed)
    collection = open_dataset(spec)
    pairs = pairs_of_classes(collection, n, seed)
    kind, _, folder = spec.partition(":")
    if kind == "cub200" and any((user_path(folder) / place / "parts").is_dir() for place in ("", "CUB_200_2011")):
        keypoints = cub_keypoints(user_path(folder))
        pairs = [with_keypoints(pair, keypoints, collection.root) for pair in pairs]
    if masks is not None:
        pairs = with_masks(pairs, masks, collection.root)
    if points is not None:
        pairs = with_points(pairs, points, collection.root)
    return collection.name, pairs


def fit_head(model: StructuralModel, spec: str, dim: int | None, seed: int = 0) -> list[tuple[str, str]]:
    """Fit what a model lacks, in place: on the training split if there is one, without labels.

    Args:
        dim: of the head to fit; None for no head, to fit only weights of parts.

    Returns:
        (file, reason) of each image that could not be read.

    Raises:
        UsageError: the model has a head already, or there are not more readable images than `dim`.
    """
    if dim is not None and model.head_fitted:
        raise UsageError(f"the model {model.name} has a head already; leave out the dimension of a new one")
    collection = photographs(spec) if _is_photographs(spec) else open_dataset(spec)
    splits = collection.splits or [""] * len(collection)
    where = [i for i, split in enumerate(splits) if split == "train"] or list(range(len(collection)))
    files = [collection.file(i) for i in where]
    head = None if dim is None else HeadFitting(dim, most=SAMPLE, seed=seed, required=True)
    unread: dict[int, ImageError] = {}
    Fitting(model, head, seed=seed).files(files, collection.name, unread=unread)
    return [(str(files[i]), str(error)) for i, error in unread.items()]


def _is_photographs(spec: str) -> bool:
    return spec.partition(":")[0] == "photos" or _bare_folder(spec)


def _bare_folder(spec: str) -> bool:
    """Whether `spec` is a folder without class folders."""
    return user_path(spec).is_dir() and not any(open_folder(spec, labels_from="folder").labels or [])


def with_keypoints(pair: ImagePair, keypoints: Keypoints, root: Path) -> ImagePair:
    """The pair with the annotated points that both of its images show; its files lie below `root`."""
    a, b = (keypoints.points.get(Path(p.name).relative_to(root).as_posix(), {}) for p in (pair.a, pair.b))
    nowhere = (float("nan"), float("nan"))
    both = [name for name in keypoints.names if name in a and name in b]
    rows = [(a[name], b[name], b.get(keypoints.mirrored(name) or "", nowhere)) for name in both]
    points = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3, 2)
    return replace(pair, points=KnownPoints(points[:, 0], points[:, 1], points[:, 2]))
