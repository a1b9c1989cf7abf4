"""What this program has written: indices, training runs and pictures, which are not input when a folder is searched."""

from __future__ import annotations

import os
from collections.abc import Sequence

from diml.data.printable import printable
from diml.files import SOFTWARE, first_bytes

_MARK = (8 + 1 + len(SOFTWARE)).to_bytes(4, "big") + b"tEXtSoftware\0" + SOFTWARE.encode()
# The text comes before the pixels, and only short chunks come before the text.
HEAD = 512
_INDEX, _RUN, _PICTURE = "indices", "training runs", "pictures"


def kind_of_folder(folder: str | os.PathLike[str]) -> str | None:
    """Whether a folder is an index or a training run, by the files that mark it and their content; None otherwise.

    A folder that only has a file of such a name, for instance a `manifest.json` of another program, is neither.
    """
    if b'"format": "diml-index"' in first_bytes(os.path.join(folder, "manifest.json"), HEAD):
        return _INDEX
    # The creation of an index was interrupted.
    if os.path.isdir(os.path.join(folder, "images.lance")) and os.path.isfile(os.path.join(folder, "writer.lock")):
        return _INDEX
    if os.path.isfile(os.path.join(folder, "settings.toml")) and b'"diml": "' in first_bytes(
        os.path.join(folder, "versions.json"), HEAD
    ):
        return _RUN
    return None


def kind_of_picture(head: bytes) -> str | None:
    """Whether a file is a picture of this program, by its first `HEAD` bytes; None otherwise."""
    return _PICTURE if _MARK in head else None


def describe(outputs: Sequence[tuple[str, str]]) -> str:
    """One line on (path, kind) of what was left out.

    >>> describe([("a.diml", "indices"), ("demo-out/hits.png", "pictures"), ("demo-out/why.png", "pictures")])
    'left out, as diml wrote them: indices 1 (a.diml), pictures 2 (demo-out/hits.png, ...)'
    """
    by_kind: dict[str, list[str]] = {}
    for path, kind in outputs:
        by_kind.setdefault(kind, []).append(path)
    counts = [
        f"{kind} {len(paths)} ({printable(paths[0])}{', ...' if len(paths) > 1 else ''})"
        for kind, paths in sorted(by_kind.items())
    ]
    return f"left out, as diml wrote them: {', '.join(counts)}"
