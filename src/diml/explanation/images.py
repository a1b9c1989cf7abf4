"""The images that an explanation shows: their names, and their pixels when a picture needs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from diml.feature_maps import FeatureMaps
    from diml.model import Source

    Read = Callable[[Source], Image | Tensor]

# What pictures and pages show in place of an image of which only features are known.
NO_IMAGE = "no image file"


@dataclass(frozen=True, eq=False)
class NamedImage:
    """An image that an explanation names, and shows where it is drawn.

    Attributes:
        name: as documents state it: the path as it was given.
        title: as pictures state it: the file name.
        source: what `model.encode` takes as one image, or feature maps; None where nothing but the name is known.
        read: decodes the source, such as `model.read`; by default `diml.model.read_image`.
        shown: what pictures show where the source is feature maps: the image, or a smaller copy of it.
    """

    name: str
    title: str
    source: Source | FeatureMaps | None = field(default=None, repr=False)
    read: Read | None = field(default=None, repr=False)
    shown: Image | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, source: Source | FeatureMaps | NamedImage | None, otherwise: str, read: Read | None = None
    ) -> NamedImage:
        """A path, or a PIL image that was read from a file, has a name; all others are called `otherwise`.

        >>> NamedImage.of("photos/cat.jpg", "first image")
        NamedImage(name='photos/cat.jpg', title='cat.jpg')
        >>> NamedImage.of(None, "first image")
        NamedImage(name='first image', title='first image')
        """
        if isinstance(source, NamedImage):
            return source if read is None else replace(source, read=read)
        path = source if isinstance(source, str | os.PathLike) else getattr(source, "filename", "")
        name = os.fspath(path) or otherwise
        return cls(name, Path(name).name or otherwise, source, read)

    @cached_property
    def picture(self) -> Image | None:
        """RGB and upright, decoded on first use and kept; None where there is no image, such as for feature maps alone.

        Raises:
            ImageError: the image cannot be read.
        """
        from torch import Tensor

        from diml.feature_maps import FeatureMaps
        from diml.model import read_image

        if self.shown is not None:
            return self.shown
        if self.source is None or isinstance(self.source, Tensor | FeatureMaps):
            return None
        opened = (self.read or read_image)(self.source)
        assert not isinstance(opened, Tensor)
        return opened

    @property
    def readable(self) -> Any:
        """What a model encodes: the picture, so that it is decoded only once, or else the source.

        Raises:
            ImageError: the image cannot be read.
        """
        return self.source if self.shown is not None or self.picture is None else self.picture


# The images of an explanation that was made of matches alone.
QUERY = NamedImage("Q.jpg", "the query")
FIRST = NamedImage("A.jpg", "first image")
SECOND = NamedImage("B.jpg", "second image")


def blank() -> Image:
    """A grey pixel, to stretch over the place of an image of which only features are known."""
    from PIL import Image

    return Image.new("RGB", (1, 1), "#d9d9d9")
