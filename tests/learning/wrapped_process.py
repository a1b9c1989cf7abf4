"""One of two processes: its half of the batch by the library's wrapper. `python wrapped_process.py RANK PORT FOLDER`"""

import sys
from pathlib import Path

import torch
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.utils.distributed import DistributedLossWrapper

from diml.learning import StructuralDistance, StructuralSimilarity


def main(rank, port, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    half = slice(4 * rank, 4 * rank + 4)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])[half]
    kept = {}
    for kind in (StructuralSimilarity, StructuralDistance):
        for efficient in (False, True):
            maps = torch.load(folder / "maps.pt", weights_only=True)[half].requires_grad_()
            distance = kind((2, 2), eps=0.5, tolerance=1e-10)
            loss = DistributedLossWrapper(NTXentLoss(distance=distance), efficient=efficient)(maps, labels)
            loss.backward()
            kept[f"{kind.__name__}-{efficient}"] = loss.detach(), maps.grad
    torch.save(kept, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
