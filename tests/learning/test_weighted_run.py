"""Training a model whose parts have weights: they are trained, saved, loaded and resumed."""

import pytest
import torch

from diml.embedding import Learned, Norm
from diml.errors import UsageError
from diml.learning import train
from diml.learning.run.initial_model import bare_model
from diml.learning.run.learner import Learner
from diml.learning.run.module import groups
from diml.learning.run.settings_file import load_settings
from diml.model import StructuralModel


def said(scheme, *more):
    changes = "optim.lr=0.01", "data.validation=0", "loss.name=multisimilarity"
    return [f"model.weights={scheme}", *changes, *more]


@pytest.mark.parametrize("scheme", ["learned", "norm2*learned"])
def test_learned_weights_are_trained_saved_and_resumed(scheme, tiny, tmp_path, without_curves):
    result = train(tiny(*said(scheme, "optim.epochs=1")), tmp_path / "run")
    model = StructuralModel.from_pretrained(result.folder)
    assert model.weights == scheme
    assert model.weights_fitted_on == model.head_fitted_on
    assert any(module.trained for module in model.encoder.modules() if isinstance(module, Learned))
    assert result.document["test"]["weights"] == f"{scheme}, fitted on {model.weights_fitted_on}"
    assert load_settings(result.folder / "settings.toml").model.weights == scheme
    resumed = train(tiny(*said(scheme, "optim.epochs=2")), tmp_path / "run", resume=True)
    assert StructuralModel.from_pretrained(resumed.folder).fingerprint != model.fingerprint


@pytest.mark.parametrize("loss", ["margin", "proxy-anchor"])
def test_losses_of_all_kinds_take_weighted_maps(loss, tiny, tmp_path, without_curves):
    settings = tiny(*said("learned", "optim.epochs=1", f"loss.name={loss}"))
    model = StructuralModel.from_pretrained(train(settings, tmp_path / "run").folder)
    assert model.encoder.weights.trained


def test_weights_have_a_group_of_their_own(tiny):
    model = bare_model(tiny("model.weights=learned"), "tiny")
    model.use_head(torch.nn.Linear(model.encoder.channels, 8), None)
    learner = Learner(model.encoder, torch.nn.Identity())
    assert [group["name"] for group in groups(learner, tiny().optim)] == ["backbone", "head", "weights"]
    assert sum(p.numel() for p in groups(learner, tiny().optim)[2]["params"]) == 9
    plain = bare_model(tiny(), "tiny")
    assert [group["name"] for group in groups(Learner(plain.encoder, torch.nn.Identity()), tiny().optim)] == [
        "backbone"
    ]


def test_a_model_keeps_its_own_weights_unless_the_settings_say_otherwise(tiny):
    own = StructuralModel.from_pretrained("timm:test_resnet?weights=random").with_weights("norm")
    assert isinstance(bare_model(tiny(), "tiny", own).encoder.weights, Norm)
    assert bare_model(tiny("model.weights=uniform"), "tiny", own).encoder.weights is None


def test_rarity_is_refused(tiny):
    with pytest.raises(UsageError, match="rarity is fitted after training"):
        tiny("model.weights=norm*rarity")
    with pytest.raises(UsageError, match="norm, norm2, learned"):
        tiny("model.weights=magic")
    own = StructuralModel.from_pretrained("timm:test_resnet?weights=random").with_weights("rarity")
    with pytest.raises(UsageError, match="depend on no collection"):
        bare_model(tiny(), "tiny", own)
