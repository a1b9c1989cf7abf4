"""A stopped or killed run that is resumed equals an uninterrupted run; other settings are refused."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from diml.errors import DatasetError, TrainingError, UsageError
from diml.learning.run.folder import RunFolder
from diml.learning.run.prepared_run import PreparedRun
from diml.learning.run.recorder import EpochRecorder, NullObserver
from diml.learning.run.settings_file import load_settings
from diml.learning.run.train import StoppedError, train

pytestmark = pytest.mark.usefixtures("without_curves")
MORE = ("optim.epochs=3", "optim.warmup_steps=5")


@pytest.fixture(scope="session")
def three(tiny):
    """Settings of three epochs."""
    return lambda *overrides: tiny(*MORE, *overrides)


@pytest.fixture(scope="module")
def unbroken(three, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    train(three(), out)
    return out


class StopAfter(NullObserver):
    def __init__(self, images):
        self.images = images

    def step(self, epoch, loss, done, total):
        if done == self.images:
            raise KeyboardInterrupt


def stopped(three, out, images):
    with pytest.raises(StoppedError):
        train(three(), out, observer=StopAfter(images))


def assert_same(one, other):
    """Equal weights, optimiser states, schedules, and metrics except times."""
    assert (one / "model" / "model.safetensors").read_bytes() == (other / "model" / "model.safetensors").read_bytes()
    states = [torch.load(RunFolder(run).last, weights_only=True) for run in (one, other)]
    for name, value in states[0]["state_dict"].items():
        assert value.equal(states[1]["state_dict"][name]), name
    for mine, theirs in zip(*(state["optimizer_states"][0]["state"].values() for state in states), strict=True):
        assert all(value.equal(theirs[name]) for name, value in mine.items())
    assert states[0]["lr_schedulers"] == states[1]["lr_schedulers"]
    times = {"images_per_second": None, "seconds": None}
    first, second = ([{**row, **times} for row in RunFolder(run).rows()] for run in (one, other))
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("images", [40, 8, 72])
def test_stopped_and_resumed_is_the_run_that_was_not(three, unbroken, tmp_path, images):
    out = tmp_path / "run"
    stopped(three, out, images)
    result = train(three(), out, resume=True)
    assert_same(out, unbroken)
    assert result.document["test"] == train(three(), unbroken, resume=True).document["test"]


@pytest.mark.slow
def test_a_longer_run_is_the_shorter_one_gone_on(three, unbroken, tmp_path):
    out = tmp_path / "run"
    train(three("optim.epochs=2"), out)
    train(three(), out, resume=True)
    assert_same(out, unbroken)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optim.lr=0.01", "was begun with optim.lr = 0.001, got 0.01; resume it with the same settings"),
        ("loss.options.margin=0.3", "loss.options"),
        ("data.batch=16", "data.batch = 8, got 16"),
        ("run.seed=3", "run.seed"),
    ],
)
def test_other_settings_are_refused(three, unbroken, change, said):
    before = sorted((file, file.stat().st_mtime_ns) for file in unbroken.rglob("*"))
    with pytest.raises(UsageError, match=said):
        train(three(change), unbroken, resume=True)
    assert sorted((file, file.stat().st_mtime_ns) for file in unbroken.rglob("*")) == before


@pytest.mark.slow
def test_other_images_are_refused(three, colours, tmp_path):
    data = shutil.copytree(colours, tmp_path / "data")
    train(three(f"data.spec={data}", "optim.epochs=1"), tmp_path / "run")
    shutil.copy(data / "class00" / "0.png", data / "class11" / "of-the-test-half.png")
    train(three(f"data.spec={data}", "optim.epochs=2"), tmp_path / "run", resume=True)
    shutil.copy(data / "class00" / "0.png", data / "class00" / "4.png")
    with pytest.raises(UsageError, match=r"class00/4\.png is not one of the training and validation images"):
        train(three(f"data.spec={data}"), tmp_path / "run", resume=True)
    assert RunFolder(tmp_path / "run").result.is_file()


def test_a_run_without_a_list_of_its_images_is_compared_by_their_digest(three, colours, tmp_path):
    """As runs of 0.1.0 are."""
    data, run = shutil.copytree(colours, tmp_path / "data"), RunFolder(tmp_path / "run")
    train(three(f"data.spec={data}", "optim.epochs=1"), run.path)
    run.images.unlink()
    train(three(f"data.spec={data}", "optim.epochs=2"), run.path, resume=True)
    assert run.images.is_file()
    run.images.unlink()
    (data / "class00" / "0.png").unlink()
    with pytest.raises(UsageError, match="are not those it was begun with"):
        train(three(f"data.spec={data}"), run.path, resume=True)


class Listed(NullObserver):
    def __init__(self):
        self.images = []

    def skipped(self, images):
        self.images += images


@pytest.mark.slow
def test_images_that_are_gone_are_listed_and_left_out(three, colours, tmp_path):
    """Two training images and a validation image, and a whole class of the test half, which moves no other class."""
    run = PreparedRun.of(three())
    gone = [*run.splits.train.paths[:2], run.splits.validation.paths[0]]
    runs = []
    for place in (tmp_path / "one", tmp_path / "other"):
        data, observer = shutil.copytree(colours, place / "data"), Listed()
        train(three(f"data.spec={data}", "optim.epochs=1"), place / "run")
        for path in gone:
            (data / path).unlink()
        shutil.rmtree(data / "class11")
        result = train(three(f"data.spec={data}"), place / "run", resume=True, observer=observer)
        found = [(skipped.path, skipped.reason) for skipped in observer.images]
        assert found == [(path, "is gone since the run was begun") for path in sorted(gone)]
        assert [skipped["path"] for skipped in result.document["skipped"]] == sorted(gone)
        assert result.document["test"]["classes"] == 5
        runs.append(place / "run")
    assert_same(*runs)


def test_too_few_images_left_are_refused(three, colours, tmp_path):
    data, out = shutil.copytree(colours, tmp_path / "data"), tmp_path / "run"
    label = PreparedRun.of(three()).splits.train.labels[0]
    train(three(f"data.spec={data}", "optim.epochs=1"), out)
    for i in range(3):
        (data / label / f"{i}.png").unlink()
    said = f"the training class {label} has 1 of its 4 images left, and a batch needs 2; restore them, or begin"
    with pytest.raises(DatasetError, match=said):
        train(three(f"data.spec={data}"), out, resume=True)
    for file in data.rglob("*.png"):
        file.rename(file.with_name(f"other{file.name}"))
    with pytest.raises(DatasetError, match="has none of the 24 images that the run was begun with; give the same data"):
        train(three(f"data.spec={data}"), out, resume=True)


@pytest.mark.slow
def test_what_cannot_be_read_does_not_change_what_a_resumed_run_draws(three, colours, tmp_path):
    """Found in epoch 1; stopped in the next, the run goes on as the one that was not stopped."""
    data = shutil.copytree(colours, tmp_path / "data")
    for path in PreparedRun.of(three()).splits.train.paths[:12:4]:
        (data / path).write_bytes((data / path).read_bytes()[:60])
    settings, out, whole = three(f"data.spec={data}"), tmp_path / "one" / "run", tmp_path / "other" / "run"
    with pytest.raises(StoppedError):
        train(settings, out, observer=StopAfter(40))
    train(settings, out, resume=True)
    train(settings, whole)
    assert_same(out, whole)


def test_a_run_is_not_made_shorter(three, unbroken):
    with pytest.raises(UsageError, match=r"has completed 3 epochs, expected optim\.epochs of at least as many, got 2"):
        train(three("optim.epochs=2"), unbroken, resume=True)
    assert RunFolder(unbroken).result.is_file()


@pytest.mark.slow
def test_a_longer_run_that_was_stopped_has_no_result_of_the_shorter_one(three, tmp_path):
    class StopAtTheTest(NullObserver):
        def stage(self, what, done, total):
            if what == "ranking" and len(RunFolder(out).rows()) == 3:
                raise KeyboardInterrupt

    out = tmp_path / "run"
    settings = ("optim.epochs=1", "data.validation=0"), ("optim.epochs=2", "data.validation=0")
    train(three(*settings[0]), out)
    with pytest.raises(StoppedError):
        train(three(*settings[1]), out, resume=True, observer=StopAtTheTest())
    assert not RunFolder(out).result.is_file()
    result = train(three(*settings[1]), out, resume=True)
    assert result.document["settings"]["optim"]["epochs"] == 2 == result.document["best_epoch"]


@pytest.mark.slow
def test_killed_between_the_state_and_the_model(three, tmp_path, monkeypatch):
    """The model is restored from the checkpoint, whose epoch is the best."""

    def killed(self):
        if len(self.rows) == 3:
            raise KeyboardInterrupt
        kept(self)

    out, whole = tmp_path / "one" / "run", tmp_path / "other" / "run"
    kept = EpochRecorder._keep_best
    settings = three("data.validation=0")
    monkeypatch.setattr(EpochRecorder, "_keep_best", killed)
    with pytest.raises(StoppedError):
        train(settings, out)
    monkeypatch.setattr(EpochRecorder, "_keep_best", kept)
    train(settings, out, resume=True)
    train(settings, whole)
    assert_same(out, whole)


@pytest.mark.slow
def test_double_precision_is_not_lost_on_the_way(three, tmp_path):
    settings = three("optim.epochs=2", "run.precision=64-true", "data.validation=0")
    out, whole = tmp_path / "one" / "run", tmp_path / "other" / "run"
    train(three("optim.epochs=1", "run.precision=64-true", "data.validation=0"), out)
    train(settings, out, resume=True)
    train(settings, whole)
    assert_same(out, whole)


def test_a_cosine_schedule_cannot_be_made_longer(three, tmp_path):
    train(three("optim.schedule=cosine", "optim.epochs=1"), tmp_path / "run")
    with pytest.raises(UsageError, match=r"optim\.epochs = 1, got 2"):
        train(three("optim.schedule=cosine", "optim.epochs=2"), tmp_path / "run", resume=True)


def test_what_was_stopped_before_its_first_epoch_may_begin_anew_with_other_settings(three, tmp_path):
    stopped(three, tmp_path / "run", 16)
    train(three("optim.epochs=1", "optim.lr=0.0005"), tmp_path / "run", resume=True)
    assert load_settings(tmp_path / "run" / "settings.toml").optim.lr == 0.0005


def test_a_finished_run_is_only_reported(unbroken, three):
    weights = unbroken / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    result = train(three(), unbroken, resume=True)
    assert result.document["settings"]["optim"]["epochs"] == 3
    assert weights.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.csv", b"\xff"),
        ("metrics.csv", b"epoch,step\nx,y\n"),
        ("versions.json", b'{"resumed": 3}'),
        ("result.json", b"{"),
        ("result.json", b"[]"),
    ],
)
def test_files_that_follow_from_the_checkpoint_are_written_anew(unbroken, three, tmp_path, name, content):
    run = RunFolder(shutil.copytree(unbroken, tmp_path / "run"))
    rows, document = run.rows(), run.finished(3)
    (run.path / name).write_bytes(content)
    run.result.unlink() if name == "versions.json" else None
    assert train(three(), run.path, resume=True).document == document
    assert run.rows() == rows
    assert isinstance(run.made_by()["resumed"], list)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("images.csv", b"", "is not the list of a run's images"),
        ("images.csv", b"path,label,split\n", "is not the list of a run's images"),
        ("images.csv", b"path,label,split\na.png,a\n", "is not the list of a run's images"),
        ("images.csv", b"path,label,split\na.png,a,rest\n", "is not the list of a run's images"),
        ("checkpoints/last.ckpt", b"", "is not a checkpoint, or its end is missing; copy it again"),
        ("checkpoints/last.ckpt", b"<html>", "is not a checkpoint, or its end is missing; copy it again"),
        ("checkpoints/last.ckpt", None, "is not the checkpoint of a run"),
    ],
)
def test_damaged_files_that_a_run_needs_are_named(unbroken, three, tmp_path, name, content, said):
    run = RunFolder(shutil.copytree(unbroken, tmp_path / "run"))
    file = run.path / name
    torch.save({"weights": 1}, file) if content is None else file.write_bytes(content)
    run.result.unlink()
    with pytest.raises((UsageError, TrainingError), match=rf"^{re.escape(str(file))}: {said}[^\n]*$"):
        train(three(), run.path, resume=True)


@pytest.fixture
def one_thread():
    """Sums of several threads may be rounded in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.long
def test_killed_in_mid_epoch_and_resumed_gives_the_same_bytes(colours, tiny_settings, tmp_path, one_thread):
    """kill -9 of a real command with a process that loads images, somewhere in its second or third epoch."""
    changes = [*tiny_settings, *MORE, "optim.batches_per_epoch=12"]
    options = [part for each in (*changes[1:], "data.workers=1") for part in ("--set", each)]
    out, whole = tmp_path / "killed" / "run", tmp_path / "whole" / "run"
    command = [str(Path(sys.executable).with_name("diml")), "train", str(colours), "--out", str(out), *options]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    folder, deadline = RunFolder(out), time.monotonic() + 400
    while not folder.last.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert folder.last.is_file()
    assert not folder.result.is_file()
    train(load_settings(None, changes), out, resume=True)
    train(load_settings(None, changes), whole)
    assert_same(out, whole)
