"""From the name of a food in the tables to its label: the food without its variety."""

from __future__ import annotations

import re

_NUMBERED = re.compile(r"\s*-?\s*(\d+|all varieties)$")


def base_name(name: str) -> str:
    """What stands before the first comma, in lower case, without the number of a variety.

    >>> [base_name(name) for name in ("Mango, ripe, kesar", "Brinjal-12", "Brinjal - all varieties", "Knol - Khol")]
    ['mango', 'brinjal', 'brinjal', 'knol-khol']
    """
    first = re.sub(r"\s*-\s*", "-", name.partition(",")[0].strip().lower())
    return _NUMBERED.sub("", " ".join(first.split()))
