"""docs/service.md: the defaults that it states are those of the settings, and its metrics are those of the service."""

import re
from pathlib import Path

from diml.service.metrics import Metrics
from diml.service.settings import ServiceSettings

PAGE = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")


def default(option):
    return ServiceSettings.model_fields[option.replace("-", "_")].default


def test_the_defaults_in_the_table_of_limits():
    rows = re.findall(r"^\| `--([\w-]+)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert len(rows) == 10
    assert {option: int(stated) for option, stated in rows} == {option: default(option) for option, _ in rows}


def test_the_defaults_below_it():
    stated = re.findall(r"`--([\w-]+)` \((\d+)\)", PAGE)
    assert {option for option, _ in stated} == {"batch", "batch-wait", "decoders"}
    assert all(int(value) == default(option) for option, value in stated)


def test_every_metric_is_described():
    metrics = Metrics()
    metrics.request("/", "GET", 200, 0.1)
    metrics.job("add", "done")
    families = {family.name for family in metrics.registry.collect() if family.name.startswith("diml_")}
    described = set(re.findall(r"`(diml_\w+?)(?:_total)?(?:\{[^}]*\})?`", PAGE))
    assert described == families
