"""Folders that hold a split of a collection (training, test, ...) and are not classes, told by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NAMES = {
    "train": ("train", "training", "trainset", "trainval", "bounding box train"),
    "validation": ("val", "valid", "validation", "validate", "dev", "devel", "development"),
    "test": ("test", "testing", "testset", "eval", "evaluation", "holdout", "bounding box test"),
    "query": ("query", "queries", "probe"),
    "gallery": ("gallery", "database", "db"),
}
_SPLIT_OF = {name: split for split, names in _NAMES.items() for name in names}
# Words that say nothing about the content of a folder, as in "train_images" or "test set".
_PLAIN_WORDS = frozenset({"image", "images", "img", "imgs", "set", "split", "data", "dataset", "folder"})


def split_of(name: str) -> str | None:
    """The split that a folder's name stands for: train, validation, test, query, gallery, or None for another name.

    >>> [split_of(name) for name in ("Train", "image_test", "val2017", "testing-set", "train station")]
    ['train', 'test', 'validation', 'test', None]
    """
    return _SPLIT_OF.get(" ".join(_words(name)))


def is_container(name: str) -> bool:
    """Whether a folder's name says only that images are in it.

    >>> is_container("images"), is_container("JPEGImages"), is_container("cat")
    (True, True, False)
    """
    return not _words(name.lower().removeprefix("jpeg"))


def splits_of(names: Iterable[str]) -> dict[str, str]:
    """The split of each of the folders beside each other, of those whose names stand for one.

    What all names begin with is ignored, as in "cars_train" and "cars_test". Beside queries, "test" is the gallery, as
    in the data sets of person re-identification.

    >>> splits_of(["cars_train", "cars_test"])
    {'cars_train': 'train', 'cars_test': 'test'}
    >>> splits_of(["query", "bounding_box_test", "steam train"])
    {'query': 'query', 'bounding_box_test': 'gallery'}
    """
    names = list(names)
    found = {name: split for name in names if (split := split_of(name))}
    if not found and len(names) > 1:
        found = {name: split for name, rest in _without_common_start(names).items() if (split := split_of(rest))}
    if "query" in found.values() and "gallery" not in found.values():
        found = {name: "gallery" if split == "test" else split for name, split in found.items()}
    return found


def conflict(splits: Mapping[str, str]) -> str:
    """Why these folders cannot be used as splits, in words; empty if they can.

    >>> conflict({"train": "train", "Test": "test", "testing": "test"})
    'Test and testing both name the test split'
    """
    firsts: dict[str, str] = {}
    for name, split in splits.items():
        if split in firsts:
            return f"{firsts[split]} and {name} both name the {split} split"
        firsts[split] = name
    if any("trainval" in _words(name) for name in splits) and "validation" in firsts:
        return f"{firsts['train']} and {firsts['validation']} overlap"
    if "test" in firsts and "gallery" in firsts:
        return f"{firsts['gallery']} and {firsts['test']} are splits of two kinds of evaluation"
    if ("query" in firsts) != ("gallery" in firsts):
        return "queries and a gallery need each other"
    return ""


def _words(name: str) -> list[str]:
    return [word for word in re.findall(r"[^\W\d_]+", name.lower()) if word not in _PLAIN_WORDS]


def _without_common_start(names: list[str]) -> dict[str, str]:
    words = [re.split(r"[\W_]+", name) for name in names]
    shortest = min(map(len, words))
    common = next((i for i in range(shortest) if len({each[i].lower() for each in words}) > 1), shortest)
    return {name: " ".join(each[common:]) for name, each in zip(names, words, strict=True)}
