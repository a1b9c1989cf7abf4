"""An image as it is drawn: a picture of it, its title, and how it lies under the grid of its parts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diml.explanation.drawing.page import enough
from diml.explanation.images import opened
from diml.explanation.marks import Box, original_size, visible_box

if TYPE_CHECKING:
    from PIL.Image import Image

    from diml.feature_maps import FeatureMaps


@dataclass(frozen=True)
class DrawnImage:
    """One of the two images: a picture of it, its title, the size of the original and what the model saw of it."""

    picture: Image
    title: str
    size: tuple[int, int]
    visible: Box


def drawn_image(image: Image | str | os.PathLike[str], title: str, maps: FeatureMaps) -> DrawnImage:
    picture = opened(image)
    size = original_size(maps, picture.size)
    return DrawnImage(enough(picture), title, size, visible_box(maps, size))
