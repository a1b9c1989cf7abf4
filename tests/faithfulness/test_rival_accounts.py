"""What methods claim to sum to, they sum to; and all of them speak the one interface."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diml.errors import UsageError
from diml.explanation.methods import METHODS, Method, MethodResult, Structural, methods


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_what_it_says(name, model, pair):
    [method] = methods([name])
    assert isinstance(method, Method)
    assert method.name == name
    found = method.explain(model, *pair)
    assert isinstance(found, MethodResult)
    if method.heats:
        assert found.heat_a.shape == (4, 4)
        assert torch.isfinite(found.heat_a).all()
    if method.corresponds:
        assert found.correspondence.shape == (16, 16)
        assert found.correspondence.min() >= 0
    assert method.heats or method.corresponds


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("grad-cam", "sbsm")])
def test_methods_that_need_no_pixels_say_the_same_again(name, model, pair):
    [method] = methods([name])
    one, other = method.explain(model, *pair), method.explain(model, *pair)
    if method.heats:
        assert torch.equal(one.heat_a, other.heat_a)
    if method.corresponds:
        assert torch.equal(one.correspondence, other.correspondence)


def test_the_heats_of_structural_matching_sum_to_the_similarity(model, pair):
    found = Structural().explain(model, *pair)
    similarity = model.explain(pair[2], pair[3]).similarity.item()
    assert found.total == similarity
    assert abs(found.residual) < 1e-12
    assert abs(found.heat_b.sum().item() - similarity) < 1e-12


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("structural-only", {"weight": 1.0}),
        ("structural-cross", {"marginals": "cross_correlation"}),
        ("structural-partial", {"mass": 0.5}),
    ],
)
def test_variants_account_for_the_similarity_under_their_settings(name, changes, model, pair):
    [method] = methods([name])
    found = method.explain(model, *pair)
    assert found.total == model.with_matcher(**changes).explain(pair[2], pair[3]).similarity.item()
    assert abs(found.residual) < 1e-12


def test_the_bilinear_heats_sum_to_the_pooled_cosine(model, pair):
    """Against a float64 loop over all pairs of cells, which is how Zhu et al. write it."""
    [method] = methods(["bilinear"])
    found = method.explain(model, *pair)
    a, b = (maps.local[0].double().numpy() for maps in pair[2:])
    scale = 256 * np.linalg.norm(a.mean(axis=0)) * np.linalg.norm(b.mean(axis=0))
    naive = np.array([sum(x @ y for y in b) / scale for x in a])
    np.testing.assert_allclose(found.heat_a.flatten().numpy(), naive, atol=1e-12)
    cosine = F.cosine_similarity(pair[2].pooled.double(), pair[3].pooled.double()).item()
    assert abs(found.heat_a.sum().item() - cosine) < 1e-6
    assert abs(found.residual) < 1e-12


def test_nearest_patches_sum_to_the_mean_best_similarity(model, pair):
    [method] = methods(["nearest"])
    found = method.explain(model, *pair)
    a, b = (F.normalize(maps.local[0].double(), dim=-1) for maps in pair[2:])
    best = [(max((x @ y).item() for y in b)) for x in a]
    assert abs(found.total - np.mean(best)) < 1e-12
    assert abs(found.residual) < 1e-12
    for i, x in enumerate(a):
        assert found.correspondence[i].argmax() == (b @ x).argmax()


def test_the_contributions_are_the_pairs_that_explain_lists(model, pair):
    [method] = methods(["contributions"])
    found = method.explain(model, *pair)
    strongest = model.explain(pair[2], pair[3]).parts(1)[0]
    i, j = divmod(int(found.correspondence.argmax()), 16)
    assert (divmod(i, 4), divmod(j, 4)) == (strongest.a, strongest.b)


def test_a_method_that_claims_nothing_has_no_residual(model, pair):
    for method in methods(["sbsm", "grad-cam", "random", "centre"]):
        assert method.explain(model, *pair).residual is None


def test_unknown_methods_are_refused():
    with pytest.raises(UsageError, match=r"the method 'magic' came; expected one of structural, .*random"):
        methods(["structural", "magic"])


def test_without_names_all_but_the_variants_come():
    names = [method.name for method in methods()]
    assert {"structural", "bilinear", "grad-cam", "sbsm", "nearest", "emd", "centre", "random"} <= set(names)
    assert not {"structural-cross", "structural-partial"} & set(names)


@pytest.mark.parametrize("name", METHODS)
def test_maps_of_several_images_are_refused(name, model, pair):
    a, b, *_ = pair
    maps = model.encode([a, b])
    with pytest.raises(UsageError, match="maps of 2 and 2 images came to be explained; expected one each"):
        methods([name])[0].explain(model, a, b, maps, maps)
