"""Names of codes, as users give them."""

from __future__ import annotations

import re

from diml.errors import UsageError
from diml.search.codes.codec import Codec
from diml.search.codes.product import Product
from diml.search.codes.vectors import Half, VectorCode, Whole

# An index without codes: the maps as they are, in float16.
FLOAT16 = "float16"
_NAME = re.compile(r"(?:pool(?P<kept>\d{1,3})\+)?(?:(?P<plain>float16|int8|int4)|pq(?P<pieces>\d{1,4}))")


def parse_codes(name: str, parts: int, dim: int) -> Codec:
    """The codes of a name, for maps of so many parts and numbers; those with centroids are not fitted yet.

    Args:
        name: float16, int8, int4, or pqM for M bytes a vector; before any of them poolK+ for K vectors an image.

    Raises:
        UsageError: there are no such codes, or they do not fit the maps.

    >>> [parse_codes(name, 16, 128).bytes for name in ("float16", "int8", "int4", "pq16", "pool8+pq31")]
    [4096, 2080, 1056, 256, 256]
    """
    found = check_codes(name)
    kept = int(found["kept"]) if found["kept"] else parts
    if not 1 <= kept <= parts:
        raise UsageError(f"expected pool1 to pool{parts} for maps of {parts} parts, got pool{kept}")
    if kept < parts and parts > 256:
        raise UsageError(f"expected maps of at most 256 parts with {name}, got {parts}; leave poolK+ out")
    return Codec(parts, kept, _vector_code(found, dim))


def check_codes(name: str) -> re.Match[str]:
    """The parts of a name.

    Raises:
        UsageError: it is not one of codes.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(
            "expected float16, int8, int4 or pqM (M bytes a part) as codes, perhaps after poolK+ (K vectors an image), "
            f"got {name!r}"
        )
    return found


def _vector_code(found: re.Match[str], dim: int) -> VectorCode:
    if found["pieces"]:
        return Product(int(found["pieces"]), dim)
    plain = found["plain"]
    return Half(dim) if plain == "float16" else Whole(int(plain.removeprefix("int")), dim)
