"""The learner, its optimiser, its batches and its checkpoints, each by itself."""

import errno
import math
import os

import pytest
import torch
from torch import nn

from diml.embedding import Encoder, Preprocessing, lite0, lite0_preprocessing
from diml.errors import TrainingError, UsageError
from diml.feature_maps import FeatureMaps
from diml.learning import Margin
from diml.learning.batches.left_out import LeftOut
from diml.learning.batches.loading import EpochLoader
from diml.learning.batches.seeds import derived, seeded
from diml.learning.run.folder import RunFolder, flat
from diml.learning.run.learner import Learner
from diml.learning.run.module import TrainingModule, factor, groups
from diml.learning.run.settings_file import load_settings
from diml.learning.run.trainer import AtomicCheckpoints


class Spread(nn.Module):
    """A loss with its own parameter and random numbers."""

    def __init__(self):
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(0.5))

    def forward(self, maps, labels):
        return (maps.pooled.square().sum() - self.beta) * torch.rand(()) + maps.local.mean()


class Nothing(nn.Module):
    def forward(self, maps, labels):
        assert maps.dtype == torch.float32
        return torch.tensor(0.0)


def small_encoder(head=True):
    backbone = nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.BatchNorm2d(6), nn.Tanh())
    return Encoder(backbone, Preprocessing(size=(32, 32)), nn.Linear(6, 5) if head else None, grid=(2, 2))


def settings(*overrides):
    return load_settings(None, ["data.spec=somewhere", *overrides])


PIXELS, LABELS = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1])


def test_frozen_batch_norm_keeps_statistics_and_affine_parameters():
    learner = Learner(small_encoder(), Spread())
    norm = learner.encoder.backbone[1]
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], 0.1)
    learner.eval()
    learner.train()
    learner(PIXELS, LABELS, 0).backward()
    optimizer.step()
    assert learner.encoder.backbone[0].training
    assert not norm.training
    assert all(value.equal(before[name]) for name, value in norm.state_dict().items())


def test_batch_norm_that_is_not_frozen_learns():
    learner = Learner(small_encoder(), Spread(), freeze_batch_norm=False)
    learner(PIXELS, LABELS, 0).backward()
    norm = learner.encoder.backbone[1]
    assert norm.num_batches_tracked == 1
    assert norm.weight.grad is not None


def test_frozen_modules_of_a_timm_model_by_timms_names():
    encoder = Encoder(lite0(), lite0_preprocessing())
    Learner(encoder, Spread(), frozen=["conv_stem", "blocks.0"])
    learning = {name for name, p in encoder.backbone.model.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("conv_stem.", "blocks.0.", "bn")) for name in learning)
    assert any(name.startswith("blocks.1.") for name in learning)
    with pytest.raises(
        UsageError, match=r"expected model.frozen to name parts of the backbone \(conv_stem, .*\), got 'blokcs'"
    ):
        Learner(encoder, Spread(), frozen=["blokcs"])


def test_the_loss_draws_from_its_seed_and_leaves_chance_as_it_was():
    learner = Learner(small_encoder(), Spread())
    torch.manual_seed(5)
    alone = torch.rand(1)
    torch.manual_seed(5)
    first, other, again = (learner(PIXELS, LABELS, seed).item() for seed in (1, 2, 1))
    assert torch.rand(1).equal(alone)
    assert first == again != other


def test_a_loss_without_gradient_still_has_a_backward_pass():
    learner = Learner(small_encoder(), Nothing())
    loss = learner(PIXELS, LABELS, 0)
    loss.backward()
    assert loss.item() == 0
    assert learner.encoder.head.weight.grad.abs().max() == 0


def test_under_autocast_the_loss_sees_float32():
    learner = Learner(small_encoder(), Nothing())
    with torch.autocast("cpu", torch.bfloat16):
        assert learner.encoder(PIXELS).dtype == torch.bfloat16
        learner(PIXELS, LABELS, 0)


def test_groups_have_learning_rates_of_their_own():
    learner = Learner(small_encoder(), Spread())
    optim = settings("optim.lr=0.01", "optim.head_lr=0.1", "optim.loss_lr=0.5", "optim.weight_decay=0.3").optim
    found = {group["name"]: group for group in groups(learner, optim)}
    assert {name: group["lr"] for name, group in found.items()} == {"backbone": 0.01, "head": 0.1, "loss": 0.5}
    assert {name: group["weight_decay"] for name, group in found.items()} == {"backbone": 0.3, "head": 0.3, "loss": 0}
    grouped = [p for group in found.values() for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in learner.parameters() if p.requires_grad}
    without = {group["name"]: group["lr"] for group in groups(learner, settings("optim.lr=0.01").optim)}
    assert without["head"] == without["backbone"]
    assert [group["name"] for group in groups(Learner(small_encoder(False), Nothing()), optim)] == ["backbone"]


def test_schedules():
    warm = factor(settings("optim.warmup_steps=4").optim, 10)
    assert [warm(step) for step in (0, 1, 3, 4, 99)] == [0.25, 0.5, 1, 1, 1]
    cosine = factor(settings("optim.schedule=cosine", "optim.epochs=2").optim, 10)
    assert [cosine(step) for step in (0, 10, 20, 30)] == pytest.approx([1, 0.5, 0, 0])
    assert cosine(5) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    stepped = factor(settings("optim.schedule=step", "optim.step_epochs=2", "optim.step_gamma=0.1").optim, 10)
    assert [stepped(step) for step in (0, 19, 20, 40)] == pytest.approx([1, 1, 0.1, 0.01])


def test_seeds_of_places_differ():
    seeds = {derived(seed, epoch, step) for seed in range(5) for epoch in range(10) for step in range(10)}
    assert len(seeds) == 500
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.rand(2).equal(first)


class Images:
    epoch = -1

    def set_epoch(self, epoch):
        self.epoch = epoch

    def path(self, index):
        return f"{index}.png"

    def indices(self, paths):
        return frozenset(int(path.removesuffix(".png")) for path in paths)

    def again(self, index, before, shown):
        assert shown == index
        return torch.tensor([float(self.epoch), float(before)]), index


class Batches:
    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 2

    def leave_out(self, indices):
        self.left_out = indices

    def occasions(self):
        yield from ([(self.epoch, 0), (self.epoch + 1, 0)], [(7, 0), (7, 1)])


def test_images_batches_and_what_is_left_out_are_of_the_epoch_that_is_asked_for():
    epoch = [0]
    left_out, batches = LeftOut(lambda images: None), Batches()
    loader = EpochLoader(Images(), batches, lambda: epoch[0], 0, left_out)
    iterators = []
    for now in (3, 4):
        iterators.append(iter(loader))  # made before the epoch is known, as Lightning does
        epoch[0] = now
        left_out.note({f"{now}.png": "is truncated"})
        left_out.join()
        pixels, labels = zip(*iterators[-1], strict=True)
        assert torch.cat(labels).tolist() == [now, now + 1, 7, 7]
        assert torch.cat(pixels).tolist() == [[now, 0], [now, 0], [now, 0], [now, 1]]
    assert len(loader) == 2
    assert batches.left_out == {3, 4}


class Diverged(nn.Module):
    def forward(self, maps, labels):
        return maps.local.sum() * float("nan")


def test_a_loss_that_is_no_number_stops_at_once(unchecked_shapes):
    module = TrainingModule(Learner(small_encoder(), Diverged()), settings(), lambda module: [], 5)
    with pytest.raises(TrainingError, match=r"^the loss became nan in epoch 1, step 3 of 5; try a lower optim\.lr"):
        module.training_step((PIXELS, LABELS), 2)


def test_maps_that_are_no_numbers_stop_before_miners_see_them(unchecked_shapes):
    encoder = small_encoder()
    next(encoder.parameters()).data.fill_(float("nan"))
    module = TrainingModule(Learner(encoder, Margin(classes=8)), settings(), lambda module: [], 5)
    said = r"^the feature maps became NaN or infinite in epoch 1, step 3 of 5; try a lower optim\.lr"
    with pytest.raises(TrainingError, match=said):
        module.training_step((PIXELS, LABELS), 2)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    files = AtomicCheckpoints(folder.write_by)
    files.save_checkpoint({"epoch": 1, "weights": torch.ones(3)}, folder.last)
    folder.write_rows([{"epoch": 0}, {"epoch": 1}])

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"last\.ckpt: cannot be written \(No space left.*holds the end of epoch 1"):
        files.save_checkpoint({"epoch": 2}, folder.last)
    assert files.load_checkpoint(folder.last)["epoch"] == 1
    assert [file.name for file in folder.last.parent.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_is_never_unpickled(tmp_path):
    folder = RunFolder(tmp_path)
    files = AtomicCheckpoints(folder.write_by)
    files.save_checkpoint({"code": FeatureMaps}, folder.last)
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        files.load_checkpoint(folder.last)


def test_settings_by_dotted_names():
    assert flat(settings())["model.name"] == "lite0"
