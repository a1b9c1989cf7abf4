"""One step in the life of an index: `python life_process.py STEP IMAGES INDEX DIM`, which reports what it commits.

It prints "ready" when all is imported, waits for a line, then works. Steps: `add` (also creates) and `prune`. After
each commit of new rows it prints "stored PATH" for every one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from torch import nn


def backbone() -> nn.Module:
    """The module of tests/formats/v1, so that its index can be added to as well."""
    import torch

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 16, 16), nn.ReLU())


def report_commits() -> None:
    """Print the path of each row after the table has it."""
    from diml.search.store import Store

    put = Store.put

    def reported(self: Store, rows: Any, replacing: bool) -> None:
        put(self, rows, replacing)
        sys.stdout.write("".join(f"stored {path}\n" for path in rows["path"].to_pylist()))
        sys.stdout.flush()

    Store.put = reported  # type: ignore[method-assign]


def main(step: str, images: str, into: str, dim: str) -> None:
    from diml.data.collection import open_folder
    from diml.model import StructuralModel
    from diml.search import Index
    from diml.search.manifest import is_index

    report_commits()
    print("ready", flush=True)
    sys.stdin.readline()
    if is_index(Path(into)):
        index = Index.open(into, backbone=backbone())
    else:
        model = StructuralModel.wrap(backbone(), grid=(3, 3), name="patches")
        index = Index.create(into, model, dim=int(dim))
    index.add(open_folder(images, "folder"), prune=step == "prune", batch_size=4, commit_seconds=0)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:5])
