"""Images of a request: uploaded, or named by their id in the index."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fastapi import UploadFile
from PIL import Image

from diml.errors import UsageError
from diml.explanation import NamedImage
from diml.feature_maps import FeatureMaps
from diml.matching import RegionLike
from diml.model import QueryPart
from diml.model.query_part import PartChoice
from diml.search import Index
from diml.service.answering import Answering, Used
from diml.service.multipart import content
from diml.service.routes.images import entry_of


@dataclass(frozen=True, eq=False)
class Given:
    """An image that a request names or brings.

    Attributes:
        name: of the file that was uploaded, or its path in the index.
        maps: its feature maps, n = 1: of an image of the index the stored ones.
        image: decoded, where it is kept; None for an image of the index.
        id: in the index; None for an upload.
    """

    name: str
    maps: FeatureMaps
    image: Image.Image | None = None
    id: str | None = None

    def named(self, index: Index) -> NamedImage:
        """For explanations, with a picture to draw: the upload, or the thumbnail."""
        shown = self.image
        if shown is None and self.id is not None:
            thumbnail = index.thumbnail(self.id)
            shown = Image.open(io.BytesIO(thumbnail)).convert("RGB") if thumbnail else None
        return NamedImage(self.name, PurePosixPath(self.name).name, self.maps, shown=shown)


async def given_image(
    answering: Answering, used: Used, upload: UploadFile | None, id: str | None, name: str, keep: bool = False
) -> Given:
    """An image of a request, with its feature maps.

    Args:
        name: of the field, for messages.
        keep: the decoded image as well, to draw it.

    Raises:
        UsageError: neither a file nor an id, or both.
        ImageError: the file cannot be read.
        RequestError: 404, there is no such id.
    """
    if (upload is None) == (not id):
        got = "neither" if upload is None else "both"
        raise UsageError(f"expected a file {name} or the id of an image of the index, got {got}; send one of them")
    if upload is not None:
        async with answering.opening:
            data, shown = await content(upload, name)
            image = await answering.decode(used.index, data, shown)
            pixels = await answering.preprocess(used.index, image)
        kept = image if keep else None
        del data, image  # while this request waits for the model
        return Given(shown, await answering.embed(used, pixels), kept)
    assert id is not None
    return await answering.run(lambda: _stored(used.index, id))


def _stored(index: Index, id: str) -> Given:
    entry = entry_of(index, id)
    return Given(entry.path, index.maps(entry.id), id=entry.id)


async def given_part(
    answering: Answering, maps: FeatureMaps, regions: Sequence[RegionLike], mask: UploadFile | None
) -> QueryPart | None:
    """The part of an image that is looked for, if regions or a mask choose one.

    Raises:
        ImageError: the mask cannot be read.
        UsageError: a part that does not fit the image, or that is chosen in two ways.
    """
    if mask is None:
        return PartChoice.of(regions, None).part(maps)
    async with answering.opening:
        choice = PartChoice.of(regions, await given_mask(answering, mask))
        return await answering.compute(lambda: choice.part(maps))


async def given_mask(answering: Answering, upload: UploadFile | None) -> Image.Image | None:
    """The mask of a request, if there is one.

    Raises:
        ImageError: it cannot be read.
    """
    if upload is None:
        return None
    data, name = await content(upload, "mask")
    mask = await answering.decode_mask(data, name)
    mask.filename = name  # type: ignore[attr-defined]
    return mask
