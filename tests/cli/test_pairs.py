"""diml pairs: lines, documents, the page, and what it refuses."""

import json

import pytest
from PIL import Image

from diml.cli import pairs as command
from diml.search import Index, PairsEstimate
from diml.search.pairs import Pairs


@pytest.fixture(scope="module")
def expected(shapes_index):
    return list(Index.open(shapes_index).pairs(0.8))


def test_lines(diml, shapes_index, expected):
    done = diml("pairs", shapes_index, "--above", 0.8)
    assert (done.code, done.err) == (0, "")
    head, *lines, summary = done.out.splitlines()
    assert head.split() == ["similarity", "structural", "pooled", "a", "b", "direction"]
    assert len(lines) == len(expected) > 2
    for line, pair in zip(lines, expected, strict=True):
        similarity, structural, pooled, a, b, *direction = line.split()
        assert (a, b, " ".join(direction)) == (pair.a, pair.b, pair.direction)
        shown = [f"{pair.similarity:.4f}", f"{pair.structural:.4f}", f"{pair.pooled:.3f}"]
        assert [similarity, structural, pooled] == shown
    assert summary.startswith(f"{len(expected)} pairs in ")


def test_documents(diml, shapes_index, expected):
    streamed = [json.loads(line) for line in diml("pairs", shapes_index, "--above", 0.8, "--jsonl").out.splitlines()]
    assert streamed == [pair.to_dict() for pair in expected]
    whole = json.loads(diml("pairs", shapes_index, "--above", 0.8, "--json").out)
    assert whole["pairs"] == streamed
    assert (whole["index"], whole["where"], whole["above"], whole["images"]) == (str(shapes_index), None, 0.8, 8)
    assert {path for group in whole["groups"] for path in group} == {p for x in expected for p in (x.a, x.b)}


def test_a_limit_and_a_condition(diml, shapes_index, expected):
    done = diml("pairs", shapes_index, "--above", 0.8, "--limit", 2)
    assert len(done.out.splitlines()) == 4
    assert done.out.splitlines()[-1].endswith("images, stopped at the limit")
    discs = diml("pairs", shapes_index, "--above", 0.8, "--where", "label = 'disc'", "--jsonl").out.splitlines()
    assert [json.loads(line)["a"] for line in discs] == [p.a for p in expected if p.a[:4] == p.b[:4] == "disc"]


def test_a_transport_without_direction(diml, shapes_index):
    lines = diml("pairs", shapes_index, "--above", 0.7, "--transport", "full").out.splitlines()
    assert {len(line.split()) for line in lines[:-1]} == {5}


def test_nothing_found(diml, shapes_index):
    assert diml("pairs", shapes_index, "--above", 1).out.splitlines()[1:] == ["0 pairs in 0 groups of 0 images"]
    assert diml("pairs", shapes_index, "--above", 1, "--jsonl").out == ""


def test_settings_of_the_matching(diml, shapes_index):
    done = diml("pairs", shapes_index, "--above", 0.7, "--transport", "one-sided", "--weight", 1)
    assert {line[-6:] for line in done.out.splitlines()[1:-1]} <= {"a in b", "b in a"}
    found = diml("pairs", shapes_index, "--above", 0.7, "--transport", "one-sided", "--weight", 1, "--jsonl").out
    for line in found.splitlines():
        pair = json.loads(line)
        assert pair["similarity"] == pair["structural"]
        assert pair["direction"] in ("a in b", "b in a")


def test_the_page(diml, shapes_index, tmp_path, expected):
    page = tmp_path / "groups.html"
    done = diml("pairs", shapes_index, "--above", 0.8, "--out", page)
    assert done.out.splitlines()[-1] == f"The groups are in {page}"
    html = page.read_text(encoding="utf-8")
    for path in {path for pair in expected for path in (pair.a, pair.b)}:
        assert f'alt="{path}"' in html


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (PairsEstimate(8, 10, 10, 30.0), ""),
        (PairsEstimate(8, 10, 10, 7200.0), "about 10 pairs of 8 images are expected at 0.8 or above, in about 2 hours"),
        (PairsEstimate(8, 10, 123_456, 30.0), "about 120,000 pairs of 8 images are expected"),
    ],
)
def test_a_long_run_is_announced(diml, shapes_index, monkeypatch, estimate, said):
    assert diml("pairs", shapes_index, "--above", 0.8).err == ""
    monkeypatch.setattr(Pairs, "estimate", lambda search: estimate)
    monkeypatch.setattr(command, "MANY_PAIRS", 27)
    if estimate.found > 27:
        monkeypatch.setattr(command, "LONG_SECONDS", 60)
    done = diml("pairs", shapes_index, "--above", 0.8, "--jsonl")
    assert done.code == 0
    assert done.err.startswith(said)
    assert done.err.count("\n") == bool(said)


def test_refusals(refused, shapes_index, tmp_path):
    refused(
        2,
        "expected a similarity above -1 and up to 1 that pairs must reach, got 1.5",
        "pairs",
        shapes_index,
        "--above",
        1.5,
    )
    refused(2, "no such index", "pairs", tmp_path / "none.diml")
    refused(1, "is not an index", "pairs", tmp_path)
    refused(2, "--json and --jsonl cannot be combined", "pairs", shapes_index, "--json", "--jsonl")
    refused(2, "expected --limit >= 1, got 0", "pairs", shapes_index, "--limit", 0)
    refused(2, "expected one of the endings .html, .htm", "pairs", shapes_index, "-o", tmp_path / "groups.png")
    refused(2, "expected weight from 0", "pairs", shapes_index, "--weight", 2)


def test_copies_of_a_file(diml, tmp_path):
    for name in ("one", "two", "other"):
        image = Image.linear_gradient("L") if name == "other" else Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 20)
        image.convert("RGB").save(tmp_path / f"{name}.png")
    model = "timm:test_vit?weights=random"
    assert diml("index", tmp_path, "--into", tmp_path / "copies.diml", "-m", model).code == 0
    found = json.loads(diml("pairs", tmp_path / "copies.diml", "--above", 0.9, "--weight", 0, "--json").out)
    assert {"a": "one.png", "b": "two.png"}.items() <= found["pairs"][0].items() or len(found["pairs"]) > 1
    assert any({"one.png", "two.png"} <= set(group) for group in found["groups"])
