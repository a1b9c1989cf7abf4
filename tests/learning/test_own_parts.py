"""Training a model and an objective that the caller passes, and resuming such a run."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss
from torch import nn

from diml.embedding import Preprocessing
from diml.errors import ModelError, UsageError
from diml.learning import LibraryObjective, Objective, StructuralDistance
from diml.learning.run.folder import RunFolder
from diml.learning.run.recorder import NullObserver
from diml.learning.run.settings_file import load_settings
from diml.learning.run.train import StoppedError, train
from diml.model import StructuralModel

pytestmark = pytest.mark.usefixtures("without_curves")
GRID = (2, 2)


class Spread(Objective):
    """Pulls the parts of a class towards a learned point."""

    def __init__(self):
        super().__init__()
        self.points = nn.Parameter(torch.ones(4, 8))

    def forward(self, maps, labels):
        return (maps.pooled - self.points[labels]).square().mean()


def own_model(channels=8):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, channels, 16, 16), nn.BatchNorm2d(channels), nn.ReLU())
    return StructuralModel.wrap(backbone, Preprocessing(size=(32, 32)), grid=GRID, name="patches")


@pytest.fixture(scope="session")
def settings(colours):
    """Settings that leave the model and the loss open."""
    said = """data.batch=8 data.workers=0 data.validation=0.34 model.head=random optim.epochs=2 optim.lr=0.01
        optim.batches_per_epoch=2 run.accelerator=cpu"""
    return lambda *changes: load_settings(None, [f"data.spec={colours}", *said.split(), *changes])


def weights(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


def test_a_wrapped_module_is_trained_and_stays_as_it_was(settings, tmp_path):
    model = own_model().train()
    before = copy.deepcopy(model.state_dict())
    result = train(settings("data.validation=0"), tmp_path / "run", model=model)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ModelError, match="pass that module as backbone="):
        StructuralModel.from_pretrained(result.folder)
    trained = StructuralModel.from_pretrained(result.folder, backbone=own_model().encoder.backbone)
    assert (trained.dim, trained.grid, trained.encoder.preprocessing.size) == (8, GRID, (32, 32))
    assert trained.head_fitted_on.startswith("24 training images")
    assert not trained.encoder.backbone[0].weight.equal(before["encoder.backbone.0.weight"])
    recorded = load_settings(RunFolder(result.folder).settings)
    assert (recorded.model.name, recorded.model.dim, recorded.model.grid) == ("own:patches", 8, GRID)
    assert result.document["settings"]["model"]["name"] == "own:patches"


def test_settings_that_are_said_go_before_the_model(settings, tmp_path):
    train(settings("model.dim=4", "model.grid=1x2", "data.size=48"), tmp_path / "run", model=own_model())
    trained = StructuralModel.from_pretrained(tmp_path / "run", backbone=own_model().encoder.backbone)
    assert (trained.dim, trained.grid, trained.encoder.preprocessing.size) == (4, (1, 2), (48, 48))


def test_an_own_head_is_kept(settings, tmp_path):
    model = own_model()
    model.encoder.head = nn.Linear(8, 5)
    train(settings(), tmp_path / "run", model=model)
    recorded = load_settings(RunFolder(tmp_path / "run").settings)
    assert recorded.model.dim == 5
    with pytest.raises(UsageError, match=r"expected model\.dim = 5, the dim of the head of own:patches, got 6"):
        train(settings("model.dim=6"), tmp_path / "other", model=model)


class StopInEpoch2(NullObserver):
    def step(self, epoch, loss, done, total):
        if epoch == 2:
            raise KeyboardInterrupt


def test_resumed_with_the_same_model_and_objective_is_the_run_that_was_not_stopped(settings, tmp_path):
    own = {"model": own_model(), "objective": Spread()}
    out, whole = tmp_path / "one" / "run", tmp_path / "other" / "run"
    with pytest.raises(StoppedError):
        train(settings(), out, **own, observer=StopInEpoch2())
    train(settings(), out, **own, resume=True)
    train(settings(), whole, **own)
    assert weights(out) == weights(whole)
    states = [torch.load(RunFolder(folder).last, weights_only=True)["state_dict"] for folder in (out, whole)]
    assert states[0]["learner.objective.points"].equal(states[1]["learner.objective.points"])
    assert not states[0]["learner.objective.points"].equal(torch.ones(4, 8))
    documents = [
        train(load_settings(RunFolder(run).settings), run, **own, resume=True).document for run in (out, whole)
    ]
    assert documents[0]["test"] == documents[1]["test"]


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (lambda: {"objective": Spread()}, r"was begun with model\.\w+ = "),
        (lambda: {"model": own_model()}, r"was begun with loss\.name = 'own:Spread', got 'margin'"),
        (lambda: {"model": own_model(6), "objective": Spread()}, r"was begun with model\.dim = 8, got 6"),
        (
            lambda: {"model": own_model(), "objective": ContrastiveLoss()},
            r"was begun with loss\.name = 'own:Spread', got 'own:ContrastiveLoss on the pooled vectors'",
        ),
    ],
)
def test_other_parts_are_refused_when_resuming(settings, stopped, passed, said):
    with pytest.raises(UsageError, match=said):
        train(settings(), stopped, **passed(), resume=True)


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (lambda: {"objective": Spread()}, "expected the model that the run was begun with, patches, got none; pass"),
        (lambda: {"model": own_model()}, r"expected the objective .* Spread, got none; pass .*, objective=\.\.\."),
    ],
)
def test_recorded_settings_name_the_part_that_is_missing(stopped, passed, said):
    with pytest.raises(UsageError, match=said):
        train(load_settings(RunFolder(stopped).settings), stopped, **passed(), resume=True)


def test_a_model_that_does_not_take_the_saved_weights_is_refused(settings, stopped):
    model = own_model()
    model.encoder.backbone[0] = nn.Sequential(nn.Conv2d(3, 8, 16, 16))
    with pytest.raises(UsageError, match=r"^expected the model that the run was begun with, got one that does not fit"):
        train(settings(), stopped, model=model, objective=Spread(), resume=True)


@pytest.fixture(scope="module")
def stopped(settings, tmp_path_factory):
    """A run of own parts that was stopped in its second epoch."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.raises(StoppedError):
        train(settings(), out, model=own_model(), objective=Spread(), observer=StopInEpoch2())
    return out


def test_a_loss_of_the_library_on_matched_parts(settings, tmp_path):
    loss = ContrastiveLoss(distance=StructuralDistance(GRID))
    lines = []

    class Begun(NullObserver):
        def begin(self, said, notices):
            lines.extend(said)

    result = train(settings("optim.epochs=1"), tmp_path / "run", model=own_model(), objective=loss, observer=Begun())
    assert lines[1].startswith("loss: ContrastiveLoss on the structural distance (cross_correlation marginals")
    assert result.document["settings"]["loss"]["name"].startswith("own:ContrastiveLoss on the structural distance")
    assert LibraryObjective(loss).structural


def test_an_own_objective_with_a_named_model(tiny_settings, tmp_path):
    result = train(load_settings(None, [*tiny_settings, "optim.epochs=1"]), tmp_path / "run", objective=Spread())
    assert StructuralModel.from_pretrained(result.folder).dim == 8


def test_what_cannot_be_combined_is_refused(settings, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UsageError, match=r"model\.name = 'lite0' and model= cannot be combined; use one of them"):
        train(settings("model.name=lite0"), out, model=own_model())
    with pytest.raises(UsageError, match=r"loss\.name = 'margin' and objective= cannot be combined"):
        train(settings("loss.name=margin"), out, objective=Spread())
    with pytest.raises(UsageError, match=r"loss\.options and objective= cannot be combined"):
        train(settings("loss.options.margin=0.3"), out, objective=Spread())
    with pytest.raises(UsageError, match=r"expected an Objective or a loss of pytorch-metric-learning, got Linear"):
        train(settings(), out, objective=nn.Linear(2, 2))
    assert not out.exists()
