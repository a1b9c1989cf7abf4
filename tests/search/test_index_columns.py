"""The further columns of an index: from tables of every kind, under names that it can store."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diml.data.collection import open_folder
from diml.errors import UsageError
from diml.model import StructuralModel
from diml.search import Index, index_folder
from diml.search.as_collection import as_collection


@pytest.fixture
def csv(photos: Path) -> Path:
    rows = [f"{p},{p[0]},{'Ann' if i % 2 else ''},{i},test\n" for i, p in enumerate(open_folder(photos).paths)]
    (photos / "all.csv").write_text("path,label,Designer,wing length,split\n" + "".join(rows))
    return photos / "all.csv"


def test_columns_and_where(tmp_path: Path, model: StructuralModel, csv: Path) -> None:
    index = Index.create(tmp_path / "csv.diml", model)
    index.add(csv)
    assert index.stats().columns == ("Designer", "wing length", "split")
    hits = index.search(csv.parent / "a" / "0000.png", k=20, where="designer = 'Ann' AND label <> 'c'").hits
    assert {hit.columns["Designer"] for hit in hits} == {"Ann"}
    assert all(hit.label != "c" and hit.columns["split"] == "test" for hit in hits)
    assert len(index.search(csv.parent / "a" / "0000.png", where="`wing length` = '3'")) == 1


def test_names_that_the_index_has_itself_are_stored_under_others(
    tmp_path: Path, model: StructuralModel, photos: Path
) -> None:
    paths = open_folder(photos).paths
    rows = [f"{i},{p},{p[0]},{i},{10 * i},{i}.5,\n" for i, p in enumerate(paths)]
    (photos / "pandas.csv").write_text(",path,label,id,width,size.cm,\n" + "".join(rows))
    index = Index.create(tmp_path / "own.diml", model)
    assert index.add(photos / "pandas.csv").added == 12
    assert index.stats().columns == ("id_", "width_", "size_cm")
    hit = index.search(photos / "a" / "0000.png", k=20, where="width_ = '30'")[0]
    assert (hit.path, hit.columns) == (paths[3], {"id_": "3", "width_": "30", "size_cm": "3.5"})
    assert index.add(photos / "pandas.csv").unchanged == 12
    said = "columns are stored under other names: id as id_, width as width_, size.cm as size_cm"
    assert as_collection(photos / "pandas.csv").notes == [said]


def test_names_that_would_become_one(photos: Path) -> None:
    (photos / "both.csv").write_text("path,a.b,a_b\na/0000.png,1,2\n")
    with pytest.raises(UsageError, match=r"the columns 'a\.b' and 'a_b' would both be stored as 'a_b'; rename one"):
        as_collection(photos / "both.csv")


@pytest.mark.parametrize("ending", ["tsv", "jsonl", "parquet"])
def test_other_tables(tmp_path: Path, model: StructuralModel, photos: Path, ending: str) -> None:
    file = photos / f"list.{ending}"
    if ending == "tsv":
        file.write_text("path\tlabel\na/0000.png\tx\nb/0001.png\ty\n")
    elif ending == "jsonl":
        file.write_text('{"path": "a/0000.png", "label": "x"}\n{"path": "b/0001.png", "label": "y"}\n')
    else:
        pq.write_table(pa.table({"path": ["a/0000.png", "b/0001.png"], "label": ["x", "y"]}), file)
    index, report = index_folder(file, tmp_path / "t.diml", model=model)
    assert report.added == 2
    assert {hit.path: hit.label for hit in index.search(photos / "a" / "0000.png")} == {
        "a/0000.png": "x",
        "b/0001.png": "y",
    }


def test_columns_are_fixed(index: Index, csv: Path) -> None:
    with pytest.raises(UsageError, match=r"'Designer'.*fixed columns"):
        index.add(csv)


def test_declared_columns(tmp_path: Path, model: StructuralModel, csv: Path, photos: Path) -> None:
    index = Index.create(tmp_path / "d.diml", model, columns=["Designer", "wing length", "split"])
    index.add(photos)
    report = index.add(csv)
    assert (report.relabelled, report.added) == (12, 0)


@pytest.mark.parametrize("name", ["map", "Path", "_rowid", "a.b", "a`b", ""])
def test_names_that_cannot_be_kept(tmp_path: Path, model: StructuralModel, name: str) -> None:
    with pytest.raises(UsageError, match="column"):
        Index.create(tmp_path / "x.diml", model, columns=[name])
