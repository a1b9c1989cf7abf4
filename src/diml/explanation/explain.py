"""From images to explanations: why two are similar, why one rather than another, where many agree."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diml.errors import DatasetError, UsageError
from diml.explanation.agreement import Agreement
from diml.explanation.conditions import Conditions
from diml.explanation.contrast import Contrast
from diml.explanation.images import NamedImage
from diml.explanation.pair import PairExplanation
from diml.explanation.part_sums import PartSums

if TYPE_CHECKING:
    from PIL.Image import Image

    from diml.data import Located
    from diml.data.collection import Skipped
    from diml.embedding import Rollout
    from diml.feature_maps import FeatureMaps
    from diml.matching import Match, RegionLike
    from diml.model import Mask, Query, RolloutQuery, Source, StructuralModel
    from diml.search import Hit, Pair, SearchResult

    Shown = Source | FeatureMaps | NamedImage


def explain_pair(
    model: StructuralModel,
    a: Shown,
    b: Shown,
    *,
    regions: Sequence[RegionLike] = (),
    mask: Mask | None = None,
    rollout: int | None = None,
) -> PairExplanation:
    """Explain why two images are similar, in float64 and solved tightly.

    Args:
        model: compares the images.
        a, b: paths, PIL images, arrays or tensors as `model.encode` takes them, or feature maps of one image.
        regions: parts of `a`, each `(x0, y0, x1, y1)` or `((x0, y0, x1, y1), weight)` in its pixels: only these are
            looked for, anywhere in `b`.
        mask: the same by an image of the size of `a`.
        rollout: weigh the parts of both images by the attention of the last so many blocks (vision transformers).

    Raises:
        ImageError: an image or the mask cannot be read.
        UsageError: a region or a mask that does not fit, several of `regions`, `mask` and `rollout`, or a rollout of a
            model without attention.

    >>> import torch
    >>> from PIL import Image
    >>> from diml.model import StructuralModel
    >>> model = StructuralModel.wrap(torch.nn.Conv2d(3, 8, 32, 32))
    >>> explanation = explain_pair(model, Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "blue"))
    >>> total = sum(pair.contribution for pair in explanation.parts())
    >>> abs(total - explanation.similarity) < 1e-10
    True
    """
    from diml.model import RolloutQuery

    first, second = (NamedImage.of(*each, model.read) for each in ((a, "first image"), (b, "second image")))
    query = model.query(first.readable, regions=regions, mask=mask, rollout=rollout)
    if not isinstance(query, RolloutQuery):
        return PairExplanation(_match(query, second), first, second, _conditions(query))
    match, rollout_b = query.match_with_rollout(second.readable)
    return PairExplanation(match, first, second, _conditions(query), _patches(match, query, rollout_b))


def explain_contrast(
    model: StructuralModel,
    query: Shown,
    a: Shown,
    b: Shown,
    *,
    regions: Sequence[RegionLike] = (),
    mask: Mask | None = None,
    rollout: int | None = None,
) -> Contrast:
    """Explain why a query is more similar to one image than to another; the arguments are those of `explain_pair`.

    Args:
        query: the image that is compared with both; `regions` and `mask` choose parts of it.
        a, b: the two images.
    """
    image = NamedImage.of(query, "query", model.read)
    first, second = (NamedImage.of(*each, model.read) for each in ((a, "first image"), (b, "second image")))
    asked = model.query(image.readable, regions=regions, mask=mask, rollout=rollout)
    return Contrast(_match(asked, first), _match(asked, second), image, first, second, _conditions(asked))


def explain_agreement(
    model: StructuralModel,
    image: Shown,
    others: str | os.PathLike[str] | Sequence[Source],
    *,
    regions: Sequence[RegionLike] = (),
    mask: Mask | None = None,
    against: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Explain which parts of an image many others share.

    Images that cannot be read are left out; `Agreement.skipped` names them.

    Args:
        model: compares the images.
        image: what `model.encode` takes as one image, or feature maps of one.
        others: a folder, of which all images but `image` itself are taken, or images.
        regions, mask: parts of `image`, as for `explain_pair`.
        against: what to call the others; by default the folder as it was given, or "images".
        progress: called with the numbers of images done and of all images.

    Raises:
        ImageError: `image` or the mask cannot be read.
        UsageError: a region or a mask that does not fit, or no other image.
        DatasetError: none of the others can be read.
    """
    shown = NamedImage.of(image, "the image", model.read)
    if isinstance(others, str | os.PathLike):
        against = against or os.fspath(others)
        others = images_beside(others, shown.name)[0]
    query = model.query(shown.readable, regions=regions, mask=mask)
    read: list[NamedImage] = []
    skipped: list[Skipped] = []
    sums = PartSums.of(_matches(query, others, read, skipped, progress))
    return Agreement(sums, shown, read, against or "images", _conditions(query), skipped)


def images_beside(
    folder: str | os.PathLike[str], image: str | os.PathLike[str]
) -> tuple[list[Path | Located], Sequence[Skipped]]:
    """The images of a folder except for the image itself, and the files that were skipped.

    Raises:
        DatasetError: the folder cannot be read.
        UsageError: there is no other image.
    """
    from diml.data import open_folder
    from diml.files import user_path

    collection, image = open_folder(folder), user_path(image)
    files = [collection.file(i) for i in range(len(collection))]
    others = [each for each in files if not (isinstance(each, Path) and image.exists() and each.samefile(image))]
    if not others:
        raise UsageError(f"expected at least one other image in {folder}, got none besides {image}")
    return others, collection.skipped


def _matches(
    query: Query,
    others: Sequence[Source],
    read: list[NamedImage],
    skipped: list[Skipped],
    progress: Callable[[int, int], None] | None,
) -> Iterator[Match]:
    """Match after match, so that maps and plans need not be kept; notes what was read and what could not be."""
    from diml.data.collection import Skipped

    for batch in query.model.stream(others):
        read += [NamedImage.of(others[k], f"image {k + 1}", query.model.read) for k in batch.indices]
        names = [(NamedImage.of(others[k], f"image {k + 1}").name, reason) for k, reason in batch.failures]
        skipped += [Skipped(name, str(reason)) for name, reason in names]
        if progress is not None:
            progress(len(read) + len(skipped), len(others))
        if batch.indices:
            yield query.match(batch.maps)
    if skipped and not read:
        reasons = "; ".join(each.reason for each in skipped[:3])
        raise DatasetError(f"none of the {len(others)} images to compare with could be read: {reasons}")


def _match(query: Query, image: NamedImage) -> Match:
    from diml.feature_maps import FeatureMaps

    readable = image.readable
    return query.match(readable) if isinstance(readable, FeatureMaps) else query.match_image(readable)


def explain_hit(result: SearchResult, hit: Hit) -> PairExplanation:
    """Explain why a hit of a search was found, with the very numbers that it was ranked by.

    Args:
        result: of `index.search`.
        hit: one of its hits.

    >>> import tempfile, torch
    >>> from diml.feature_maps import FeatureMaps
    >>> from diml.search import Index
    >>> index = Index.create(Path(tempfile.mkdtemp()) / "features.diml")
    >>> maps = FeatureMaps(torch.eye(8).reshape(2, 4, 8), grid=(2, 2))
    >>> index.add_maps(maps, paths=["a", "b"], sizes=[(64, 64), (80, 60)]).added
    2
    >>> result = index.search(maps[1], k=1)
    >>> explain_hit(result, result[0]).similarity == result[0].similarity
    True
    """
    query = result.query
    shown = replace(NamedImage.of(query.source, "the query", query.model.read), shown=query.image)
    return PairExplanation(hit.match, shown, NamedImage(hit.path, Path(hit.path).name), _conditions(query))


def explain_found_pair(pair: Pair) -> PairExplanation:
    """Explain why a pair of an index was found, with the very numbers that it was found by.

    Pictures show the thumbnails of the index. A pair of a one-sided transport is explained in its direction.

    Args:
        pair: of `index.pairs`.

    Raises:
        StoreError: one of the images is not stored any more.

    >>> import tempfile, torch
    >>> from diml.feature_maps import FeatureMaps
    >>> from diml.search import Index
    >>> index = Index.create(Path(tempfile.mkdtemp()) / "features.diml")
    >>> maps = FeatureMaps(torch.eye(8).reshape(2, 4, 8)[[0, 1, 0]], grid=(2, 2))
    >>> index.add_maps(maps, paths=["a", "b", "c"], sizes=[(64, 64)] * 3).added
    3
    >>> pair = next(iter(index.pairs()))
    >>> explain_found_pair(pair).similarity == pair.similarity
    True
    """
    pictures = [_decoded(jpeg) for jpeg in pair.source.thumbnails(pair.compared)]
    a, b = (NamedImage(path, Path(path).name, shown=shown) for path, shown in zip(pair.compared, pictures, strict=True))
    query = pair.source.model.query(pair.match.maps_a)
    return PairExplanation(pair.match, a, b, _conditions(query))


def _decoded(jpeg: bytes) -> Image | None:
    import PIL.Image

    return PIL.Image.open(io.BytesIO(jpeg)).convert("RGB") if jpeg else None


def _conditions(query: Query) -> Conditions:
    return Conditions.of(query.model.name, query.marginals, query.model.matcher, query.part)


def _patches(match: Match, query: RolloutQuery, rollout: Rollout) -> dict[str, Any]:
    """What each patch of either image contributes, (h, w) as lists of rows; sums to the contributions."""
    from diml.model import spread

    contributions = spread(match, query.rollout, rollout)[0]
    h, w = rollout.grid
    a, b = (contributions.sum(dim=axis).reshape(h, w).tolist() for axis in (1, 0))
    return {"a": a, "b": b}
