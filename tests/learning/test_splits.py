"""Splits: the usual halves, validation classes from the training half, and refusals."""

from pathlib import Path

import pytest

from diml.data import Collection
from diml.errors import DatasetError, UsageError
from diml.evaluation import evaluate
from diml.learning.batches.splits import split_collection
from diml.learning.run.settings import DataSettings


def collection(classes=20, images=3, splits=None):
    """`splits` maps the number of a class to the name of its part."""
    names = [(label, i) for label in range(classes) for i in range(images)]
    return Collection(
        Path("root"),
        [f"c{label:02}/{i}.jpg" for label, i in names],
        [f"c{label:02}" for label, _ in names],
        None if splits is None else [splits(label) for label, _ in names],
        name="toys",
    )


def data(**changes):
    return DataSettings(spec="toys", **changes)


def classes(part):
    return set() if part is None else set(part.labels)


def test_without_splits_the_first_half_of_the_class_names_trains():
    splits = split_collection(collection(21), data(validation=0))
    assert classes(splits.train) == {f"c{label:02}" for label in range(10)}
    assert classes(splits.test) == {f"c{label:02}" for label in range(10, 21)}
    assert splits.validation is None


def test_splits_that_are_there_stay():
    given = collection(10, splits=lambda label: "test" if label < 4 else "train")
    splits = split_collection(given, data(validation=0))
    assert classes(splits.test) == {f"c{label:02}" for label in range(4)}
    assert len(splits.train) == 18


def test_validation_classes_come_from_the_training_half_alone():
    whole = split_collection(collection(), data(validation=0))
    splits = split_collection(collection(), data(validation=0.3))
    assert len(classes(splits.validation)) == 3
    assert classes(splits.train).isdisjoint(classes(splits.validation))
    assert classes(splits.train) | classes(splits.validation) == classes(whole.train)
    assert splits.test.paths == whole.test.paths
    assert sorted(splits.train.paths + splits.validation.paths) == whole.train.paths


def test_the_draw_depends_on_its_seed_and_on_the_names_of_the_classes_alone():
    def drawn(seed, images=3):
        return classes(split_collection(collection(60, images), data(split_seed=seed)).validation)

    assert drawn(0) == drawn(0, images=7)
    assert drawn(0) != drawn(1)
    # A class that is added moves at most one other.
    assert len(drawn(0) - classes(split_collection(collection(62), data()).validation)) <= 1


def test_a_validation_part_of_its_own_is_kept():
    given = collection(9, splits=lambda label: ("train", "validation", "test")[label // 3])
    splits = split_collection(given, data(validation=0.5))
    assert [sorted(classes(part)) for part in (splits.train, splits.validation, splits.test)] == [
        ["c00", "c01", "c02"],
        ["c03", "c04", "c05"],
        ["c06", "c07", "c08"],
    ]


def test_classes_that_are_measured_by_and_learned_from_are_told_of():
    of = [c for c in "abcdef" for _ in range(2)]
    paths = [f"{i}.png" for i in range(12)]
    mixed = ["train", "test"] + ["train"] * 4 + ["validation"] * 2 + ["test"] * 4
    given = Collection(Path("mixed"), paths, of, splits=mixed)
    said = (
        "1 of the 3 test classes, such as a, "
        "are also training classes: the results are not those of unseen classes only"
    )
    assert split_collection(given, data()).notice == said
    assert split_collection(collection(), data()).notice is None


def test_queries_and_their_gallery_are_the_test_part():
    def part(label):
        return "train" if label < 6 else "query" if label < 8 else "gallery"

    splits = split_collection(collection(10, splits=part), data(validation=0))
    assert set(splits.test.splits) == {"query", "gallery"}
    assert classes(splits.train) == {f"c{label:02}" for label in range(6)}


def test_data_without_a_test_part_has_none():
    splits = split_collection(collection(8, splits=lambda _: "train"), data())
    assert splits.test is None
    assert len(classes(splits.validation)) == 2


@pytest.mark.parametrize(
    ("given", "share", "error", "said"),
    [
        (collection(3), 0.2, DatasetError, "has 3 classes and no splits; expected at least 4"),
        (collection(4, splits=lambda _: "test"), 0.2, DatasetError, "has no split train"),
        (collection(4, splits=lambda _: "training"), 0.2, DatasetError, "has a split training"),
        (collection(6), 0.2, UsageError, "got data.validation = 0.2 of the 3 training classes of toys"),
        (collection(20), 0.9, UsageError, "set data.validation=0"),
    ],
)
def test_too_few_classes_and_strange_splits_are_refused(given, share, error, said):
    with pytest.raises(error) as refused:
        split_collection(given, data(validation=share))
    assert said in str(refused.value)


def test_an_image_without_a_label_is_refused():
    given = Collection(Path("root"), ["a.jpg", "b.jpg"], ["a", None], name="toys")
    with pytest.raises(DatasetError, match=r"b\.jpg has no label"):
        split_collection(given, data())


def test_the_test_part_is_what_an_evaluation_takes(shapes):
    from diml.data import open_dataset

    splits = split_collection(open_dataset(str(shapes)), data(validation=0))
    measured = evaluate(splits.test, "lite0", shortlists=[0], head_dim=0)
    assert (measured.images, measured.classes) == (len(splits.test), 2)


@pytest.fixture
def shapes(tmp_path):
    from PIL import Image

    for label, colour in enumerate(("red", "green", "blue", "white")):
        for i in range(2):
            file = tmp_path / colour / f"{i}.png"
            file.parent.mkdir(exist_ok=True)
            Image.new("RGB", (20 + 10 * i, 20 + label), colour).save(file)
    return tmp_path
