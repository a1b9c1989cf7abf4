"""From files and a model to an evaluation: splits, the head and what it was fitted on, unreadable images."""

import csv

import pytest
import torch
from PIL import Image

from diml.data import Collection, open_dataset, open_folder
from diml.errors import DatasetError, UsageError
from diml.evaluation import evaluate, evaluate_maps
from diml.evaluation import features as features_module
from diml.evaluation.features import Embedder
from diml.matching import Matcher, uniform
from diml.model import StructuralModel

CLASSES = 6


class Backbone(torch.nn.Module):
    """Twelve channels on a 4 x 4 grid, the same on every machine."""

    def __init__(self, own=False, scale=1.0):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(12, 3, 8, 8, generator=g))
        self.own, self.scale, self.seen = own, scale, 0

    def forward(self, pixels):
        if pixels.abs().sum() > 0:  # the blank image that shows the channels is not one of the data
            self.seen += len(pixels)
        features = torch.nn.functional.conv2d(pixels, self.weight, stride=56).relu() * self.scale
        return (features, features.amax(dim=(2, 3))) if self.own else features


def model(grid=(2, 2), **backbone):
    return StructuralModel.wrap(Backbone(**backbone), grid=grid, matcher=Matcher(), name="tiny")


def picture(file, seed, label):
    """Noise in the colour of its class, larger than the strides, so that the parts differ."""
    g = torch.Generator().manual_seed(seed * 100 + label)
    base = torch.tensor([label * 37 % 200, label * 91 % 200, label * 53 % 200]).view(3, 1, 1)
    noise = torch.randint(0, 55, (3, 6, 6), generator=g)
    array = (base + noise).to(torch.uint8).permute(1, 2, 0).numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).resize((48, 40), Image.Resampling.NEAREST).save(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    for label in range(CLASSES):
        for k in range(5):
            picture(root / f"class{label}" / f"{k}.png", k, label)
    return root


@pytest.fixture
def table(folder, tmp_path):
    """Write a CSV of the folder's images, with a split by a function of class and number."""

    def write(split):
        file = folder / f"{tmp_path.name}.csv"
        with file.open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(["path", "label", "split"])
            for label in range(CLASSES):
                for k in range(5):
                    rows.writerow([f"class{label}/{k}.png", f"class{label}", split(label, k)])
        return str(file)

    return write


def test_a_folder_of_classes_is_evaluated_leave_one_out(folder):
    result = evaluate(str(folder), model(), shortlists=(0, 10), head_dim=4)
    assert (result.images, result.classes, result.queries, result.without_relevant) == (30, 6, 30, 0)
    assert (result.model, result.dataset, result.marginals, result.grid) == ("tiny", str(folder), "uniform", (2, 2))
    assert result.head.endswith(
        f"30 of the 30 images of {folder}, the evaluated images themselves, without their labels"
    )
    assert result.results[0]["recall@1"] > 0.5  # chance is 4 in 29


def test_the_numbers_are_those_of_the_maps(folder):
    tiny, collection = model(), open_dataset(str(folder))
    result = evaluate(collection, tiny, shortlists=(0, 7), head_dim=0, batch_size=7)
    maps = tiny.encode([collection.file(i) for i in range(len(collection))]).to(torch.float16)
    expected = evaluate_maps(maps, collection.known_labels, matcher=tiny.matcher, shortlists=(0, 7))
    assert result.results == expected.results
    assert result.head == "none, as requested"


def test_a_head_fitted_on_the_training_half_is_the_same_as_fitted_by_hand(table):
    data = table(lambda label, _: "train" if label < 3 else "test")
    collection = open_dataset(data)
    result = evaluate(data, model(), shortlists=(0, 7), head_dim=4)
    assert (result.images, result.classes, result.queries) == (15, 3, 15)
    assert result.head == f"PCA whitening to 4 dimensions, fitted on 15 of the 15 images of the training half of {data}"
    by_hand = model().fit_head([collection.file(i) for i in range(15)], 4)
    maps = by_hand.encode([collection.file(i) for i in range(15, 30)])
    expected = evaluate_maps(maps.to(torch.float16), collection.labels[15:], matcher=Matcher(), shortlists=(0, 7))
    for row, by_hand_row in zip(result.results, expected.results, strict=True):
        assert row == pytest.approx(by_hand_row)


def test_a_model_with_a_head_keeps_it(folder):
    fitted = model().fit_head([folder / f"class{i}" / "0.png" for i in range(CLASSES)], 2, on="six pictures")
    before = fitted.fingerprint
    result = evaluate(str(folder), fitted, shortlists=[0], head_dim=5)
    assert result.head == "the model's own, fitted on six pictures"
    assert fitted.fingerprint == before


def test_the_callers_model_stays_as_it_is(folder):
    tiny = model()
    evaluate(str(folder), tiny, shortlists=[0], head_dim=4, grid=(4, 4), marginals="cross_correlation")
    assert not tiny.head_fitted
    assert (tiny.grid, tiny.matcher.marginals) == ((2, 2), "uniform")


def test_grid_and_marginals_can_be_others(folder):
    result = evaluate(str(folder), model(), grid=(4, 3), marginals="cross_correlation", shortlists=[5], head_dim=0)
    assert (result.grid, result.marginals) == ((4, 3), "cross_correlation")
    assert evaluate(str(folder), model(), marginals=uniform, shortlists=[5], head_dim=0).marginals == "custom"


def test_too_few_images_fit_no_head(folder, table):
    assert evaluate(str(folder), model(), shortlists=[0], head_dim=12).head.startswith("PCA whitening to 12")
    small = open_dataset(str(folder)).subset(range(10))
    head = evaluate(small, model(), shortlists=[0]).head
    assert head == f"none, as 12 dimensions take at least 24 images, and {folder} has fewer"
    # A small training half is no reason to look at the images that are evaluated.
    data = table(lambda _, k: "train" if k == 0 else "test")
    head = evaluate(data, model(), shortlists=[0], head_dim=4).head
    assert head == f"none, as 4 dimensions take at least 8 images, and the training half of {data} has fewer"


def test_no_image_is_embedded_twice(folder, monkeypatch):
    monkeypatch.setattr(features_module, "MOST", 11)
    tiny = model()
    told = []
    sampled = evaluate(
        str(folder), tiny, shortlists=[0], head_dim=4, batch_size=4, progress=lambda *what: told.append(what)
    )
    assert tiny.encoder.backbone.seen == 30
    assert "11 of the 30" in sampled.head
    embedding = [(done, of) for what, done, of in told if what == "embedding"]
    assert embedding == sorted(embedding)
    assert embedding[-1] == (30, 30)
    assert told[-1] == ("ranking", 30, 30)


def test_sampled_images_come_back_in_order(folder, monkeypatch):
    collection = open_dataset(str(folder))
    monkeypatch.setattr(features_module, "MOST", 11)
    fitted = model()
    features = Embedder(fitted, batch_size=4).embed(collection, None, 4)
    assert features.indices == list(range(30))
    again = fitted.encode([collection.file(i) for i in range(30)])  # the head is the one that was fitted
    torch.testing.assert_close(features.maps.local.float(), again.local, atol=5e-3, rtol=2e-3)


def test_query_and_gallery_splits(table):
    data = table(lambda label, k: "train" if label < 2 else ("query" if k < 2 else "gallery"))
    result = evaluate(data, model(), shortlists=(0, 5), head_dim=4)
    assert (result.images, result.classes, result.queries) == (20, 4, 8)
    assert "training half" in result.head
    collection = open_dataset(data)
    assert collection.splits[10] == "query"


def test_other_splits_are_told(table):
    with pytest.raises(DatasetError, match="its splits are train, validation; expected test among them"):
        evaluate(table(lambda label, _: "train" if label < 3 else "validation"), model())
    with pytest.raises(DatasetError, match="its splits are gallery, query, test"):
        evaluate(table(lambda label, _: ["test", "query", "gallery"][label % 3]), model())


def test_unreadable_images_are_left_out_and_listed(folder, tmp_path):
    for label in range(3):
        for k in range(3):
            picture(tmp_path / f"c{label}" / f"{k}.png", k, label)
    (tmp_path / "c0" / "1.png").write_bytes(b"")
    (tmp_path / "c2" / "0.png").write_text("no picture")
    (tmp_path / "c2" / "2.png").write_text("no picture")
    for dim in (0, 3):
        result = evaluate(str(tmp_path), model(), shortlists=[0], head_dim=dim)
        assert [skipped.path for skipped in result.skipped] == ["c0/1.png", "c2/0.png", "c2/2.png"]
        assert (result.images, result.queries, result.without_relevant) == (6, 5, 1)
        assert [skipped["path"] for skipped in result.to_dict()["skipped"]] == ["c0/1.png", "c2/0.png", "c2/2.png"]
        assert result.summary().endswith("images left out, listed with the reasons: 3")


def test_nothing_readable_is_told(tmp_path):
    for name in ("a/1.png", "a/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DatasetError, match="none of its 2 images can be read, such as"):
        evaluate(str(tmp_path), model())


def test_wrong_requests_fail_before_an_image_is_embedded(folder, tmp_path):
    tiny = model()
    picture(tmp_path / "a" / "1.png", 0, 0)
    picture(tmp_path / "b" / "1.png", 0, 1)
    for error, match, call in [
        (DatasetError, "none of the 2 classes has two images", lambda: evaluate(str(tmp_path), tiny)),
        (UsageError, "no such folder", lambda: evaluate(str(tmp_path / "missing"), tiny)),
        (DatasetError, "has no label", lambda: evaluate(open_folder(folder), tiny)),
        (UsageError, "got 'x'", lambda: evaluate(str(folder), tiny, protocol="x")),
        (UsageError, "expected shortlist >= 0 or 'all', got -1", lambda: evaluate(str(folder), tiny, shortlists=[-1])),
        (UsageError, "expected a folder of class folders, .*, got NoneType", lambda: evaluate(None, tiny)),
        (UsageError, "expected the name or the folder of a model, got int", lambda: evaluate(str(folder), 3)),
        (UsageError, "for none, got 99", lambda: evaluate(str(folder), tiny, head_dim=99)),
        (UsageError, "for none, got -1", lambda: evaluate(str(folder), tiny, head_dim=-1)),
    ]:
        with pytest.raises(error, match=match):
            call()
    assert tiny.encoder.backbone.seen == 0


def test_a_pooled_vector_of_the_models_own_is_kept(folder):
    tiny, collection = model(own=True), open_dataset(str(folder))
    files = [collection.file(i) for i in range(30)]
    for dim in (0, 4):
        features = Embedder(tiny).embed(collection, None, dim)
        assert features.maps.own_pooled.dtype == torch.float32
        torch.testing.assert_close(features.maps.pooled, tiny.encode(files).pooled, atol=1e-4, rtol=1e-4)


def test_numbers_beyond_half_precision_change_nothing(folder):
    plain = evaluate(str(folder), model(), shortlists=(0, 10), head_dim=0)
    huge = evaluate(str(folder), model(scale=2.0**20), shortlists=(0, 10), head_dim=0)
    assert huge.results == plain.results


def test_a_collection_in_memory_is_evaluated_as_it_is(folder):
    made = Collection(folder, ["class0/0.png", "class0/1.png", "class1/0.png"], ["x", "x", "y"], name="three")
    result = evaluate(made, model(), shortlists=[0])
    assert (result.dataset, result.images, result.queries) == ("three", 3, 2)


@pytest.mark.parametrize("dim", [0, 4])
def test_weights_are_fitted_after_the_head_on_the_training_half_or_the_evaluated_images(folder, table, dim):
    tiny = model().with_weights("norm2*rarity")
    result = evaluate(str(folder), tiny, shortlists=(0, 10), head_dim=dim)
    assert result.weights == (
        f"norm2*rarity, fitted on 30 of the 30 images of {folder}, the evaluated images themselves, "
        "without their labels"
    )
    assert result.weights in result.summary()
    assert result.to_dict()["weights"] == result.weights
    assert not tiny.weights_ready
    halves = evaluate(
        table(lambda label, k: "train" if label < 3 else "test"), tiny, shortlists=[0], head_dim=dim
    ).weights
    assert halves.startswith("norm2*rarity, fitted on 15 of the 15 images of the training half of ")


@pytest.mark.parametrize("own", [False, True])
def test_a_weighted_evaluation_is_that_of_encoded_maps(folder, own):
    tiny = model(own=own)
    collection = open_folder(str(folder), labels_from="folder")
    files = [collection.file(i) for i in range(len(collection))]
    tiny.fit_head(files, dim=4)
    for name in ("norm", "rarity"):
        weighted = tiny.with_weights(name)
        result = evaluate(collection, weighted, shortlists=(0, "all"))
        if name == "rarity":
            weighted.fit_weights(files)
        expected = evaluate_maps(
            weighted.encode(files), collection.known_labels, matcher=weighted.matcher, shortlists=(0, "all")
        )
        for row, other in zip(result.results, expected.results, strict=True):
            assert row == pytest.approx(other, abs=0.02)
    assert evaluate(collection, tiny, shortlists=[0]).weights == "uniform"
