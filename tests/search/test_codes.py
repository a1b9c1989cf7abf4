"""Codes of maps: against naive loops and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.cluster import AgglomerativeClustering, KMeans

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.search.codes import parse_codes, vectors
from diml.search.codes.pooling import pooled_parts
from diml.search.codes.product import Product, k_means, nearest
from diml.search.codes.vectors import Whole

NAMES = ["float16", "int8", "int4", "pq7", "pq5", "pool3+float16", "pool4+int8", "pool2+pq5", "pool5+int4", "pool1+pq1"]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted(name, local):
    codec = parse_codes(name, local.shape[1], local.shape[2])
    return codec if codec.fitted else codec.fit(local, uniform(local), "noise")


def uniform(local):
    return torch.full(local.shape[:2], 1 / local.shape[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("parts", "dim"), [(9, 7), (6, 12), (20, 16)])
def test_codes_have_their_bytes_and_are_fixed_points(name, parts, dim):
    local = random(300, parts, dim)
    codec = fitted(name, local)
    codes = codec.encode(local, uniform(local))
    assert codec.name == name
    assert codes.shape == (300, codec.bytes)
    assert codes.dtype == torch.uint8
    maps = codec.decode(codes)
    assert maps.shape == local.shape
    assert maps.dtype == torch.float32
    if "int" not in name:  # the scale of whole numbers is rounded again
        again = codec.decode(codec.encode(maps, uniform(local)))
        torch.testing.assert_close(again, maps, rtol=2e-3, atol=2e-3)


def test_whole_numbers_are_as_near_as_their_steps():
    local = random(50, 4, 31) * torch.logspace(-3, 3, 50)[:, None, None]
    peak = local.abs().amax(dim=2, keepdim=True)
    for name, steps in (("int8", 127), ("int4", 7)):
        codec = parse_codes(name, 4, 31)
        error = (codec.decode(codec.encode(local, uniform(local))) - local).norm(dim=2, keepdim=True)
        # Rounding to the nearest step errs by half of one at most; the scale has 11 bits.
        assert (error <= 31**0.5 * peak * (0.5 / steps + 1e-3)).all(), name


@pytest.mark.parametrize("name", ["int8", "int4", "pool2+int8"])
def test_vectors_of_zeros_stay(name):
    local = torch.zeros(2, 4, 5)
    codec = parse_codes(name, 4, 5)
    assert (codec.decode(codec.encode(local, uniform(local))) == 0).all()


def test_product_codes_are_the_nearest_centroids():
    vectors = random(400, 11)
    code = Product(4, 11).fit(vectors)
    codes, pieces = code.encode(vectors), [(0, 3), (3, 6), (6, 9), (9, 11)]
    decoded = code.decode(codes)
    for i in range(0, 400, 37):
        for piece, (start, end) in enumerate(pieces):
            centroids = code.centroids[piece, :, : end - start].double()
            distances = (vectors[i, start:end].double() - centroids).square().sum(dim=1)
            found = int(codes[i, piece])
            assert distances[found] <= distances.min() + 1e-5
            torch.testing.assert_close(decoded[i, start:end], centroids[found].float())


def test_k_means_is_as_good_as_that_of_scikit_learn():
    points = random(3, 2000, 4)
    centroids = k_means(points, 64)
    for at in range(3):
        ours = torch.cdist(points[at], centroids[at]).min(dim=1).values.square().sum().item()
        theirs = KMeans(64, n_init=1, init="random", max_iter=20, random_state=0).fit(points[at].numpy()).inertia_
        assert ours < 1.03 * theirs


def test_k_means_uses_every_centroid_where_there_are_as_many_points():
    points = torch.cat([torch.zeros(1, 90, 2), random(1, 10, 2)], dim=1)
    centroids = k_means(points, 11)
    assert (points[0][:, None] - centroids[0]).norm(dim=2).min(dim=1).values.max() < 1e-5
    assert nearest(points, centroids).unique().numel() == 11


@pytest.mark.parametrize("kept", [1, 3, 8, 15])
def test_pooled_parts_are_those_of_ward(kept):
    local = random(6, 16, 5)
    vectors, which = pooled_parts(local, uniform(local), kept)
    assert vectors.shape == (6, kept, 5)
    for image in range(6):
        theirs = AgglomerativeClustering(kept, linkage="ward").fit_predict(local[image].numpy())
        ours = which[image].numpy()
        # The same cells together, whatever the groups are called.
        assert (np.equal.outer(ours, ours) == np.equal.outer(theirs, theirs)).all()
        for group in range(kept):
            torch.testing.assert_close(vectors[image, group], local[image][which[image] == group].mean(dim=0))


def test_pooling_keeps_the_weighted_mean():
    local, weights = random(40, 9, 6), random(40, 9, seed=1).abs()
    weights[0, :8] = 0
    maps = FeatureMaps(local, (3, 3), weights=weights)
    codec = parse_codes("pool4+float16", 9, 6)
    pooled = FeatureMaps(codec.decode(codec.encode(local, maps.weights)), (3, 3), weights=weights)
    torch.testing.assert_close(pooled.pooled, maps.pooled, atol=3e-3, rtol=3e-3)


def test_codes_do_not_depend_on_the_other_images():
    local = random(1500, 4, 8)
    for name in ("pool3+pq4", "int4"):
        codec = fitted(name, local)
        codes = codec.encode(local, uniform(local))
        for at in (0, 777, 1499):
            assert codec.encode(local[at : at + 1], uniform(local)[at : at + 1]).equal(codes[at : at + 1])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("int2", "expected float16, int8, int4 or pqM"),
        ("pool8", "got 'pool8'"),
        ("pq0", "expected pq1 to pq8"),
        ("pq9", "expected pq1 to pq8"),
        ("pool5+int8", "expected pool1 to pool4"),
        ("pool0+int8", "expected pool1 to pool4"),
        ("", "got ''"),
    ],
)
def test_names_that_are_none(name, says):
    with pytest.raises(UsageError, match="expected") as refused:
        parse_codes(name, 4, 8)
    assert says in str(refused.value)


def test_too_few_vectors_for_centroids():
    with pytest.raises(UsageError, match="at least 256 parts to fit the codes pq4 on, got 40"):
        fitted("pq4", random(10, 4, 8))


@pytest.mark.parametrize("name", [name for name in NAMES if "pq7" not in name])
@pytest.mark.parametrize("dim", [5, 8])
def test_a_single_image(name, dim):
    """Of a single row, a slice may lie at an odd place in memory."""
    local = random(300, 9, dim)
    codec = fitted(name, local)
    codes = codec.encode(local, uniform(local))
    assert codec.decode(codes[7:8]).equal(codec.decode(codes)[7:8])


@pytest.mark.parametrize(("parts", "dim", "kept"), [(16, 32, 8), (25, 33, 20), (7, 5, 1), (2, 3, 1)])
def test_compiled_pooling_is_that_of_pytorch(parts, dim, kept, monkeypatch):
    local, weights = random(300, parts, dim), random(300, parts, seed=1).abs()
    local[:, 1], weights[:, 0] = local[:, 0], 0
    vectors, which = pooled_parts(local, weights, kept)
    monkeypatch.setenv("DIML_KERNEL", "torch")
    expected = pooled_parts(local, weights, kept)
    assert which.equal(expected[1])
    torch.testing.assert_close(vectors, expected[0])


@pytest.mark.parametrize(("k", "width"), [(256, 4), (256, 1), (11, 7), (1, 20)])
@pytest.mark.parametrize("kernel", ["torch", "cpu"])
def test_the_nearest_centroid(k, width, kernel, monkeypatch):
    monkeypatch.setenv("DIML_KERNEL", kernel)
    points, centroids = random(3, 5000, width), random(3, k, width, seed=1)
    found = nearest(points, centroids)
    distances = (points.double()[:, :, None] - centroids.double()[:, None]).square().sum(dim=3)
    assert (distances.gather(2, found[:, :, None])[:, :, 0] - distances.amin(dim=2)).abs().max() < 1e-5
    assert nearest(points[:, :0], centroids).shape == (3, 0)


def test_of_equal_centroids_the_first_is_taken():
    centroids = random(3, 40, 5).repeat(1, 3, 1)
    assert nearest(random(3, 3000, 5, seed=1), centroids).max() == 39


def test_pooling_of_any_numbers_ends():
    local = random(4, 6, 5)
    local[0], local[1], local[2, 3] = torch.nan, 1e30, torch.inf
    vectors, which = pooled_parts(local, uniform(local), 2)
    assert vectors.shape == (4, 2, 5)
    assert which.amax() == 1


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("kept", "dim"), [(1, 1), (3, 7), (16, 128), (5, 33)])
def test_compiled_code_decodes_whole_numbers_to_the_same_bits(bits, kept, dim, monkeypatch):
    code = Whole(bits, dim)
    rows = code.encode(random(900 * kept, dim)).reshape(900, -1)
    rows = torch.cat([rows, torch.full((900, 3), 255, dtype=torch.uint8)], dim=1)  # something else behind them
    compiled = code.decode_rows(rows, kept)
    monkeypatch.setattr(vectors, "is_compiled", lambda: False)
    assert torch.equal(compiled, code.decode_rows(rows, kept))
    assert compiled.shape == (900, kept, dim)
    assert code.decode_rows(rows[:0], kept).shape == (0, kept, dim)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dim", [1, 7, 33, 128])
def test_compiled_code_finds_whole_numbers_as_good_as_those_of_pytorch(bits, dim, monkeypatch):
    given = random(5000, dim)
    given[0], given[1], given[2] = 0, given[1] * 60000 / given[1].abs().max(), given[2] * 1e-4
    code = Whole(bits, dim)
    compiled = code.encode(given)
    assert code.encode(given[:0]).shape == (0, code.bytes)
    monkeypatch.setattr(vectors, "is_compiled", lambda: False)
    expected = code.encode(given)
    # Sums in another order round otherwise, which now and then makes another step the best or a half another number.
    assert (compiled == expected).all(dim=1).float().mean() > 0.99
    errors = [(given.double() - code.decode(codes)).norm(dim=1) for codes in (compiled, expected)]
    torch.testing.assert_close(*errors, rtol=2e-3, atol=1e-7)
