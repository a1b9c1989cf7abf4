"""Weights of parts as a part of the model: named, fitted, saved and loaded."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from diml.embedding import Norm, Product
from diml.errors import ModelError, UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import mask_weights
from diml.model import StructuralModel, storable

FORMATS = Path(__file__).parents[1] / "formats"
# Of the models below, before models could have weights.
LITE0 = "812f60da969b37d1119c4dfb21095625"


def backbone():
    return nn.Conv2d(3, 6, 32, 32)


def wrapped():
    torch.manual_seed(0)
    return StructuralModel.wrap(backbone(), name="small")


def images(n=5, seed=0):
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_models_without_weights_are_what_they_were():
    lite0 = StructuralModel.from_pretrained("lite0").with_weights(None)
    assert lite0.with_decoding(2).fingerprint == LITE0
    folder = FORMATS / "v2" / "model"
    model = StructuralModel.from_pretrained(folder, backbone=nn.Sequential(nn.Conv2d(3, 6, 16, 16), nn.ReLU()))
    config, written = (json.dumps(each, indent=2) for each in (model.config(), json.loads(text(folder))))
    assert config.partition('"matching"')[0] == written.partition('"matching"')[0]


def text(folder):
    return (folder / "config.json").read_text()


@pytest.mark.parametrize("name", ["norm", "norm2", "rarity", "norm2*rarity", "learned", "rarity*learned"])
@pytest.mark.parametrize("head", [False, True])
def test_a_saved_model_has_its_weights(name, head, tmp_path):
    model = wrapped()
    if head:
        model.fit_head(images(12), dim=3)
    model = model.with_weights(name)
    if not model.weights_ready:
        model.fit_weights(images(), on="five images")
    model.save_pretrained(tmp_path)
    again = StructuralModel.from_pretrained(tmp_path, backbone=backbone())
    assert (again.weights, again.fingerprint) == (name, model.fingerprint)
    assert again.config() == model.config()
    assert (again.weights_fitted_on == "five images") == ("rarity" in name)
    maps, same = model.encode(images(2)), again.encode(images(2))
    assert torch.equal(maps.weights, same.weights)
    assert torch.equal(maps.pooled, same.pooled)
    assert json.loads(text(tmp_path))["version"] == 5
    assert model.with_decoding(2).config()["version"] == 3


def test_weights_change_the_fingerprint_and_uniform_ones_do_not():
    model = wrapped()
    weighted = model.with_weights("norm")
    assert weighted.fingerprint != model.fingerprint
    assert weighted.with_weights("uniform").fingerprint == model.fingerprint
    assert weighted.with_weights(None).config() == model.config()
    assert model.with_decoding(2).config()["version"] == 2
    one, other = (model.with_weights("rarity").fit_weights(images(seed=seed)) for seed in (0, 1))
    assert one.fingerprint != other.fingerprint


def test_other_models_keep_the_weights():
    model = wrapped().with_weights("rarity").fit_weights(images())
    for changed in (
        model.with_grid(2),
        model.with_decoding(1),
        model.with_matcher(eps=0.1),
        model.with_weights("rarity"),
    ):
        assert changed.weights_fitted_on == "5 images"
        assert changed.encode(images(1)).weights is not None


def test_an_unfitted_rarity_changes_nothing():
    model = wrapped().with_weights("norm*rarity")
    assert not model.weights_ready
    torch.testing.assert_close(model.encode(images()).weights, model.with_weights("norm").encode(images()).weights)
    for refused in (wrapped(), wrapped().with_weights("norm")):
        with pytest.raises(UsageError):
            refused.fit_weights(images())


def test_a_new_head_asks_for_new_weights_and_leaves_other_models_alone():
    model = wrapped().with_weights("rarity").fit_weights(images())
    other = model.with_grid(4)
    other.fit_head(images(12), dim=3)
    assert (model.weights_ready, other.weights_ready) == (True, False)
    assert other.encode(images()).weights.unique().numel() == 1
    other.fit_weights(images())
    assert other.encode(images()).weights.unique().numel() > 1
    assert model.encode(images()).weights is not None
    with pytest.raises(UsageError, match="after the head"):
        other.fit_weights(FeatureMaps(torch.rand(2, 4, 6), (2, 2)))


def test_weights_are_fitted_on_maps_as_on_their_images():
    model = wrapped().fit_head(images(12), dim=3)
    maps = model.encode(images())
    one, other = model.with_weights("rarity"), model.with_weights("rarity")
    assert one.fit_weights(images()).fingerprint == other.fit_weights(maps).fingerprint


def test_a_module_of_ones_own_weighs_but_cannot_be_saved(tmp_path):
    class First(nn.Module):
        def forward(self, local):
            return torch.eye(local.shape[1])[:1].expand(len(local), -1)

    model = wrapped().with_weights(First())
    assert model.weights == "custom"
    maps = model.encode(images())
    torch.testing.assert_close(maps.pooled, maps.local[:, 0])
    with pytest.raises(ModelError, match="weights given by name"):
        model.save_pretrained(tmp_path)
    assert wrapped().with_weights(Product([Norm(), Norm(2)])).weights == "norm*norm2"


def test_unknown_weights_of_a_saved_model_are_an_error(tmp_path):
    wrapped().with_weights("norm").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text(tmp_path).replace('"norm"', '"newest"'))
    with pytest.raises(ModelError, match="newest"):
        StructuralModel.from_pretrained(tmp_path, backbone=backbone())


def test_stored_pooled_vectors_are_weighted():
    maps = wrapped().with_weights("norm2").encode(images())
    local, pooled = storable(maps)
    torch.testing.assert_close(pooled, (maps.weights[:, :, None] * local.float()).sum(dim=1), atol=2e-3, rtol=2e-3)


def test_a_half_precision_model_has_float32_weights():
    model = wrapped().with_weights("rarity*learned").fit_weights(images())
    whole, half = model.encode(images()).weights, model.half().encode(images()).weights
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, atol=0.02, rtol=0.1)


def test_a_mask_as_weights():
    maps = wrapped().encode(images(1))
    mask = torch.zeros(64, 64)
    mask[:32] = 1
    weighted = maps.replace(weights=mask_weights(maps, mask))
    torch.testing.assert_close(weighted.pooled, maps.local[:, :8].mean(dim=1))


def test_a_model_without_weights_and_transport_is_written_as_older_versions_read_it(tmp_path):
    model = StructuralModel.wrap(torch.nn.Conv2d(3, 8, 32, 32)).with_decoding(2)
    config = model.config()
    assert config["version"] == 2
    assert set(config["matching"]) == {"marginals", "weight", "eps", "tolerance", "max_iterations", "mass"}
    one_sided = model.with_matcher(transport="dustbin", bin_similarity=0.25)
    assert one_sided.config()["version"] == 3
    one_sided.save_pretrained(tmp_path)
    again = StructuralModel.from_pretrained(tmp_path, backbone=torch.nn.Conv2d(3, 8, 32, 32))
    assert (again.matcher.transport, again.matcher.bin_similarity) == ("dustbin", 0.25)
