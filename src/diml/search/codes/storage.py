"""The file of an index that has the centroids of its codes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from diml.errors import StoreError
from diml.files import write_atomic
from diml.search.codes.codec import Codec
from diml.search.codes.names import parse_codes
from diml.search.codes.product import Product
from diml.search.object_path import ObjectPath

FILE = "codes.safetensors"


def save_codec(codec: Codec, folder: Path) -> str:
    """Write the centroids, if the codec has any.

    Returns:
        The SHA-256 of the file; empty where there is none.
    """
    if not isinstance(codec.vectors, Product):
        return ""
    assert codec.vectors.centroids is not None
    data = save({"centroids": codec.vectors.centroids}, {"codes": codec.name, "fitted_on": codec.fitted_on})
    write_atomic(folder / FILE, data, durable=True)
    return hashlib.sha256(data).hexdigest()


def load_codec(folder: Path | ObjectPath, name: str, digest: str, fitted_on: str, parts: int, dim: int) -> Codec:
    """The codec of an index.

    Raises:
        StoreError: its file is missing, or another than the index was made with.
    """
    codec = parse_codes(name, parts, dim)
    if codec.fitted:
        return codec
    file = folder / FILE
    try:
        data = file.read_bytes()
    except OSError as error:
        raise StoreError(f"{folder} was copied in part: {file} is missing; copy the index again") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreError(f"{file} is not the one that the index was made with; copy the index again")
    try:
        centroids = load(data)["centroids"]
    except (SafetensorError, KeyError) as error:
        raise StoreError(f"{file} cannot be read; copy the index again") from error
    vectors = codec.vectors
    assert isinstance(vectors, Product)
    return replace(codec, vectors=Product(vectors.bytes, dim, centroids), fitted_on=fitted_on)
