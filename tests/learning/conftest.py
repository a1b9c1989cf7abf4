"""A collection and settings so small that a training run takes a second."""

import pytest
from PIL import Image

TINY = (
    "model.name=timm:test_resnet?weights=random",
    "model.dim=8",
    "model.grid=2x2",
    "data.size=64",
    "data.batch=8",
    "data.workers=0",
    "data.validation=0.34",
    "optim.lr=0.001",
    "optim.epochs=2",
    "optim.batches_per_epoch=3",
    "run.accelerator=cpu",
)


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """Twelve classes of four images: the first six train (two of them validate), the others test."""
    folder = tmp_path_factory.mktemp("colours")
    for number in range(12):
        (folder / f"class{number:02}").mkdir()
        back, front = ((number * 53) % 256, 90, (number * 91) % 256), ((number * 37) % 256, (number * 19) % 256, 160)
        for i in range(4):
            image = Image.new("RGB", (40, 30 + i), back)
            image.paste(front, (5 + i, 5, 25 + 2 * i, 22))
            image.save(folder / f"class{number:02}" / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_settings(colours):
    """Overrides for a run that takes a second."""
    return [f"data.spec={colours}", *TINY]


@pytest.fixture(scope="session")
def tiny(tiny_settings):
    """The settings of such a run, with changes."""
    from diml.learning.run.settings_file import load_settings

    return lambda *overrides: load_settings(None, [*tiny_settings, *overrides])


@pytest.fixture
def without_curves(monkeypatch):
    """Training runs that do not draw their curves, which takes most of the time of a tiny run.

    Runs of fixtures with a wider scope, such as the one whose curves are looked at, still draw them.
    """
    monkeypatch.setattr("diml.learning.run.recorder.draw_curves", lambda *arguments: None)
