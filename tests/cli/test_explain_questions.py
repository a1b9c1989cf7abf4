"""The questions that diml explain answers, and those that it refuses."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from diml import data
from diml.model import sources

SAMPLE = Path(__file__).parents[2] / "sample"
CAT = SAMPLE / "photos" / "chelsea.jpg"
VIEW = SAMPLE / "photos" / "chelsea-mirrored-cropped-brighter.jpg"
DRAWN = SAMPLE / "emoji" / "1f408-cat" / "noto.png"


@pytest.fixture(scope="module")
def half_mask(tmp_path_factory):
    """Selects the left half of CAT."""
    path = tmp_path_factory.mktemp("mask") / "left.png"
    mask = Image.new("L", (451, 300))
    mask.paste(255, (0, 0, 225, 300))
    mask.save(path)
    return path


def document(done):
    assert (done.code, done.err) == (0, ""), done
    return json.loads(done.out)


def test_a_page_of_two_images(diml, tmp_path):
    done = diml("explain", CAT, VIEW, "--out", tmp_path / "why.html", "--parts", 3)
    assert done.code == 0
    assert f"The page is in {tmp_path / 'why.html'}" in done.out
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "Why <bdi>chelsea.jpg</bdi>" in page
    assert [path.name for path in tmp_path.iterdir()] == ["why.html"]


@pytest.mark.slow
def test_why_rather_than(diml):
    found = document(diml("explain", CAT, VIEW, "--rather-than", DRAWN, "--json"))
    total = sum(part["difference"] for part in found["parts"]) + found["residual"]
    assert total == pytest.approx(found["similarity_a"] - found["similarity_b"], abs=1e-12)
    assert (found["query"], found["a"], found["b"]) == (str(CAT), str(VIEW), str(DRAWN))
    for name, image in (("a", VIEW), ("b", DRAWN)):
        alone = document(diml("explain", CAT, image, "--json"))
        assert found[f"similarity_{name}"] == pytest.approx(alone["similarity"], abs=1e-9)
        for part in found["parts"]:
            rows = [pair["contribution"] for pair in alone["matches"] if pair["a"] == part["cell"]]
            assert part[name] == pytest.approx(sum(rows), abs=1e-9)


@pytest.mark.slow
def test_why_rather_than_says_and_draws(diml, tmp_path):
    done = diml("explain", CAT, VIEW, "--rather-than", DRAWN, "--parts", 2, "--out", tmp_path / "x.png")
    assert done.code == 0
    assert "A leads by" in done.out
    assert len([line for line in done.out.splitlines() if "with A" in line and "with B" in line]) == 3
    assert Image.open(tmp_path / "x.png").width > 1500


@pytest.mark.slow
def test_where_a_folder_agrees(diml, shapes, tmp_path):
    folder, image = shapes / "disc", shapes / "disc" / "1.png"
    done = diml("explain", image, "--against", folder, "--json", "--out", tmp_path / "x.svg")
    found = document(done)
    # The image itself lies in the folder and is left out.
    assert (found["image"], found["against"], found["images"]) == (str(image), str(folder), 3)
    assert {Path(each["path"]).name for each in found["each"]} == {"0.png", "2.png", "3.png"}
    means = {tuple(part["cell"]): 0.0 for part in found["parts"]}
    for name in ("0.png", "2.png", "3.png"):
        for pair in document(diml("explain", image, folder / name, "--json"))["matches"]:
            means[tuple(pair["a"])] += pair["contribution"] / 3
    for part in found["parts"]:
        assert part["contribution"] == pytest.approx(means[tuple(part["cell"])], abs=1e-6)
    assert (tmp_path / "x.svg").stat().st_size > 1000
    assert "3 other images, with similarities from" in diml("explain", image, "--against", folder).out


def test_unreadable_images_of_a_folder_are_told(diml, shapes, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    Image.open(shapes / "bar" / "0.png").save(tmp_path / "good.png")
    done = diml("explain", shapes / "disc" / "0.png", "--against", tmp_path, "--json")
    assert done.code == 0
    assert json.loads(done.out)["images"] == 1
    assert "bad.png" in done.err


@pytest.mark.slow
def test_a_part_is_matched_alone(diml, half_mask, tmp_path):
    region = document(diml("explain", CAT, VIEW, "--json", "--region", "0,0,225.5,300", "--out", tmp_path / "x.html"))
    left = {(row, column) for row in range(4) for column in (0, 1)}
    assert {tuple(pair["a"]) for pair in region["matches"] if pair["mass"] > 0} == left
    assert region["similarity"] == pytest.approx(sum(pair["contribution"] for pair in region["matches"]), abs=1e-12)
    assert (region["weight"], region["marginals"]) == (1.0, "part")
    assert region["part"]["regions"] == [{"box": [0, 0, 225.5, 300], "weight": 1}]
    mask = document(diml("explain", CAT, VIEW, "--json", "--mask", half_mask))
    assert mask["similarity"] == pytest.approx(region["similarity"], abs=1e-3)
    assert mask["part"]["mask"] == str(half_mask)
    said = diml("explain", CAT, VIEW, "--region", "120,80,220,140", "--out", tmp_path / "x.png").out
    assert "Only the chosen part" in said


@pytest.mark.slow
def test_a_part_answers_every_question(diml, shapes):
    part = ("--region", "120,80,220,140", "--json")
    rather = document(diml("explain", CAT, VIEW, "--rather-than", DRAWN, *part))
    assert [part["cell"] for part in rather["parts"] if part["difference"]] == [[1, 1]]
    agreed = document(diml("explain", CAT, "--against", shapes / "disc", *part))
    assert [part["cell"] for part in agreed["parts"] if part["contribution"]] == [[1, 1]]
    assert agreed["similarity"] == pytest.approx(agreed["parts"][0]["contribution"] + agreed["residual"], abs=1e-12)


def test_a_share_of_the_mass(diml):
    some = document(diml("explain", CAT, DRAWN, "--json", "--mass", 0.5))
    whole = document(diml("explain", CAT, DRAWN, "--json", "--mass", 1))
    assert some["mass"] == 0.5
    assert "mass" not in whole
    assert some["structural"] > whole["structural"]
    assert sum(pair["contribution"] for pair in some["matches"]) == pytest.approx(some["similarity"], abs=1e-10)


def test_parts_that_are_none_are_refused(refused, tmp_path):
    inside = ("explain", CAT, VIEW, "--region")
    refused(2, "451x300", *inside, "0,0,500,100")
    refused(2, "empty or reversed", *inside, "100,0,50,100")
    refused(2, "expected --region to be x0,y0,x1,y1 in pixels, or x0,y0,x1,y1:weight, got 1,2,3", *inside, "1,2,3")
    refused(2, "weight -1", *inside, "0,0,10,10:-1")
    for name, size, said in (("other", (10, 10), "451x300"), ("empty", (451, 300), "selects nothing")):
        Image.new("L", size, 0 if name == "empty" else 255).save(tmp_path / f"{name}.png")
        refused(2, said, "explain", CAT, VIEW, "--mask", tmp_path / f"{name}.png")
    refused(2, "no such", "explain", CAT, VIEW, "--mask", tmp_path / "none.png")
    assert not list(tmp_path.glob("*.html"))


def test_parts_are_refused_before_a_model_is_loaded(refused, tmp_path):
    Image.new("L", (9, 9), 255).save(tmp_path / "mask.png")
    unknown = ("explain", CAT, VIEW, "--model", "none")
    refused(2, "extends beyond the image of 451x300", *unknown, "--region", "0,0,500,100")
    refused(2, "the size of the image, got 9x9", *unknown, "--mask", tmp_path / "mask.png")
    refused(2, "--rollout >= 1, got 0", *unknown, "--rollout", 0)


def test_odd_names_stay_on_their_line(diml, tmp_path):
    odd = tmp_path / "a\n\x1b[31mb.png"
    Image.open(DRAWN).save(odd, "PNG")
    done = diml("explain", CAT, odd, "--rather-than", VIEW)
    assert "a\\n\\x1b[31mb.png" in done.out.splitlines()[0]


def test_questions_that_are_none_are_refused(refused, shapes, tmp_path):
    refused(2, "argument B is missing", "explain", CAT)
    refused(2, "argument B is missing", "explain", CAT, "--rather-than", DRAWN)
    refused(2, "--against", "explain", CAT, VIEW, "--against", shapes)
    refused(2, "--rather-than", "explain", CAT, "--against", shapes, "--rather-than", DRAWN)
    refused(2, "no such image", "explain", CAT, VIEW, "--rather-than", tmp_path / "none.png")
    refused(2, "no such folder", "explain", CAT, "--against", tmp_path / "none")
    refused(2, "two images only", "explain", CAT, VIEW, "--rather-than", DRAWN, "--out", tmp_path / "x.html")
    refused(2, "two images only", "explain", CAT, "--against", shapes, "--out", tmp_path / "x.html")
    for option in (("--weight", 0.5), ("--mass", 0.5), ("--marginals", "uniform")):
        refused(2, option[0], "explain", CAT, VIEW, "--region", "0,0,9,9", *option)
    refused(2, "cannot be combined", "explain", CAT, VIEW, "--region", "0,0,9,9", "--mask", DRAWN)
    refused(2, "expected mass above 0 and up to 1, got 0.0", "explain", CAT, VIEW, "--mass", 0)


def test_a_folder_with_nothing_else_is_refused(refused, tmp_path):
    image = tmp_path / "only.png"
    Image.new("RGB", (9, 9)).save(image)
    refused(2, "at least one other image", "explain", image, "--against", tmp_path)
    refused(2, "folder", "explain", CAT, "--against", image)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["png", "html"])
@pytest.mark.parametrize("part", [(), ("--region", "0,0,99,99")])
def test_each_image_is_decoded_once(diml, tmp_path, monkeypatch, ending, part):
    opened = []
    for module in (data, sources):
        real = module.open_image

        def counting(path, *how, real=real, **more):
            opened.append(Path(path))
            return real(path, *how, **more)

        monkeypatch.setattr(module, "open_image", counting)
    assert diml("explain", CAT, VIEW, "--out", tmp_path / f"why.{ending}", *part).code == 0
    assert sorted(opened) == sorted([CAT, VIEW])


@pytest.mark.slow
def test_settings_of_the_matching(diml, refused):
    usual = document(diml("explain", CAT, VIEW, "--json"))
    soft = document(diml("explain", CAT, VIEW, "--json", "--eps", 0.2))
    assert soft["structural"] < usual["structural"]
    weighed = document(diml("explain", CAT, VIEW, "--json", "--weight", 0.25))
    assert weighed["weight"] == 0.25
    assert weighed["similarity"] == pytest.approx(0.75 * usual["pooled"] + 0.25 * usual["structural"], abs=1e-9)
    refused(2, "eps", "explain", CAT, VIEW, "--eps", 0)


def test_names_stay_text(diml, tmp_path):
    names = ['"><script>alert(1)<', "b c.png"]
    for name in names:
        Image.open(DRAWN).save(tmp_path / name, "PNG")
    done = diml("explain", *(tmp_path / name for name in names), "--out", tmp_path / "x.html", "--grid", 2)
    assert done.code == 0
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<script", page)) == 2


@pytest.mark.slow
def test_attention_weighs_the_parts(diml, refused):
    vit = ("--model", "timm:test_vit?weights=random", "--grid", 5, "--rollout", 1)
    found = document(diml("explain", CAT, VIEW, *vit, "--json"))
    assert found["marginals"] == "rollout:1"
    for side in "ab":
        assert sum(map(sum, found["patches"][side])) == pytest.approx(found["similarity"] - found["residual"], abs=1e-6)
    rather = document(diml("explain", CAT, VIEW, "--rather-than", DRAWN, *vit, "--json"))
    assert rather["marginals"] == "rollout:1"
    assert sum(part["difference"] for part in rather["parts"]) + rather["residual"] == pytest.approx(
        rather["difference"], abs=1e-12
    )
    refused(2, "--against", "explain", CAT, "--against", SAMPLE, "--rollout", 1)
    refused(2, "--marginals", "explain", CAT, VIEW, "--rollout", 1, "--marginals", "uniform")
    refused(2, "--rollout", "explain", CAT, VIEW, "--rollout", 1, "--region", "0,0,9,9")
    refused(2, "transformer", "explain", CAT, VIEW, "--rollout", 1)


@pytest.mark.slow
def test_another_method_says_what_it_accounts_for(diml, tmp_path):
    done = diml("explain", CAT, VIEW, "--method", "bilinear", "--parts", 2, "--out", tmp_path / "x.svg")
    assert done.code == 0, done
    usual = document(diml("explain", CAT, VIEW, "--json"))
    assert f"Similarity {usual['similarity']:.3f}" in done.out
    assert f"accounts for the pooled similarity, {usual['pooled']:.3f}, which is not the similarity above" in done.out
    assert "the residual for a is 0.000" in done.out.lower()
    for heading in ("2 strongest cells of A:", "2 strongest cells of B:", "2 strongest pairs of parts:"):
        assert f"The {heading}" in done.out
    assert f"The picture is in {tmp_path / 'x.svg'}" in done.out
    assert (tmp_path / "x.svg").stat().st_size > 1000


@pytest.mark.slow
def test_another_method_as_a_document(diml, tmp_path):
    usual = document(diml("explain", CAT, VIEW, "--json"))
    found = document(diml("explain", CAT, VIEW, "--method", "structural", "--json", "--out", tmp_path / "x.png"))
    assert list(found) == [
        *("a", "b", "model", "method", "grid", "similarity", "accounts_for", "total", "residual"),
        *("heat_a", "heat_b", "correspondence", "transport"),
    ]
    assert found["transport"] == "one-sided"
    assert (found["a"], found["b"], found["model"], found["method"]) == (str(CAT), str(VIEW), "lite0", "structural")
    assert found["similarity"] == found["total"] == usual["similarity"]
    for pair in usual["matches"]:
        (row, column), (row_b, column_b) = pair["a"], pair["b"]
        mass = found["correspondence"][row * 4 + column][row_b * 4 + column_b]
        assert mass == pytest.approx(pair["mass"], abs=1e-12)
    heat = [sum(pair["contribution"] for pair in usual["matches"] if pair["b"] == [1, 2])]
    assert found["heat_b"][1][2] == pytest.approx(heat[0], abs=1e-12)
    assert Image.open(tmp_path / "x.png").width > 1500


@pytest.mark.slow
def test_what_a_method_does_not_say_is_null(diml):
    hidden = document(diml("explain", CAT, VIEW, "--method", "sbsm", "--grid", 2, "--json"))
    assert [len(row) for row in hidden["heat_a"]] == [2, 2]
    assert {hidden[name] for name in ("heat_b", "correspondence", "total", "residual", "accounts_for")} == {None}
    same = document(diml("explain", CAT, VIEW, "--method", "identity", "--grid", 2, "--json"))
    assert (same["heat_a"], same["heat_b"]) == (None, None)
    assert same["correspondence"] == [[0.25 * (i == j) for j in range(4)] for i in range(4)]
    said = diml("explain", CAT, VIEW, "--method", "identity", "--grid", 2).out
    assert "accounts for nothing" in said
    assert "cells of" not in said


def test_what_no_method_answers_is_refused_before_a_model_is_loaded(refused, shapes, tmp_path):
    asked = ("explain", CAT, VIEW, "--model", "none", "--method")
    refused(2, "--rather-than cannot be combined with --method", *asked, "nearest", "--rather-than", DRAWN)
    refused(2, "--against cannot be combined with --method", "explain", CAT, "--against", shapes, "--method", "nearest")
    refused(2, "--region cannot be combined with --method", *asked, "nearest", "--region", "0,0,9,9")
    refused(2, "--mask cannot be combined with --method", *asked, "nearest", "--mask", DRAWN)
    refused(2, "--rollout cannot be combined with --method", *asked, "nearest", "--rollout", 1)
    refused(2, "--method has no page", *asked, "nearest", "--out", tmp_path / "x.html")
    refused(2, "expected one of the methods structural,", *asked, "lime")
    for name in ("identity", "contributions"):
        refused(2, f"{name}, which gives no heat", *asked, name, "--out", tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
