"""The commands on real images: what they print, write and promise in JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from diml.model import StructuralModel

SAMPLE = Path(__file__).parents[2] / "sample"
CAT = SAMPLE / "photos" / "chelsea.jpg"
VIEW = SAMPLE / "photos" / "chelsea-mirrored-cropped-brighter.jpg"


def test_help_needs_no_slow_library():
    code = (
        "import sys; sys.argv = ['diml', '--help']\n"
        "from diml.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'timm', 'lancedb', 'matplotlib', 'pyarrow', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", ["explain", "index", "search", "info", "evaluate"])
def test_every_command_shows_an_example(diml, command):
    done = diml(command, "--help")
    assert done.code == 0
    assert f"Example: diml {command}" in " ".join(done.out.split())


def test_version(diml):
    assert diml("--version").out == "diml 0.1.0\n"


@pytest.mark.slow
def test_explain_json_adds_up_and_agrees_with_python(diml):
    done = diml("explain", CAT, VIEW, "--json")
    document = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    keys = "a b model grid weight marginals similarity structural pooled residual regions matches"
    assert list(document)[:12] == keys.split()
    assert list(document["matches"][0]) == ["a", "b", "a_box", "b_box", "mass", "similarity", "contribution"]
    values = [pair["contribution"] for pair in document["matches"]]
    assert len(values) == 256
    assert values == sorted(values, reverse=True)
    assert sum(values) + document["residual"] == pytest.approx(document["similarity"], abs=1e-12)
    assert abs(document["residual"]) < 1e-10
    model = StructuralModel.from_pretrained("lite0")
    maps = model.encode([CAT, VIEW])
    assert document["similarity"] == pytest.approx(model.explain(maps[0], maps[1]).similarity.item(), abs=1e-6)


@pytest.mark.slow
def test_explain_says_and_draws(diml, tmp_path):
    done = diml("explain", CAT, VIEW, "--out", tmp_path / "why.png", "--parts", 3, "--grid", "2x3")
    assert done.code == 0
    assert "Similarity 0." in done.out
    assert len([line for line in done.out.splitlines() if "↔" in line]) == 3
    assert Image.open(tmp_path / "why.png").width > 800
    assert [p.name for p in tmp_path.iterdir()] == ["why.png"]


@pytest.mark.slow
def test_explain_settings_reach_the_numbers(diml):
    def numbers(*more):
        return json.loads(diml("explain", CAT, VIEW, "--json", *more).out)

    pooled = numbers("--weight", 0)
    assert pooled["similarity"] == pytest.approx(pooled["pooled"])
    weighed = numbers("--marginals", "cross_correlation")
    assert weighed["marginals"] == "cross_correlation"
    assert weighed["structural"] != pytest.approx(pooled["structural"], abs=1e-3)
    assert numbers("--grid", 7)["grid"] == [7, 7]


@pytest.mark.slow
def test_search_and_explain_name_the_same_number(diml, shapes, shapes_index):
    query = shapes / "disc" / "2.png"
    document = json.loads(diml("search", shapes_index, query, "-k", 3, "--json").out)
    assert list(document) == ["index", "query", "query_size", "where", "k", "shortlist", "hits"]
    assert (document["k"], len(document["hits"])) == (3, 3)
    for rank, hit in enumerate(document["hits"], start=1):
        names = ["rank", "id", "path", "label", "similarity", "structural", "pooled"]
        assert list(hit) == [*names, "pooled_rank", "margin", "concentration", "size", "columns"]
        assert hit["rank"] == rank
        other = shapes / hit["path"]
        explained = json.loads(diml("explain", query, other, "--model", shapes_index, "--json").out)
        for name in ("similarity", "structural", "pooled"):
            assert hit[name] == pytest.approx(explained[name], abs=2e-3)  # the float16 of the stored maps
    assert [hit["label"] for hit in document["hits"]] == ["disc"] * 3


@pytest.mark.slow
def test_search_writes_pictures_and_pages(diml, shapes, shapes_index, tmp_path):
    query = shapes / "bar" / "0.png"
    for name in ("hits.png", "hits.html", "hits.svg"):
        done = diml("search", shapes_index, query, "--out", tmp_path / name)
        assert done.code == 0, done
        assert "bar/0.png" in done.out
        assert (tmp_path / name).stat().st_size > 5000
    page = (tmp_path / "hits.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_search_where(diml, shapes, shapes_index):
    done = diml("search", shapes_index, shapes / "bar" / "0.png", "--where", "label = 'disc'", "--json")
    assert {hit["label"] for hit in json.loads(done.out)["hits"]} == {"disc"}
    assert "nothing was found" in diml("search", shapes_index, shapes / "bar" / "0.png", "--where", "width > 9999").out


def test_info(diml, shapes_index):
    document = json.loads(diml("info", shapes_index, "--json").out)
    assert (document["images"], document["model"], document["grid"]) == (8, "lite0", [4, 4])
    assert document["dim"] == 1280
    assert "8" in diml("info", shapes_index).out


@pytest.mark.slow
def test_index_again_and_pruned(diml, shapes, tmp_path):
    import shutil

    folder, into = tmp_path / "shapes", tmp_path / "again.diml"
    shutil.copytree(shapes, folder)
    assert "8 added" in diml("index", folder, "--into", into).out
    assert "0 added, 8 unchanged" in diml("index", folder, "--into", into).out
    (folder / "disc" / "0.png").unlink()
    Image.new("RGB", (30, 30), "green").save(folder / "bar" / "0.png")
    done = diml("index", folder, "--into", into, "--prune", "--labels-from", "folder")
    assert "1 changed" in done.out
    assert "1 removed" in done.out
    assert "7 images in all" in done.out


@pytest.mark.slow
def test_index_names_what_it_skips(diml, shapes, tmp_path):
    import shutil

    folder = tmp_path / "shapes"
    shutil.copytree(shapes, folder)
    (folder / "notes.jpg").write_text("no image")
    (folder / "empty.png").touch()
    for _ in range(2):  # on every run
        done = diml("index", folder, "--into", tmp_path / "some.diml")
        assert done.code == 0
        assert "2 skipped" in done.out
        assert "notes.jpg" in done.err
        assert "empty.png" in done.err
    strict = diml("index", folder, "--into", tmp_path / "strict.diml", "--strict")
    assert strict.code == 1


@pytest.mark.slow
def test_evaluate_a_folder_and_a_csv_with_halves(diml, shapes, tmp_path):
    done = diml("evaluate", shapes, "--json", "--shortlist", 0, "--shortlist", 5)
    document = json.loads(done.out)
    assert list(document)[:5] == ["dataset", "images", "classes", "model", "results"]
    row = ["shortlist", "recall@1", "recall@2", "recall@4", "recall@8", "r_precision", "map@r"]
    assert list(document["results"][0]) == row
    assert [result["shortlist"] for result in document["results"]] == [0, 5]
    assert document["results"][1]["recall@1"] == 1
    lines = ["path,label,split"]
    for i in range(4):
        lines += [f"{shapes.name}/disc/{i}.png,disc,train", f"{shapes.name}/bar/{i}.png,bar,test"]
    table = shapes.parent / "halves.csv"
    table.write_text("\n".join(lines))
    document = json.loads(diml("evaluate", table, "--json", "--dim", 2).out)
    assert (document["images"], document["classes"]) == (4, 1)
    assert "train" in document["head"]
    assert "recall@1" in diml("evaluate", shapes, "--protocol", "published").out


@pytest.mark.slow
def test_evaluate_takes_an_index_as_model(diml, shapes, shapes_index):
    document = json.loads(diml("evaluate", shapes, "--model", shapes_index, "--json").out)
    assert (document["model"], document["head"]) == ("lite0", f"none, as the index {shapes_index} has none")
    asked = diml("evaluate", shapes, "--model", shapes_index, "--dim", 0)
    assert "head: none, as requested" in asked.out
