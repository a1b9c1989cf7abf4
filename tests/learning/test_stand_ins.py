"""An image that cannot be read: another of its class stands in for it, and later epochs leave it out."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from diml.data import Collection
from diml.embedding import Preprocessing
from diml.errors import DatasetError, ImageError
from diml.learning.batches.left_out import LeftOut
from diml.learning.batches.loading import EpochLoader
from diml.learning.batches.sampling import ClassBatches
from diml.learning.batches.stand_ins import ReadableBatches
from diml.learning.batches.training_images import TrainingImages
from diml.learning.run.settings import DataSettings

SAMPLE = Path(__file__).parents[2] / "sample" / "photos"
PIXELS = Preprocessing(size=(16, 16))


@pytest.fixture
def images(tmp_path):
    """Two classes, a and b, of three parts of a photograph each; the file of the first of a is cut off."""
    paths = [f"{label}{i}.jpg" for label in "ab" for i in range(3)]
    with Image.open(sorted(SAMPLE.glob("*.jpg"))[0]) as photograph:
        for number, path in enumerate(paths):
            photograph.crop((20 * number, 0, 20 * number + 80, 60)).save(tmp_path / path)
    (tmp_path / "a0.jpg").write_bytes((tmp_path / "a0.jpg").read_bytes()[:900])
    return TrainingImages(Collection(tmp_path, paths, [path[0] for path in paths]), PIXELS, DataSettings(spec="x"), 3)


def test_an_image_of_the_class_that_is_not_in_the_batch_stands_in(images):
    pixels, labels, failures = ReadableBatches(images)[[(0, 0, 0), (0, 1, 0), (0, 4, 0)]]
    assert labels.tolist() == [0, 0, 1]
    assert torch.equal(pixels[0], images.again(0, 0, shown=2)[0])
    assert torch.equal(pixels[1], images[1][0])
    assert list(failures) == ["a0.jpg"]
    assert "is truncated" in failures["a0.jpg"]


def test_it_is_augmented_as_the_place_that_it_fills(images):
    again, _ = images.again(2, 0)
    assert not torch.equal(ReadableBatches(images)[[(0, 0, 0), (0, 1, 0)]][0][0], again)


def test_what_stands_in_follows_from_seed_and_place_alone(images):
    first = [ReadableBatches(images)[[(epoch, 0, 0)]][0] for epoch in range(6)]
    again = [ReadableBatches(images)[[(epoch, 0, 0)]][0] for epoch in reversed(range(6))]
    assert all(map(torch.equal, first, reversed(again)))
    images.set_epoch(0)
    shown = {i for epoch, batch in enumerate(first) for i in (1, 2) if is_shown(images, epoch, batch[0], i)}
    assert shown == {1, 2}


def is_shown(images, epoch, pixels, index):
    images.set_epoch(epoch)
    return torch.equal(pixels, images.again(0, 0, shown=index)[0])


def test_the_only_readable_image_of_a_class_stands_in_beside_itself(images):
    (images._collection.file(2)).unlink()
    pixels, labels, failures = ReadableBatches(images)[[(0, 0, 0), (0, 1, 0)]]
    assert (labels.tolist(), sorted(failures)) == ([0, 0], ["a0.jpg", "a2.jpg"])
    assert not torch.equal(pixels[0], pixels[1])


def test_a_class_without_a_readable_image_is_an_error_of_one_line(images):
    for i in (1, 2):
        images._collection.file(i).unlink()
    error = ReadableBatches(images)[[(0, 0, 0)]]
    assert isinstance(error, ImageError)
    assert str(error).startswith("none of the 3 training images of the class a can be read (")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.long)])
def test_it_is_listed_once_and_drawn_in_no_later_epoch(images, workers):
    listed, epoch = [], [0]
    left_out = LeftOut(listed.extend)
    batches = ClassBatches(["a"] * 3 + ["b"] * 3, 4, 2, 0, batches_per_epoch=4)
    loader = EpochLoader(images, batches, lambda: epoch[0], workers, left_out)
    drawn = []
    for epoch[0] in range(3):
        assert len(list(loader)) == 4
        left_out.join()
        drawn.append({index for batch in batches for index in batch})
    assert 0 in drawn[0]
    assert [0 in indices for indices in drawn[1:]] == [False, False]
    assert [skipped.path for skipped in listed] == ["a0.jpg"]


@pytest.mark.slow
def test_it_is_so_with_a_worker_process():
    """In a process of its own: one that had run most of the other tests was seen to end by a signal here."""
    test = f"{__file__}::test_it_is_listed_once_and_drawn_in_no_later_epoch[1]"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "long", test]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "[100%]" in done.stdout


def test_classes_with_too_few_others_are_left_out_and_too_few_classes_refused():
    labels = ["a", "a", "b", "b", "b", "c", "c"]
    batches = ClassBatches(labels, 4, 2, 0, batches_per_epoch=3)
    before = list(batches)
    batches.leave_out({0})
    assert {labels[index] for batch in batches for index in batch} == {"b", "c"}
    assert len(batches) == len(list(batches)) == 3
    batches.leave_out({2})
    assert all(2 not in batch for batch in batches)
    batches.leave_out(frozenset())
    assert list(batches) == before
    with pytest.raises(DatasetError, match="1 training classes still have two images that can be read, and a batch"):
        batches.leave_out({0, 2, 3})
