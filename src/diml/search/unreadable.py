"""Why an index that was found cannot be read: moved, copied in part, without permission, or damaged."""

from __future__ import annotations

import re

from diml.errors import StoreError
from diml.search.conditions import engine_reason
from diml.search.places import Place

# A file of the table, in an error of the engine that does not find it.
_MISSING = re.compile(r"not found.*?([\w.-]*\.(?:lance|idx|manifest|arrow|bin))\b(?!/)", re.IGNORECASE)
# How the engine says that a file ends too early, or does not begin or end as its format does.
_DAMAGED = re.compile(
    r"invalid range|too small|invalid magic|not appear to be a lance|unexpected e|fill whole buffer|decod",
    re.IGNORECASE,
)


def is_missing(error: BaseException) -> bool:
    """Whether the engine did not find a file of the table."""
    return re.search(r"not found.*\.(lance|idx|manifest|arrow|bin)", str(error), re.IGNORECASE) is not None


def moved(folder: Place) -> StoreError:
    """The error for an index whose folder was there when it was opened."""
    return StoreError(f"{folder} was moved or removed while it was open; open it where it is now")


def unreadable(folder: Place, error: BaseException) -> StoreError:
    """What an error of the engine means for the index in a folder, in one sentence.

    Args:
        folder: of the index.
        error: what the engine raised while it opened or read the table.
    """
    if not folder.exists():
        return moved(folder)
    reason = engine_reason(error)
    if isinstance(error, PermissionError) or "permission denied" in reason.lower():
        return StoreError(f"{folder} cannot be read: permission denied; check the permissions of its files")
    if re.search(r"table '\w+' was not found|_versions", reason, re.IGNORECASE):
        return StoreError(f"{folder} was copied in part: its table is missing; copy the index again")
    if found := _MISSING.search(str(error)):
        return StoreError(
            f"{folder} was copied in part: {found.group(1)} of its table is missing; copy the index again"
        )
    if _DAMAGED.search(reason):
        return StoreError(
            f"{folder} cannot be read: a file of its table is truncated or damaged ({reason}); copy the index again, "
            "or make it again"
        )
    return StoreError(f"{folder} cannot be read: {reason}; copy the index again, or make it again")
