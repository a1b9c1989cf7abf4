"""Training runs from settings to a folder: its files, improvement on unseen classes, and refusals."""

import csv
import json
import resource
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from PIL import Image

from diml.errors import DatasetError, ImageError, ModelError, TrainingError, UsageError
from diml.evaluation import METRICS, evaluate
from diml.learning.run.folder import RunFolder
from diml.learning.run.learner import Learner
from diml.learning.run.prepared_run import PreparedRun
from diml.learning.run.recorder import NullObserver
from diml.learning.run.settings_file import load_settings
from diml.learning.run.train import StoppedError, train
from diml.model import StructuralModel

pytestmark = pytest.mark.usefixtures("without_curves")
SAMPLE = Path(__file__).parents[2] / "sample"


class Lines(NullObserver):
    def __init__(self):
        self.rows, self.steps, self.stages, self.left_out = [], [], [], []

    def skipped(self, images):
        self.left_out += images

    def stage(self, what, done, total):
        self.stages.append((what, done == total))

    def step(self, epoch, loss, done, total):
        self.steps.append((epoch, done, total))

    def epoch(self, row):
        self.rows.append(row["epoch"])


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory):
    out, observer = tmp_path_factory.mktemp("runs") / "colours-tiny", Lines()
    return train(tiny(), out, observer=observer), observer


def test_the_folder_holds_what_it_should(tiny, finished):
    folder = RunFolder(finished[0].folder)
    names = {
        "settings.toml",
        "versions.json",
        "images.csv",
        "metrics.csv",
        "curves.png",
        "tensorboard",
        "checkpoints",
        "model",
    }
    assert {file.name for file in folder.path.iterdir()} == names | {"result.json"}
    assert load_settings(folder.settings, ()) == tiny()
    assert [file.name for file in folder.last.parent.iterdir()] == ["last.ckpt"]
    assert any(file.stat().st_size > 200 for file in folder.tensorboard.iterdir())
    with Image.open(folder.curves) as picture:
        assert picture.size[0] > 500
    made_by = json.loads((folder.path / "versions.json").read_text())
    assert made_by["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert len(made_by["commit"] or "0" * 40) >= 40


def test_metrics_have_a_line_for_each_epoch(finished):
    result, observer = finished
    with open(result.folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "step", "train_loss", "images_per_second", "seconds", *METRICS]
    assert [(row["epoch"], row["step"]) for row in rows] == [("0", "0"), ("1", "3"), ("2", "6")]
    assert observer.rows == [0, 1, 2]
    # The validation classes once for each epoch, and the test classes at the end.
    assert observer.stages.count(("ranking", True)) == 4
    assert observer.steps == [(1 + step // 3, 8 * (step + 1), 48) for step in range(6)]
    best = max(rows, key=lambda row: float(row["map@r"]))
    assert result.document["best_epoch"] == int(best["epoch"])
    assert result.document["validation"]["map@r"] == pytest.approx(float(best["map@r"]))


def test_the_model_is_the_one_that_was_measured(finished, colours):
    result, _ = finished
    model = StructuralModel.from_pretrained(result.folder)
    assert (model.name, model.dim, model.grid) == ("colours-tiny", 8, (2, 2))
    assert model.encoder.preprocessing.size == (64, 64)
    assert (model.matcher.marginals, model.matcher.weight, model.matcher.eps) == ("cross_correlation", 0.5, 0.05)
    assert "16 training images" in model.head_fitted_on
    document = result.document
    assert list(document) == ["test", "validation", "best_epoch", "seconds", "skipped", "settings"]
    assert json.loads((result.folder / "result.json").read_text()) == json.loads(json.dumps(document))
    assert (document["test"]["images"], document["test"]["classes"]) == (24, 6)
    assert [row["shortlist"] for row in document["test"]["results"]] == [0, 100]
    collection_of_the_test_half = sorted(colours.iterdir())[6:]
    assert len(collection_of_the_test_half) == 6


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model_and_another_one_another(tiny, finished, tmp_path):
    weights = (finished[0].folder / "model" / "model.safetensors").read_bytes()
    last = finished[0].folder / "checkpoints" / "last.ckpt"
    train(tiny(), tmp_path / "colours-tiny")
    assert (tmp_path / "colours-tiny" / "model" / "model.safetensors").read_bytes() == weights
    train(tiny("run.seed=1"), tmp_path / "other")
    assert not same_weights(last, tmp_path / "other" / "checkpoints" / "last.ckpt")


def same_weights(one, other):
    one, other = (torch.load(file, weights_only=True)["state_dict"] for file in (one, other))
    return all(value.equal(other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    "overrides",
    [
        (
            "run.precision=bf16-mixed",
            "optim.clip=0.5",
            "optim.optimizer=adamw",
            "optim.schedule=cosine",
            "optim.batches_per_epoch=1",
        ),
        ("loss.name=multisimilarity", "loss.similarity=pooled", "model.head=random", "optim.optimizer=sgd"),
        ("run.precision=64-true", "optim.clip=1"),
        ("run.precision=bf16-true", "data.validation=0", "optim.batches_per_epoch=1"),
        ("data.validation=0", "data.fit=crop", "optim.warmup_steps=2", "optim.head_lr=0.01"),
    ],
)
def test_other_settings_run_too(tiny, tmp_path, overrides):
    result = train(tiny("optim.epochs=1", *overrides), tmp_path / "run")
    assert result.document["best_epoch"] in (0, 1)
    if "data.fit=crop" in overrides:
        assert result.document["validation"] is None
        assert result.document["best_epoch"] == 1
        assert StructuralModel.from_pretrained(result.folder).encoder.preprocessing.fit == "crop"


def test_a_folder_that_is_not_empty_is_refused(tiny, finished, tmp_path):
    with pytest.raises(UsageError, match="is not empty; continue with --resume or give a new folder"):
        train(tiny(), finished[0].folder)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match=r"is not empty; give a new folder with --out$"):
        train(tiny(), tmp_path)
    with pytest.raises(UsageError, match="has no run to resume"):
        train(tiny(), tmp_path / "none", resume=True)


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        (["data.batch=64"], DatasetError, "4 training classes have two images or more, and a batch of 64"),
        (["run.devices=4", "data.batch=6", "data.per_class=2"], UsageError, "6"),
        (
            ["model.dim=64"],
            UsageError,
            "expected more than 64 training images to fit a head of dim 64, preferably 128, got 16",
        ),
        (["model.dim=200"], UsageError, "expected model.dim from 1 to the 96 channels of .*, got 200"),
        (["model.grid=5x5"], UsageError, "a grid of at most 2x2, the map of the backbone, got 5x5"),
        (["model.frozen=layer9"], UsageError, "layer9"),
        (["loss.name=margni"], UsageError, "margni"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(tiny, tmp_path, overrides, error, said):
    with pytest.raises((error, UsageError), match=said):
        train(tiny(*overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_becomes_nan_keeps_the_last_checkpoint(tiny, tmp_path, monkeypatch):
    calls = []
    original = Learner.forward

    def forward(self, pixels, labels, seed):
        calls.append(seed)
        loss = original(self, pixels, labels, seed)
        return loss * float("nan") if len(calls) == 5 else loss

    monkeypatch.setattr(Learner, "forward", forward)
    with pytest.raises(TrainingError) as raised:
        train(tiny(), tmp_path / "run")
    said = str(raised.value)
    assert said.startswith("the loss became nan in epoch 2, step 2 of 3; try")
    assert said.endswith("last.ckpt holds the end of epoch 1, and the same command with --resume continues from there")
    assert (tmp_path / "run" / "model" / "config.json").is_file()


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint(tiny, tmp_path):
    """From the second epoch on, files larger than 100 kB cannot be written, as on a full disk."""

    class Filling(Lines):
        def step(self, epoch, loss, done, total):
            if epoch == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    free, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises((TrainingError, ModelError), match=r"cannot be written \(File too large") as raised:
            train(tiny("optim.lr=0.01"), tmp_path / "run", observer=Filling())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    assert not list((tmp_path / "run").rglob("*.part"))
    assert "Traceback" not in str(raised.value)
    result = train(tiny("optim.lr=0.01"), tmp_path / "run", resume=True)
    assert len(RunFolder(result.folder).rows()) == 3


def truncated(colours, folder, *names):
    """The colours with some of their files cut off."""
    data = shutil.copytree(colours, folder)
    for file in (data / name for name in names):
        file.write_bytes(file.read_bytes()[:60])
    return data


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.long)])
def test_images_that_cannot_be_read_are_listed_once_and_left_out(tiny, colours, tmp_path, workers):
    """One training image, one validation image and one test image; the head is fitted on the others."""
    run = PreparedRun.of(tiny())
    names = [part.paths[3] for part in (run.splits.train, run.splits.validation, run.splits.test)]
    data = truncated(colours, tmp_path / "data", *names)
    observer = Lines()
    settings = tiny(f"data.spec={data}", f"data.workers={workers}", "optim.batches_per_epoch=8")
    result = train(settings, tmp_path / "run", observer=observer)
    assert sorted(skipped.path for skipped in observer.left_out) == sorted(names)
    assert all("class" in skipped.reason and "\n" not in skipped.reason for skipped in observer.left_out)
    assert [skipped["path"] for skipped in result.document["skipped"]] == [s.path for s in observer.left_out]
    assert result.document["best_epoch"] in (0, 1, 2)
    assert "15 training images" in StructuralModel.from_pretrained(result.folder).head_fitted_on


def test_a_class_without_a_readable_image_is_named(tiny, colours, tmp_path):
    data = truncated(colours, tmp_path / "data", *(f"class00/{i}.png" for i in range(4)))
    said = r"^none of the 4 training images of the class class00 can be read \(\S+class00/\d\.png: [^\n]*$"
    with pytest.raises(ImageError, match=said):
        train(tiny(f"data.spec={data}", "model.head=random", "data.validation=0"), tmp_path / "run")


@pytest.mark.parametrize("stop", [False, True])
def test_signal_handlers_are_those_of_before(tiny, tmp_path, stop):
    class Watching(Lines):
        def step(self, epoch, loss, done, total):
            during.append(signal.getsignal(signal.SIGTERM))
            if stop:
                raise KeyboardInterrupt

    during = []
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(StoppedError) if stop else nullcontext():
        train(tiny("optim.epochs=1", "data.validation=0"), tmp_path / "run", observer=Watching())
    assert before[1] not in during
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_ctrl_c_says_how_to_go_on(tiny, tmp_path):
    class Impatient(Lines):
        def step(self, epoch, loss, done, total):
            if done == 32:
                raise KeyboardInterrupt

    with pytest.raises(StoppedError, match=r"^stopped; .*last\.ckpt holds the end of epoch 1.*--resume"):
        train(tiny(), tmp_path / "run", observer=Impatient())


@pytest.mark.long
def test_training_gets_better_on_classes_never_seen(tmp_path):
    """Trained on twenty-four emoji with an untrained head; six and thirty others get better."""
    chosen = """data.size=96 data.batch=40 data.per_class=4 data.workers=0 model.head=random model.dim=64 model.grid=3x3
        model.frozen=conv_stem,blocks.0,blocks.1,blocks.2 optim.epochs=6 optim.batches_per_epoch=4 optim.lr=0.0002
        optim.head_lr=0.001 run.accelerator=cpu"""
    settings = load_settings(None, [f"data.spec={SAMPLE / 'emoji'}", *chosen.split()])
    result = train(settings, tmp_path / "emoji")
    rows = RunFolder(result.folder).rows()
    assert rows[-1]["train_loss"] < 0.9 * rows[1]["train_loss"]
    assert max(row["map@r"] for row in rows) > rows[0]["map@r"] + 0.1
    run = PreparedRun.of(settings)
    before = evaluate(run.splits.test, run.initial_model("before"), shortlists=(0, 100))
    for untrained, trained in zip(before.results, result.test.results, strict=True):
        assert trained["map@r"] > untrained["map@r"] + 0.05
