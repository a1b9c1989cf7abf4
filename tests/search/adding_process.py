"""A process that adds a folder to an index, slowly: `python adding_process.py FOLDER INDEX DIM SECONDS_PER_BATCH`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch


def main(folder: str, into: str, dim: int, seconds: float) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import CountingBackbone

    from diml.embedding import Preprocessing
    from diml.model import StructuralModel
    from diml.search import index_folder

    class SlowBackbone(CountingBackbone):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            time.sleep(seconds)
            return super().forward(pixels)

    model = StructuralModel.wrap(SlowBackbone(), Preprocessing(size=(32, 32)), name="tiny")
    print("ready", flush=True)
    sys.stdin.readline()
    _, report = index_folder(folder, into, model=model, dim=dim, batch_size=2, commit_seconds=0)
    print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
