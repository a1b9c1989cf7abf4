"""Batches: images and classes per batch, uniform over an epoch, independent of the number of processes."""

import collections
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diml.errors import DatasetError, UsageError
from diml.learning.batches.sampling import ClassBatches


def labels(sizes, seed=0):
    """Classes of these sizes, their images in random order."""
    found = [label for label, size in enumerate(sizes) for _ in range(size)]
    random.Random(seed).shuffle(found)
    return found


def per_class(batch, of):
    return collections.Counter(of[index] for index in batch)


@given(
    sizes=st.lists(st.integers(1, 7), min_size=4, max_size=12),
    each=st.integers(2, 5),
    wanted=st.integers(1, 4),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_every_batch_holds_so_many_images_of_so_many_classes(sizes, each, wanted, seed):
    of = labels(sizes, seed)
    usable = sum(size > 1 for size in sizes)
    if usable < wanted:
        with pytest.raises(DatasetError):
            ClassBatches(of, wanted * each, each, seed)
        return
    batches = ClassBatches(of, wanted * each, each, seed)
    assert batches.left_out == len(sizes) - usable
    drawn = list(batches)
    assert len(drawn) == len(batches) == max(1, sum(size for size in sizes if size > 1) // (wanted * each))
    for batch in drawn:
        assert per_class(batch, of) == dict.fromkeys({of[index] for index in batch}, each)
        assert len({of[index] for index in batch}) == wanted
        # Images repeat only if their class has too few, and then uniformly.
        for index, times in collections.Counter(batch).items():
            assert times <= -(-each // sizes[of[index]])


def test_images_of_a_class_lie_together():
    of = labels([5] * 6)
    for batch in ClassBatches(of, 12, 3, 0):
        assert [len({of[index] for index in batch[k : k + 3]}) for k in range(0, 12, 3)] == [1] * 4


@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_the_ranks_make_the_batch_of_one_process(world):
    of = labels([4, 5, 2, 3, 6, 1, 7, 4])
    alone = ClassBatches(of, 12, 2, 5)
    shares = [ClassBatches(of, 12, 2, 5, rank=rank, world=world) for rank in range(world)]
    for epoch in range(3):
        for batches in (alone, *shares):
            batches.set_epoch(epoch)
        joint = [[index for share in parts for index in share] for parts in zip(*shares, strict=True)]
        assert joint == list(alone)
        assert {len(share) for share in shares[0]} == {12 // world}


@pytest.mark.parametrize("world", [1, 2])
def test_what_comes_again_is_counted_over_all_processes(world):
    """Small classes beside large ones, so that images come several times, in batches and in shares of other ranks."""
    of = labels([3, 9, 2, 8])
    shares = [ClassBatches(of, 8, 4, 1, 5, rank, world) for rank in range(world)]
    before = collections.Counter()
    for parts in zip(*(share.occasions() for share in shares), strict=True):
        for index, count in (occasion for part in parts for occasion in part):
            assert count == before[index]
            before[index] += 1
    assert max(before.values()) > 2
    whole = ClassBatches([*range(8), *range(8)], 4, 2, 1)
    assert {count for batch in whole.occasions() for _, count in batch} == {0}


def test_an_epoch_repeats_and_others_differ():
    of = labels([5] * 10)
    batches, again = ClassBatches(of, 8, 2, 1), ClassBatches(of, 8, 2, 1)
    first = list(batches)
    assert list(batches) == first == list(again)
    batches.set_epoch(1)
    second = list(batches)
    assert second != first
    again.set_epoch(0)
    assert list(again) == first
    assert list(ClassBatches(of, 8, 2, 2)) != first


def test_a_pass_over_equal_classes_has_every_image_once():
    of = labels([6] * 8)
    drawn = [index for batch in ClassBatches(of, 16, 2, 3) for index in batch]
    assert sorted(drawn) == list(range(48))


def test_classes_come_equally_often_whatever_their_size():
    sizes = [2, 30, 4, 9]
    of = labels(sizes)
    drawn = [index for batch in ClassBatches(of, 6, 3, 0, batches_per_epoch=40) for index in batch]
    assert set(per_class(drawn, of).values()) == {60}
    times = collections.Counter(drawn)
    for label, size in enumerate(sizes):
        of_class = [times[index] for index in range(len(of)) if of[index] == label]
        assert len(of_class) == size
        assert max(of_class) - min(of_class) <= 1


def test_the_length_of_an_epoch_can_be_said():
    batches = ClassBatches(labels([2] * 4), 4, 2, 0, batches_per_epoch=9)
    assert len(batches) == len(list(batches)) == 9


def test_single_images_are_left_out_and_counted():
    of = ["a", "a", "b", "c", "c", "d"]
    batches = ClassBatches(of, 4, 2, 0)
    assert batches.notice == "2 images are left out of the training, the only one of their class"
    assert {of[index] for batch in batches for index in batch} == {"a", "c"}
    assert ClassBatches(of[:2] + of[3:5], 4, 2, 0).notice is None


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (
            {"batch": 112},
            DatasetError,
            "5 training classes have two images or more, and a batch of 112 with 2 of each class needs 56; "
            "set data.batch=10",
        ),
        ({"batch": 7}, UsageError, "got 7 with 2 per class"),
        ({"batch": 8, "per_class": 1}, UsageError, "got 8 with 1 per class"),
        ({"batch": 10, "world": 2}, UsageError, "set data.batch to a multiple of 4"),
        ({"batch": 8, "rank": 2, "world": 2}, UsageError, "expected rank 0 to 1 of 2 processes, got 2"),
    ],
)
def test_a_batch_that_cannot_be_filled_is_refused(arguments, error, said):
    with pytest.raises(error) as refused:
        ClassBatches(labels([3] * 5 + [1]), **{"per_class": 2, "seed": 0, **arguments})
    assert said in str(refused.value)


def test_one_class_is_not_enough():
    with pytest.raises(DatasetError, match="add classes"):
        ClassBatches(["a", "a", "a"], 4, 2, 0)
