"""What methods claim to sum to, they sum to; and all of them speak the one interface."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diml.errors import UsageError
from diml.explanation.methods import METHODS, Method, MethodInput, MethodResult, Structural, methods
from diml.explanation.methods.method import method_sentences


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_what_it_says(name, model, pair):
    [method] = methods([name])
    assert isinstance(method, Method)
    assert method.name == name
    found = method.explain(pair)
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
    one, other = method.explain(pair), method.explain(pair)
    if method.heats:
        assert torch.equal(one.heat_a, other.heat_a)
    if method.corresponds:
        assert torch.equal(one.correspondence, other.correspondence)


def test_the_heats_of_structural_matching_sum_to_the_similarity(model, pair):
    found = Structural().explain(pair)
    similarity = model.explain(pair.maps_a, pair.maps_b).similarity.item()
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
    found = method.explain(pair)
    assert found.total == model.with_matcher(**changes).explain(pair.maps_a, pair.maps_b).similarity.item()
    assert abs(found.residual) < 1e-12


def test_the_bilinear_heats_sum_to_the_pooled_cosine(model, pair):
    """Against a float64 loop over all pairs of cells, which is how Zhu et al. write it."""
    [method] = methods(["bilinear"])
    found = method.explain(pair)
    a, b = (maps.local[0].double().numpy() for maps in (pair.maps_a, pair.maps_b))
    scale = 256 * np.linalg.norm(a.mean(axis=0)) * np.linalg.norm(b.mean(axis=0))
    naive = np.array([sum(x @ y for y in b) / scale for x in a])
    np.testing.assert_allclose(found.heat_a.flatten().numpy(), naive, atol=1e-12)
    cosine = F.cosine_similarity(pair.maps_a.pooled.double(), pair.maps_b.pooled.double()).item()
    assert abs(found.heat_a.sum().item() - cosine) < 1e-6
    assert abs(found.residual) < 1e-12


def test_nearest_patches_sum_to_the_mean_best_similarity(model, pair):
    [method] = methods(["nearest"])
    found = method.explain(pair)
    a, b = (F.normalize(maps.local[0].double(), dim=-1) for maps in (pair.maps_a, pair.maps_b))
    best = [(max((x @ y).item() for y in b)) for x in a]
    assert abs(found.total - np.mean(best)) < 1e-12
    assert abs(found.residual) < 1e-12
    for i, x in enumerate(a):
        assert found.correspondence[i].argmax() == (b @ x).argmax()


def test_the_contributions_are_the_pairs_that_explain_lists(model, pair):
    [method] = methods(["contributions"])
    found = method.explain(pair)
    strongest = model.explain(pair.maps_a, pair.maps_b).parts(1)[0]
    i, j = divmod(int(found.correspondence.argmax()), 16)
    assert (divmod(i, 4), divmod(j, 4)) == (strongest.a, strongest.b)


def test_a_method_that_claims_nothing_has_no_residual(model, pair):
    for method in methods(["sbsm", "grad-cam", "random", "centre"]):
        assert method.explain(pair).residual is None


def test_unknown_methods_are_refused():
    with pytest.raises(UsageError, match=r"expected one of the methods structural, .*random, got 'magic'"):
        methods(["structural", "magic"])


def test_without_names_all_but_the_variants_come():
    names = [method.name for method in methods()]
    assert {"structural", "bilinear", "grad-cam", "sbsm", "nearest", "emd", "centre", "random"} <= set(names)
    assert not {"structural-cross", "structural-partial"} & set(names)


def test_maps_of_several_images_are_refused(model, pair):
    maps = model.encode([pair.image_a, pair.image_b])
    with pytest.raises(UsageError, match="expected feature maps of one image each, got 2 and 2 images"):
        MethodInput(model, pair.image_a, pair.image_b, maps, maps)
    with pytest.raises(UsageError, match="got 1 and 0 images"):
        MethodInput(model, pair.image_a, pair.image_b, pair.maps_a, maps[[]])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_described(name):
    [method] = methods([name])
    does, lacks = method_sentences(method)
    assert does.startswith(f"Method {name}: ")
    assert (does[-1], lacks[-1], lacks[0]) == (".", ".", "I")


@dataclass(frozen=True)
class Norms:
    """What a user writes: one small class."""

    name: str = "norms"
    heats: bool = True
    corresponds: bool = False
    summary: str = "the length of each part"
    limitation: str = "it says nothing about the other image"

    def explain(self, pair):
        return MethodResult(pair.maps_a.local[0].norm(dim=1).reshape(pair.maps_a.grid))


def test_a_method_of_ones_own_is_one_line_in_the_registry(monkeypatch, pair):
    monkeypatch.setitem(METHODS, "norms", Norms)
    [method] = methods(["norms"])
    assert isinstance(method, Method)
    assert "norms" in [each.name for each in methods()]
    assert torch.equal(method.explain(pair).heat_a.flatten(), pair.maps_a.local[0].norm(dim=1))
