"""Recipes: every file loads, has the paper's settings, builds its objective, and is named by its command."""

import itertools
import re
from pathlib import Path

import pytest
import torch

from diml.feature_maps import FeatureMaps
from diml.learning.run.settings_file import load_settings

FOLDER = Path(__file__).parents[2] / "recipes"
DATA = {"cub200": 150, "cars196": 150, "sop": 100}
ROWS = list(itertools.product(DATA, ("margin", "multisimilarity"), ("pooled", "structural")))


def recipe(data, loss, similarity):
    return FOLDER / f"{data}-{loss}-{similarity}.toml"


def test_there_is_one_for_each_row_and_the_readme_names_it():
    assert {recipe(*row).name for row in ROWS} == {file.name for file in FOLDER.glob("*.toml")}
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert f"]({recipe(*row).name})" in readme
    for target in re.findall(r"\]\(([^)#]+)", readme):
        assert (FOLDER / target).exists(), target


@pytest.mark.parametrize(("data", "loss", "similarity"), ROWS)
def test_it_says_what_the_paper_says(data, loss, similarity):
    settings = load_settings(recipe(data, loss, similarity), ["data.spec=somewhere"])
    assert (settings.loss.name, settings.loss.similarity) == (loss, similarity)
    assert (settings.loss.marginals, settings.loss.weight, settings.loss.eps) == ("cross_correlation", 0.5, 0.05)
    assert (settings.data.batch, settings.data.per_class, settings.data.size) == (112, 2, 224)
    assert (settings.data.fit, settings.data.validation > 0) == ("crop", True)
    assert settings.model.name.startswith("timm:resnet50?")
    assert (settings.model.dim, settings.model.grid, settings.model.resampling) == (128, (4, 4), "bilinear16")
    assert (settings.model.freeze_batch_norm, settings.model.head) == (True, "random")
    assert (settings.optim.optimizer, settings.optim.lr, settings.optim.weight_decay) == ("adam", 1e-5, 4e-4)
    assert settings.optim.epochs == DATA[data]
    assert settings.run.shortlist == (100 if similarity == "structural" else 0)


@pytest.mark.parametrize(("data", "loss", "similarity"), ROWS)
def test_its_first_lines_are_its_command(data, loss, similarity):
    file = recipe(data, loss, similarity)
    command = file.read_text(encoding="utf-8").splitlines()[1]
    assert re.fullmatch(rf"# diml train {data}:\w+ --recipe recipes/{re.escape(file.name)}", command)


@pytest.mark.parametrize(("data", "loss", "similarity"), ROWS)
def test_its_objective_can_be_built_and_learned_by(data, loss, similarity):
    from diml.learning.losses.registry import build_objective

    settings = load_settings(recipe(data, loss, similarity), ["data.spec=somewhere"])
    chosen = settings.loss
    objective = build_objective(
        chosen.name,
        similarity=chosen.similarity,
        classes=4,
        dim=settings.model.dim,
        grid=settings.model.grid,
        marginals=chosen.marginals,
        weight=chosen.weight,
        eps=chosen.eps,
        options=chosen.options,
    )
    assert loss in objective.describe()
    assert similarity in objective.describe()
    local = torch.randn(8, 16, 128, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.manual_seed(0)
    objective(FeatureMaps(local, (4, 4)), torch.arange(4).repeat_interleave(2)).backward()
    assert local.grad.abs().sum() > 0


@pytest.mark.slow
def test_its_model_prepares_images_as_the_field_does():
    from diml.learning.run.initial_model import bare_model

    untrained = ["data.spec=somewhere", "model.name=timm:resnet50?weights=random"]
    encoder = bare_model(load_settings(recipe(*ROWS[0]), untrained), "test").encoder
    assert (encoder.preprocessing.size, encoder.preprocessing.fit) == ((224, 224), "crop")
    assert encoder.preprocessing.crop == 224 / 256
    assert (encoder.resampling, encoder.grid) == ("bilinear16", (4, 4))
