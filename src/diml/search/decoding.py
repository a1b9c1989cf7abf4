"""The decoding of image files that an index was made with, which it keeps as long as it exists."""

from __future__ import annotations

from diml.errors import StoreError, first_line
from diml.model import StructuralModel
from diml.model.config import preprocessing_of, read_config
from diml.model.storage import CONFIG
from diml.search.manifest import MODEL
from diml.search.places import Place


def stored_decoding(folder: Place) -> tuple[int, int | None]:
    """Version and bit depth, see `diml.data.open_image`.

    Raises:
        StoreError: the configuration of its model is damaged.
        ModelError: it cannot be read.
    """
    file = folder / MODEL / CONFIG
    try:
        pixels = preprocessing_of(read_config(file)["preprocessing"])
    except (TypeError, ValueError) as error:
        raise StoreError(f"{file}: invalid preprocessing ({first_line(error)}); copy the whole index again") from error
    return pixels.decoding, pixels.bit_depth


def with_decoding_of(folder: Place, model: StructuralModel) -> StructuralModel:
    """The model, decoding image files as the index does.

    Raises:
        StoreError: the model was given a bit depth, and the index was made with another.
    """
    given = model.encoder.preprocessing
    check_bit_depth(folder, given.bit_depth)
    decoding, bit_depth = stored_decoding(folder)
    if (given.decoding, given.bit_depth) == (decoding, bit_depth):
        return model
    return model.with_decoding(decoding, bit_depth)


def check_bit_depth(folder: Place, given: int | None) -> None:
    """Accept no bit depth, or that which the index was made with.

    Raises:
        StoreError: another bit depth.
    """
    if given is None:
        return
    stored = stored_decoding(folder)[1]
    if given != stored:
        made = "without a bit depth" if stored is None else f"with the bit depth {stored}"
        raise StoreError(f"{folder} was made {made}, got {given}; leave it out, or make another index")
