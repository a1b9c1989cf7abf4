"""Reports: the mean and the deviation over seeds, rows for each ranking, and runs that must not share a table."""

import csv
import io
import json

import numpy as np
import pytest

from diml.errors import UsageError
from diml.evaluation import METRICS
from diml.learning.run.report import report
from diml.learning.run.settings_file import load_settings


def values(seed, shortlist):
    chance = np.random.default_rng([seed, shortlist])
    return dict(zip(METRICS, chance.uniform(0.2, 0.9, len(METRICS)).tolist(), strict=True))


def a_run(root, name, *changes, seed=0, dataset="birds", images=40, shortlists=(0, 100)):
    """A run folder with the files that a report reads."""
    settings = load_settings(None, [f"data.spec={dataset}", f"run.seed={seed}", *changes])
    test = {
        "dataset": dataset,
        "images": images,
        "classes": 5,
        "results": [{"shortlist": shortlist, **values(seed, shortlist)} for shortlist in shortlists],
    }
    document = {"test": test, "validation": None, "best_epoch": 1, "seconds": 1.0}
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "settings.toml").write_text(settings.to_toml())
    (folder / "result.json").write_text(json.dumps({**document, "settings": settings.model_dump(mode="json")}))
    return folder


def test_mean_and_deviation_are_those_of_the_seeds(tmp_path):
    runs = [a_run(tmp_path, f"r{seed}", seed=seed) for seed in (2, 0, 1)]
    rows = report(runs).rows
    assert [row.ranking for row in rows] == ["pooled", "structural (100)"]
    for row, shortlist in zip(rows, (0, 100), strict=True):
        assert row.seeds == (0, 1, 2)
        for name in METRICS:
            numbers = 100 * np.array([values(seed, shortlist)[name] for seed in range(3)])
            assert row.mean[name] == pytest.approx(numbers.mean(), rel=1e-12)
            assert row.deviation[name] == pytest.approx(numbers.std(ddof=1), rel=1e-12)


def test_one_seed_has_no_deviation(tmp_path):
    (first, _) = report([a_run(tmp_path, "one")]).rows
    assert first.deviation["map@r"] is None
    assert first.cell("map@r") == f"{100 * values(0, 0)['map@r']:.2f} ± -"


def test_pooled_and_structural_runs_stand_in_rows_of_their_own(tmp_path):
    runs = [
        a_run(tmp_path, f"{similarity}{seed}", f"loss.similarity={similarity}", seed=seed)
        for similarity in ("structural", "pooled")
        for seed in (0, 1)
    ]
    table = report(runs).markdown().splitlines()
    assert table[0].startswith("birds: 40 images of 5 test classes; percent")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert cells[0] == ["loss", "trained with", "ranking", "seeds", "recall@1", "r_precision", "map@r"]
    assert [line[:4] for line in cells[2:]] == [
        ["margin", "pooled", "pooled", "2"],
        ["margin", "pooled", "structural (100)", "2"],
        ["margin", "structural", "pooled", "2"],
        ["margin", "structural", "structural (100)", "2"],
    ]
    assert len({len(line) for line in table[2:]}) == 1


def test_runs_of_other_settings_are_kept_apart_and_told_apart(tmp_path):
    runs = [a_run(tmp_path, "slow"), a_run(tmp_path, "fast", "optim.lr=1e-3", "loss.options.margin=0.3")]
    shown = report(runs)
    assert {row.settings for row in shown.rows} == {
        "loss.options={} optim.lr=1e-05",
        'loss.options={"margin":0.3} optim.lr=0.001',
    }
    assert "| settings" in shown.markdown()


def test_how_the_work_was_spread_makes_no_difference(tmp_path):
    runs = [a_run(tmp_path, "a"), a_run(tmp_path, "b", "data.workers=9", "run.devices=2", seed=1)]
    assert [row.seeds for row in report(runs).rows] == [(0, 1), (0, 1)]


def test_other_data_stands_in_a_table_of_its_own(tmp_path):
    runs = [a_run(tmp_path, "a"), a_run(tmp_path, "b", dataset="cars", seed=1), a_run(tmp_path, "c", images=41, seed=2)]
    shown = report(runs)
    assert [row.seeds for row in shown.rows] == [(0,), (0,), (2,), (2,), (1,), (1,)]
    headings = [line for line in shown.markdown().splitlines() if "test classes" in line]
    assert [heading.partition(" of")[0] for heading in headings] == [
        "birds: 40 images",
        "birds: 41 images",
        "cars: 40 images",
    ]


def test_the_csv_has_every_metric_in_full(tmp_path):
    runs = [a_run(tmp_path, f"r{seed}", seed=seed) for seed in (0, 1)]
    shown = report(runs)
    read = list(csv.DictReader(io.StringIO(shown.csv())))
    assert [row["ranking"] for row in read] == ["pooled", "structural (100)"]
    assert read[0]["seeds"] == "0 1"
    for row, line in zip(shown.rows, read, strict=True):
        for name in METRICS:
            assert float(line[f"{name}_mean"]) == row.mean[name]
            assert float(line[f"{name}_deviation"]) == row.deviation[name]


def test_a_ranking_that_a_run_lacks_is_no_row(tmp_path):
    runs = [a_run(tmp_path, "a"), a_run(tmp_path, "b", seed=1, shortlists=(0,))]
    assert [row.ranking for row in report(runs).rows] == ["pooled"]


def unfinished(folder):
    (folder / "result.json").unlink()


def no_run(folder):
    unfinished(folder)
    (folder / "settings.toml").unlink()


def damaged(folder):
    (folder / "result.json").write_text('{"test": {}')


def strange(folder):
    (folder / "result.json").write_text('{"test": {"dataset": "x"}, "settings": {"run": {"seed": 0}}}')


def untested(folder):
    document = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**document, "test": None}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (unfinished, "is not finished; continue it with diml train --resume"),
        (no_run, "is not a run"),
        (damaged, "is not the result of a run"),
        (strange, "is not the result of a run"),
        (untested, "has no test half"),
    ],
)
def test_what_is_no_finished_run_is_refused_by_name(tmp_path, spoil, said):
    good, bad = a_run(tmp_path, "good"), a_run(tmp_path, "bad", seed=1)
    spoil(bad)
    with pytest.raises(UsageError) as refused:
        report([good, bad])
    assert said in str(refused.value)
    assert str(bad) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_same_seed_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="have the same settings and the seed 0"):
        report([a_run(tmp_path, "a"), a_run(tmp_path, "b")])


def test_no_runs_are_refused():
    with pytest.raises(UsageError, match="expected at least one folder written by diml train"):
        report([])
