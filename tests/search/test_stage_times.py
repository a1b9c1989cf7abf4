"""diml bench: tables of the right things, whatever the times are."""

import json
import sys

import pytest
import torch
from torch import nn

from diml.cli import main
from diml.errors import UsageError
from diml.matching import speed
from diml.matching.speed import measure_backends
from diml.model import StructuralModel
from diml.search.stage_times import STAGES, measure_stages


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    monkeypatch.setattr(speed, "QUERIES", 3)


def test_backends_agree_with_float64():
    speeds = list(measure_backends((2, 3), 16, 5, torch.device("cpu")))
    cases = [
        *(
            (f"{scheme}{weighted}", "full")
            for scheme in ("uniform", "cross_correlation")
            for weighted in ("", ", weighted")
        ),
        ("uniform, weighted", "one-sided"),
        ("uniform, weighted", "dustbin"),
    ]
    assert [(s.backend, s.marginals, s.transport) for s in speeds] == [
        (backend, *case) for case in cases for backend in ("torch", "cpu", "cuda")
    ]
    for found in speeds:
        if found.backend == "cuda":
            assert "--device cuda" in found.missing
        else:
            assert found.pairs_per_second > 0
            assert found.error < 5e-4
    assert speeds[0].ratio == 1


def test_numbers_out_of_range():
    with pytest.raises(UsageError, match="dim 0"):
        list(measure_backends((2, 2), 0, 5, torch.device("cpu")))


def test_stages():
    stages = measure_stages(StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32)), 4, 0)
    assert tuple(stages) == STAGES
    assert all(seconds >= 0 for seconds in stages.values())


def test_command(monkeypatch, capsys):
    words = ["bench", "--grid", "2", "--dim", "8", "--candidates", "4", "--threads", "1", "--no-query", "--json"]
    monkeypatch.setattr(sys, "argv", ["diml", *words])
    threads = torch.get_num_threads()
    try:
        with pytest.raises(SystemExit) as left:
            main()
    finally:
        torch.set_num_threads(threads)
    assert not left.value.code
    assert {backend["backend"] for backend in json.loads(capsys.readouterr().out)["backends"]} == {
        "torch",
        "cpu",
        "cuda",
    }


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--dim", "0", "expected --dim >= 1, got 0"),
        ("--threads", "5000", "expected --threads <= "),
        (
            "--candidates",
            "99999999999",
            "expected at most 268435456 numbers in all candidates, got --candidates 99999999999 of a grid of 4x4",
        ),
        ("--grid", "14", "expected a grid of at most 7x7, the map of the backbone, got 14x14"),
    ],
)
def test_numbers_that_the_command_refuses(option, value, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["diml", "bench", option, value])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"diml: {said}")
    assert printed.count("\n") == 1
