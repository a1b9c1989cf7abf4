"""An image as it is drawn: its picture, its title, and where the grid of its parts lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diml.explanation.drawing.page import enough
from diml.explanation.marks import Box, Size, original_size, visible_box

if TYPE_CHECKING:
    from PIL.Image import Image

    from diml.explanation.images import NamedImage
    from diml.feature_maps import FeatureMaps


@dataclass(frozen=True)
class DrawnImage:
    """An image as it is drawn.

    Attributes:
        picture: at no more pixels than a page can show; None where only features are known.
        title: stands above it.
        size: of the original in pixels.
        visible: the rectangle of the original that the model saw.
    """

    picture: Image | None
    title: str
    size: Size
    visible: Box

    @classmethod
    def of(cls, image: NamedImage, maps: FeatureMaps, prefix: str = "") -> DrawnImage:
        """An image with its feature maps (n = 1); opens it.

        Raises:
            ImageError: it cannot be read.
        """
        picture = image.picture
        size = original_size(maps, picture)
        shown = None if picture is None else enough(picture)
        return cls(shown, prefix + image.title, size, visible_box(maps, size))
