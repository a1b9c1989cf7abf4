"""A process that adds images by a Ray engine, slowly: `python ray_process.py IMAGES INDEX SECONDS_PER_BATCH [end]`.

It prints "ready" when the cluster runs, "stored PATH" after each commit of new rows, and at the end "done ADDED
UNCHANGED" or "error SENTENCE". With `end`, a black image kills the worker that embeds it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from life_process import report_commits  # beside this file


class Slow(nn.Module):
    """Known at the workers by its value, as this is the main module."""

    def __init__(self, seconds: float, ends_at_black: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 6, 16, 16)
        self.seconds, self.ends_at_black = seconds, ends_at_black

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        black = pixels.flatten(1).amax(1) < -1.5  # normalised
        if self.ends_at_black and black.any():
            os.kill(os.getpid(), signal.SIGKILL)
        return self.convolution(pixels).relu()


def main(images: str, into: str, seconds: float, ends_at_black: bool) -> None:
    from diml.data.collection import open_folder
    from diml.errors import DimlError
    from diml.model import StructuralModel
    from diml.search import Index, RayEngine
    from diml.search.manifest import is_index

    report_commits()
    model = StructuralModel.wrap(Slow(seconds, ends_at_black), grid=(3, 3), name="slow")
    index = Index.open(into, model=model) if is_index(Path(into)) else Index.create(into, model, dim=0)
    with RayEngine(workers=2) as engine:
        print("ready", flush=True)
        try:
            report = index.add(open_folder(images, "folder"), batch_size=2, commit_seconds=0.2, engine=engine)
        except DimlError as error:
            print(f"error {error}", flush=True)
            return
    print(f"done {report.added} {report.unchanged}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), len(sys.argv) > 4)
