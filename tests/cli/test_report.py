"""diml report: the table on standard output, the file beside it, and one line for a folder that is not a run."""

import csv
import json

import pytest

METRICS = ("recall@1", "recall@2", "recall@4", "recall@8", "r_precision", "map@r")


@pytest.fixture
def runs(tmp_path):
    """Two seeds of a run, with the files that a report reads."""
    folders = []
    for seed, value in enumerate((0.25, 0.5)):
        folder = tmp_path / "runs" / f"seed{seed}"
        folder.mkdir(parents=True)
        results = [{"shortlist": shortlist, **dict.fromkeys(METRICS, value)} for shortlist in (0, 100)]
        document = {
            "test": {"dataset": "birds", "images": 40, "classes": 5, "results": results},
            "settings": {"loss": {"name": "margin", "similarity": "pooled"}, "run": {"seed": seed}},
        }
        (folder / "result.json").write_text(json.dumps(document))
        folders.append(folder)
    return folders


TABLE = """\
birds: 40 images of 5 test classes; percent, mean ± standard deviation over seeds

| loss   | trained with | ranking          | seeds |      recall@1 |   r_precision |         map@r |
| :----- | :----------- | :--------------- | ----: | ------------: | ------------: | ------------: |
| margin | pooled       | pooled           |     2 | 37.50 ± 17.68 | 37.50 ± 17.68 | 37.50 ± 17.68 |
| margin | pooled       | structural (100) |     2 | 37.50 ± 17.68 | 37.50 ± 17.68 | 37.50 ± 17.68 |
"""


def test_the_table_is_printed_and_nothing_else(diml, runs):
    done = diml("report", *runs)
    assert (done.code, done.err) == (0, "")
    assert done.out == TABLE


def test_a_csv_is_written_beside_it(diml, runs, tmp_path):
    file = tmp_path / "table.csv"
    done = diml("report", *runs, "--csv", file)
    assert done.out == f"{TABLE}\nThe table is in {file}\n"
    with open(file, encoding="utf-8") as lines:
        read = list(csv.DictReader(lines))
    assert [(row["ranking"], row["map@r_mean"]) for row in read] == [("pooled", "37.5"), ("structural (100)", "37.5")]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_json_is_one_document(diml, runs):
    rows = json.loads(diml("report", *runs, "--json").out)["rows"]
    assert [row["ranking"] for row in rows] == ["pooled", "structural (100)"]
    assert rows[0]["percent"]["recall@1"]["mean"] == 37.5
    assert rows[0]["percent"]["recall@1"]["deviation"] == pytest.approx(25 / 2**0.5)
    assert (rows[0]["dataset"], rows[0]["images"], rows[0]["seeds"]) == ("birds", 40, [0, 1])


def test_what_is_no_run_is_refused(refused, runs, tmp_path):
    refused(2, "is not a run", "report", *runs, tmp_path)
    refused(2, "the same settings and the seed 0", "report", runs[0], runs[0])
    refused(2, "a folder that exists", "report", *runs, "--csv", tmp_path / "nowhere" / "table.csv")
    assert not (tmp_path / "nowhere").exists()
