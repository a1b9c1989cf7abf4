"""Sizes of an image other than its own: what a model resizes it to, and what the file has that it was decoded from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]
_KEY = "diml_original"


@dataclass(frozen=True)
class Wanted:
    """The size that a model resizes an image to, before any crop; called with the width and height of the image.

    Attributes:
        width, height: of the model's input.
        crop: share of the resized image that a centre crop keeps, whose aspect ratio is kept; None where the whole
            image is resized to the input.

    >>> Wanted(224, 224)((4000, 3000)), Wanted(224, 224, 0.875)((4000, 3000))
    ((224, 224), (341, 256))
    """

    width: int
    height: int
    crop: float | None = None

    def __call__(self, size: Size) -> Size:
        if self.crop is None:
            return self.width, self.height
        width, height = size
        scale = max(self.width / width, self.height / height) / self.crop
        return max(self.width, round(width * scale)), max(self.height, round(height * scale))


class Original(NamedTuple):
    """What an image shows of the file that it was decoded from.

    Attributes:
        size: width and height of the image in the file, upright.
        box: `x0, y0, x1, y1`, the part of the decoded image that shows all of it: a side that the scale does not divide
            is rounded up, and the rest of its last pixel shows nothing.
        decoded: width and height of the decoded image.
    """

    size: Size
    box: tuple[float, float, float, float]
    decoded: Size


def note_original(image: Image, original: Original) -> None:
    """Note in `image.info` what the image was decoded from, unless it has the size of that."""
    if original.size != original.decoded:
        image.info[_KEY] = original


def original_of(image: Image) -> Original:
    """What was noted of the image; an image of another size, such as a crop, is an original itself.

    >>> from PIL import Image
    >>> original_of(Image.new("RGB", (64, 48)))
    Original(size=(64, 48), box=(0.0, 0.0, 64.0, 48.0), decoded=(64, 48))
    """
    noted = image.info.get(_KEY)
    # Pillow's operations pass `info` on, and the texts of a PNG are in it too.
    if isinstance(noted, Original) and noted.decoded == image.size:
        return noted
    width, height = image.size
    return Original(image.size, (0.0, 0.0, float(width), float(height)), image.size)
