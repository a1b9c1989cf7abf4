"""Training on two processes is training on one with the joint batch: gradients of the network and of the loss."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from diml.embedding import Encoder, Preprocessing
from diml.feature_maps import FeatureMaps
from diml.learning.batches.gathering import gather
from diml.learning.run.folder import RunFolder
from diml.learning.run.learner import Learner
from diml.learning.run.prepared_run import PreparedRun
from diml.learning.run.settings_file import load_settings
from diml.learning.run.train import train
from diml.matching import Matcher

IMAGES, CLASSES = 8, 4


class Boundary(nn.Module):
    """Structural similarities of random pairs against a learned boundary for each class."""

    def __init__(self):
        super().__init__()
        self.beta = nn.Parameter(torch.linspace(0.1, 0.4, CLASSES, dtype=torch.float64))

    def forward(self, maps, labels):
        i, j = torch.randint(len(maps), (2, 40))
        similarity = Matcher("cross_correlation", tolerance=1e-12).pairs(maps, maps, i, j).similarity
        sign = torch.where(labels[i] == labels[j], 1.0, -1.0)
        return torch.relu(0.3 - sign * (similarity - self.beta[labels[i]])).mean()


def a_learner():
    torch.manual_seed(3)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.BatchNorm2d(6), nn.Tanh())
    encoder = Encoder(backbone, Preprocessing(size=(32, 32)), nn.Linear(6, 5), grid=(3, 3))
    return Learner(encoder, Boundary()).double()


def a_batch():
    generator = torch.Generator().manual_seed(4)
    return torch.rand(IMAGES, 3, 32, 32, generator=generator, dtype=torch.float64), torch.arange(CLASSES).repeat(2)


def one_step(learner, module, pixels, labels):
    """Loss and parameters after one step of plain gradient descent."""
    optimizer = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], 0.5)
    loss = module(pixels, labels, 17)
    loss.backward()
    optimizer.step()
    return {"loss": loss.detach(), **{name: value.detach().clone() for name, value in learner.state_dict().items()}}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def one_of_several(rank, world, file):
    """What each process does, started as a script."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    pixels, labels = (part.chunk(world)[rank] for part in a_batch())
    learner = a_learner()
    torch.save(one_step(learner, DistributedDataParallel(learner), pixels, labels), f"{file}.{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_take_the_step_of_one_with_the_joint_batch(tmp_path):
    learner = a_learner()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    alone = one_step(learner, learner, *a_batch())
    file = tmp_path / "state"
    loopback = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo"}
    commands = [[sys.executable, __file__, str(rank), "2", str(file)] for rank in range(2)]
    started = [subprocess.Popen(command, env={**os.environ, **loopback}) for command in commands]
    assert [process.wait(timeout=400) for process in started] == [0, 0]
    for rank in range(2):
        shared = torch.load(f"{file}.{rank}", weights_only=True)
        assert shared.keys() == alone.keys()
        for name, value in alone.items():
            assert (shared[name] - value).abs().max() <= 1e-10, name
    learned = [name for name, value in before.items() if not value.equal(alone[name])]
    assert sorted(learned) == [
        "encoder.backbone.0.bias",
        "encoder.backbone.0.weight",
        "encoder.head.bias",
        "encoder.head.weight",
        "objective.beta",
    ]


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["lightning", "torchrun"])
def test_the_command_on_two_processes_trains_what_one_does(tiny, tiny_settings, tmp_path, launcher, without_curves):
    """Two processes, started by Lightning or by torchrun, against this one; one of the images cannot be read."""
    damaged = shutil.copytree(tiny().data.spec, tmp_path / "data")
    (damaged / PreparedRun.of(tiny()).splits.train.paths[-1]).write_bytes(b"no image")
    settings = [f"data.spec={damaged}", *tiny_settings[1:], "optim.optimizer=sgd", "optim.lr=0.01", "optim.clip=1"]
    train(load_settings(None, settings), tmp_path / "one")
    diml = str(Path(sys.executable).with_name("diml"))
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        f"--master-port={free_port()}",
        diml,
    ]
    command, more = ([diml], ["run.devices=2"]) if launcher == "lightning" else (torchrun, [])
    data = settings[0].removeprefix("data.spec=")
    changes = [part for each in (*settings[1:], *more) for part in ("--set", each)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "train", data, "--out", str(tmp_path / "two"), "--json", *changes],
        env=env,
        check=True,
        capture_output=True,
        text=True,
        timeout=400,
    )
    document = json.loads(done.stdout)
    assert document["settings"]["run"]["devices"] == (2 if launcher == "lightning" else 1)
    assert len(document["skipped"]) == 1
    assert done.stderr.count("1 skipped:") == 1
    one, two = (torch.load(RunFolder(tmp_path / run).last, weights_only=True) for run in ("one", "two"))
    assert one["global_step"] == two["global_step"] == 6
    for name, value in one["state_dict"].items():
        assert (two["state_dict"][name] - value).abs().max() <= 1e-5 * (1 + value.abs().max()), name
    losses = [[row["train_loss"] for row in RunFolder(tmp_path / run).rows()[1:]] for run in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_one_process_gathers_nothing():
    maps, labels = FeatureMaps(torch.ones(2, 4, 3), (2, 2)), torch.tensor([0, 1])
    assert gather(maps, labels) == (maps, labels)


if __name__ == "__main__":
    one_of_several(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
