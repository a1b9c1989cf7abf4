"""One step in the life of an index: `python life_process.py STEP IMAGES INDEX`, which reports each commit.

It prints "ready" when all is imported, waits for a line, then works. Steps: `add` (also creates), `prune`, `graph`
(adds with a limit of exact search so low that the vector index is built).
"""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn


def backbone() -> nn.Module:
    """The module of tests/formats/v1, so that its index can be added to as well."""
    import torch

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 16, 16), nn.ReLU())


def main(step: str, images: str, into: str) -> None:
    from diml.data.collection import open_folder
    from diml.model import StructuralModel
    from diml.search import Index
    from diml.search.manifest import is_index
    from diml.search.settings import EXACT_LIMIT

    limit = 20 if step == "graph" else EXACT_LIMIT
    print("ready", flush=True)
    sys.stdin.readline()
    if is_index(Path(into)):
        index = Index.open(into, backbone=backbone())
    else:
        model = StructuralModel.wrap(backbone(), grid=(3, 3), name="patches")
        index = Index.create(into, model, dim=4, exact_limit=limit)
    index.add(open_folder(images, "folder"), prune=step == "prune", batch_size=4, commit_seconds=0)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
