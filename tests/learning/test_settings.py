"""Settings: files and command lines, refusals that name the setting, and writing and reading back."""

import importlib
import sys

import pytest
from pydantic import ValidationError

from diml.errors import DimlError, UsageError
from diml.learning.run.settings import TrainingSettings
from diml.learning.run.settings_file import load_settings

SPEC = "data.spec=photos"


def test_defaults_are_as_documented():
    settings = load_settings(None, [SPEC])
    assert (settings.data.batch, settings.data.per_class, settings.data.validation) == (112, 2, 0.2)
    assert (settings.model.name, settings.model.dim, settings.model.grid) == ("lite0", 128, (4, 4))
    assert (settings.loss.name, settings.loss.similarity, settings.loss.marginals) == (
        "margin",
        "structural",
        "cross_correlation",
    )
    assert (settings.optim.lr, settings.optim.loss_lr, settings.optim.weight_decay) == (1e-5, 5e-4, 4e-4)
    assert (settings.run.select, settings.run.shortlist, settings.run.precision) == ("map@r", 100, "32-true")


def test_a_command_line_goes_before_a_file_and_the_later_before_the_earlier(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\nspec = "cars"\n[optim]\nepochs = 7\nlr = 1e-3\n')
    settings = load_settings(recipe, ["optim.lr=0.5", "optim.lr=1e-4", "data.spec=a=b:c"])
    assert (settings.optim.epochs, settings.optim.lr, settings.data.spec) == (7, 1e-4, "a=b:c")


def test_text_becomes_what_the_setting_is():
    settings = load_settings(
        None,
        [
            "data.spec=2021",
            "data.flip=false",
            "data.crop_scale=0.5,1",
            "data.size=none",
            "model.grid=2x3",
            "model.frozen=conv_stem,blocks.0",
            "loss.options.margin=0.3",
            "loss.options.kind=cosine",
            "run.devices=auto",
            "run.strategy=ddp",
        ],
    )
    assert (settings.data.spec, settings.data.flip, settings.data.crop_scale) == ("2021", False, (0.5, 1.0))
    assert (settings.data.size, settings.model.grid) == (None, (2, 3))
    assert settings.model.frozen == ("conv_stem", "blocks.0")
    assert settings.loss.options == {"margin": 0.3, "kind": "cosine"}
    assert (settings.run.devices, settings.run.strategy) == ("auto", "ddp")
    assert load_settings(None, [SPEC, "model.grid=3"]).model.grid == (3, 3)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["loss.similarity=pooled", "loss.options.margin=0.3", "model.frozen=a,b"],
        ["optim.head_lr=1e-3", "optim.clip=1", "data.size=96", "run.devices=2", "optim.batches_per_epoch=9"],
        ['data.spec=a "quoted"\\path\nwith ünïcode'],
    ],
)
def test_a_written_file_reads_the_same(tmp_path, changes):
    settings = load_settings(None, [SPEC, *changes])
    file = tmp_path / "settings.toml"
    file.write_text(settings.to_toml(), encoding="utf-8")
    assert load_settings(file, ()) == settings


def test_a_model_trained_on_pooled_vectors_is_chosen_by_their_ranking():
    assert load_settings(None, [SPEC, "loss.similarity=pooled"]).run.shortlist == 0
    assert load_settings(None, [SPEC, "loss.similarity=pooled", "run.shortlist=50"]).run.shortlist == 50
    assert load_settings(None, [SPEC, "loss.similarity=pooled", "run.seed=3"]).run.shortlist == 0


REFUSED = {
    "optim.lr=fast": "expected optim.lr to be a valid number, got 'fast'",
    "optim.lr=0": "expected optim.lr to be a number greater than 0, got '0'",
    "optim.lr=nan": "expected optim.lr to be a finite number, got 'nan'",
    "optim.lr=1e300": "expected optim.lr to be a number less than or equal to 1000000, got '1e300'",
    "optim.epoch=3": "unknown setting optim.epoch; did you mean optim.epochs",
    "optimizer.lr=3": "unknown setting optimizer; expected one of data, model, loss, optim, run",
    "optim.optimizer=lion": "expected optim.optimizer to be 'adam', 'adamw' or 'sgd', got 'lion'",
    "optim.epochs": "expected section.key=value, such as optim.epochs=20, got optim.epochs",
    "epochs=3": "expected section.key=value, such as optim.epochs=20, got epochs=3",
    "data.spec=": "data.spec is missing; name the data, such as data.spec=FOLDER",
    "data.batch=7": "expected data.batch to be at least two whole classes of data.per_class = 2, such as 6, got 7",
    "data.batch=2": "expected data.batch to be at least two whole classes of data.per_class = 2, such as 4, got 2",
    "data.per_class=1": "expected data.per_class to be a number greater than or equal to 2, got '1'",
    "data.crop_scale=1,0.5": "expected data.crop_scale to be two shares of the area, the smaller first, "
    "above 0 and up to 1, got '1,0.5'",
    "data.crop_scale=0.5": "expected data.crop_scale to be two numbers, such as 0.2,1, got '0.5'",
    "data.crop_scale=0.1,0.2,1": "expected data.crop_scale to be two numbers, such as 0.2,1, got '0.1,0.2,1'",
    "data.workers=100000": "expected data.workers to be a number less than or equal to 1024, got '100000'",
    "model.name=": "expected model.name to be a text of at least 1 character, got ''",
    "data.validation=1": "expected data.validation to be a number less than 1, got '1'",
    "data.size=big": "expected data.size to be a valid integer, got 'big'",
    "model.grid=4x4x4": "expected model.grid to be rows and columns, such as 4x4, got '4x4x4'",
    "model.resampling=cubic": "expected model.resampling to be one of area, bilinear16, got 'cubic'",
    "loss.weight=1.5": "expected loss.weight to be a number less than or equal to 1, got '1.5'",
    "run.devices=some": "expected run.devices to be a valid integer or 'auto', got 'some'",
    "run.select=recall": "expected run.select to be one of recall@1, recall@2, recall@4, recall@8, "
    "r_precision, map@r, got 'recall'",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_cannot_be_is_refused_by_name(change):
    with pytest.raises(UsageError) as refused:
        load_settings(None, [SPEC, change])
    assert str(refused.value) == REFUSED[change]


def test_data_must_be_named():
    with pytest.raises(UsageError, match=r"data\.spec is missing"):
        load_settings(None, [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[data\n", "is not TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"x = " + b"[" * 100_000, "is nested too deeply"),
        (b"#" * 1_000_001, "has more than 1,000,000 bytes"),
        (b"data = 3\n", "expected data to be a valid dictionary"),
        (b'[data]\nspec = "x"\n[optim]\nepochs = "many"\n', "recipe.toml: expected optim.epochs to be a valid integer"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, said):
    recipe = tmp_path / "recipe.toml"
    recipe.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        load_settings(recipe, ())
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such recipe"):
        load_settings(tmp_path / "recipe.toml", [SPEC])


def test_settings_do_not_change():
    settings = load_settings(None, [SPEC])
    assert isinstance(settings, TrainingSettings)
    with pytest.raises(ValidationError):
        settings.optim.epochs = 3


def test_the_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    monkeypatch.delitem(sys.modules, "diml.learning.run.settings")
    with pytest.raises(DimlError, match=r"pip install 'diml\[train\]'"):
        importlib.import_module("diml.learning.run.settings")
