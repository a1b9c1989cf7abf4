"""Collections of images: folders, tables, the benchmarks of the field; and files to RGB."""

from diml.data.collection import Collection, Skipped, open_folder, open_table
from diml.data.datasets import open_dataset
from diml.data.images import ENDINGS, MAX_PIXELS, open_image, printable, to_rgb
from diml.data.masks import open_mask

__all__ = [
    "ENDINGS",
    "MAX_PIXELS",
    "Collection",
    "Skipped",
    "open_dataset",
    "open_folder",
    "open_image",
    "open_mask",
    "open_table",
    "printable",
    "to_rgb",
]
