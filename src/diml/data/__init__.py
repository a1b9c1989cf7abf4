"""Collections of images: folders, tables, the benchmarks of the field; and files to RGB."""

from diml.data.collection import Collection, Skipped, open_folder, open_table
from diml.data.datasets import open_dataset
from diml.data.formats import ENDINGS
from diml.data.images import image_size, open_image, to_rgb
from diml.data.located import Located, NamedBytes
from diml.data.masks import open_mask
from diml.data.opening import MAX_PIXELS
from diml.data.packed import open_packed
from diml.data.printable import printable
from diml.image_sizes import original_of

__all__ = [
    "ENDINGS",
    "MAX_PIXELS",
    "Collection",
    "Located",
    "NamedBytes",
    "Skipped",
    "image_size",
    "open_dataset",
    "open_folder",
    "open_image",
    "open_mask",
    "open_packed",
    "open_table",
    "original_of",
    "printable",
    "to_rgb",
]
