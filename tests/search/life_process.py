"""One step in the life of an index: `python life_process.py STEP IMAGES INDEX DIM`, which reports what it commits.

It prints "ready" when all is imported, waits for a line, then works. Steps: `add` (also creates) and `prune`. After
each commit of new rows it prints "stored PATH" for every one of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from torch import nn


def backbone() -> nn.Module:
    """The module of tests/formats/v1, so that its index can be added to as well."""
    import torch

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 16, 16), nn.ReLU())


def report_commits() -> None:
    """Print the path of each row after the table has it."""
    from diml.search.object_table import ObjectTable
    from diml.search.store import Store

    def reporting(put: Callable[[Any, Any, bool], int]) -> Callable[[Any, Any, bool], int]:
        def reported(self: Any, rows: Any, replacing: bool) -> int:
            stored = put(self, rows, replacing)
            sys.stdout.write("".join(f"stored {path}\n" for path in rows["path"].to_pylist()))
            sys.stdout.flush()
            return stored

        return reported

    for table in (Store, ObjectTable):
        table.put = reporting(table.put)  # type: ignore[method-assign]


def main(step: str, images: str, into: str, dim: str) -> None:
    from diml.data.collection import open_folder
    from diml.model import StructuralModel
    from diml.search import Index, claims
    from diml.search.manifest import is_index
    from diml.search.places import index_place

    # A claim of a process that was killed is taken over sooner than in earnest.
    claims.LEASE, claims.RENEWAL = (float(os.environ.get(f"LIFE_{name}", "20")) for name in ("LEASE", "RENEWAL"))
    report_commits()
    print("ready", flush=True)
    sys.stdin.readline()
    if is_index(index_place(into)):
        index = Index.open(into, backbone=backbone())
    else:
        model = StructuralModel.wrap(backbone(), grid=(3, 3), name="patches")
        index = Index.create(into, model, dim=int(dim))
    index.add(open_folder(images, "folder"), prune=step == "prune", batch_size=4, commit_seconds=0)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:5])
