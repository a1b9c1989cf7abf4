"""`diml search` for a part of an image, what it says of its hits, and partial transport on the command line."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def query(shapes):
    return shapes / "disc" / "2.png"  # 70 x 50 pixels


def test_regions_and_weights(diml, shapes_index, query):
    done = diml("search", shapes_index, query, "--region", "0,0,35,25", "--region", "35,25,70,50:3", "-k", 3, "--json")
    document = json.loads(done.out)
    assert document["part"]["regions"] == [
        {"box": [0, 0, 35, 25], "weight": 1},
        {"box": [35, 25, 70, 50], "weight": 3},
    ]
    cells = np.array(document["part"]["cells"])
    assert cells.shape == (4, 4)
    assert cells.sum() == pytest.approx(1)
    assert cells[3, 3] == pytest.approx(3 * cells[0, 0])
    for hit in document["hits"]:
        assert hit["similarity"] == hit["structural"]
        assert 0 <= hit["concentration"] <= 1


def test_a_mask_is_a_region(diml, shapes_index, query, tmp_path):
    mask = Image.new("L", (70, 50))
    mask.paste(255, (0, 0, 35, 25))
    mask.save(tmp_path / "mask.png")
    by_mask = json.loads(diml("search", shapes_index, query, "--mask", tmp_path / "mask.png", "--json").out)
    by_region = json.loads(diml("search", shapes_index, query, "--region", "0,0,35,25", "--json").out)
    assert by_mask["hits"] == by_region["hits"]
    assert by_mask["part"]["mask"] == str(tmp_path / "mask.png")
    assert by_mask["part"]["cells"] == by_region["part"]["cells"]


@pytest.mark.slow
def test_the_table_and_the_pages(diml, shapes_index, query, tmp_path):
    done = diml("search", shapes_index, query, "-k", 8, "--region", "0,0,35,25", "--out", tmp_path / "hits.html")
    header, *lines = done.out.splitlines()
    assert header == "rank  similarity  structural  pooled  pooled_rank  margin  concentration  label  path"
    assert len(lines) == 8 + 2
    rank, similarity, structural = lines[0].split()[:3]
    assert rank == "1"
    assert similarity == structural
    assert lines[7].split()[5] == "-"  # the last of all images: nothing to lead before
    assert "a part of 2.png" in (tmp_path / "hits.html").read_text()


@pytest.mark.slow
def test_what_is_refused(refused, shapes_index, query, tmp_path):
    Image.new("L", (50, 70), 255).save(tmp_path / "other.png")
    Image.new("L", (70, 50), 0).save(tmp_path / "black.png")
    Image.new("RGBA", (70, 50), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    (tmp_path / "text.png").write_text("no image")

    def search(*arguments):
        return ("search", shapes_index, query, *arguments)

    refused(2, "0,0,71,50 extends beyond the image of 70x50", *search("--region", "0,0,71,50"))
    refused(2, "30,0,3,9 is empty or reversed", *search("--region", "30,0,3,9"))
    refused(2, "x0,y0,x1,y1:weight, got 1,2,3", *search("--region", "1,2,3"))
    refused(2, "got 1,2,3,x", *search("--region", "1,2,3,x"))
    refused(2, "weight -1", *search("--region", "1,2,3,4:-1"))
    refused(2, "expected --region to be x0,y0,x1,y1", *search("--region", "1,2,3,4:"))
    refused(2, "a mask of 70x50 pixels, the size of the image, got 50x70", *search("--mask", tmp_path / "other.png"))
    refused(2, "selects nothing", *search("--mask", tmp_path / "black.png"))
    refused(2, "selects nothing", *search("--mask", tmp_path / "clear.png"))
    refused(2, "no such mask", *search("--mask", tmp_path / "none.png"))
    refused(1, "text.png", *search("--mask", tmp_path / "text.png"))
    refused(2, "one of them", *search("--mask", tmp_path / "black.png", "--region", "0,0,9,9"))


@pytest.mark.slow
def test_evaluate_with_partial_transport(diml, refused, shapes):
    whole = json.loads(diml("evaluate", shapes, "--shortlist", "all", "--json").out)
    partial = json.loads(diml("evaluate", shapes, "--shortlist", "all", "--mass", 0.5, "--json").out)
    assert (whole["mass"], partial["mass"]) == (1.0, 0.5)
    assert "partial transport of mass 0.5" in diml("evaluate", shapes, "--mass", 0.5).out
    assert "partial" not in diml("evaluate", shapes, "--mass", 1).out
    refused(2, "expected mass above 0 and up to 1, got 0.0", "evaluate", shapes, "--mass", 0)


@pytest.mark.slow
def test_search_with_other_settings(diml, refused, shapes_index, query):
    asked = ("search", shapes_index, query, "-k", 3, "--json")
    usual = json.loads(diml(*asked).out)
    document = json.loads(diml(*asked, "--weight", 1, "--eps", 0.1, "--marginals", "cross_correlation").out)
    assert {name: document[name] for name in document.keys() - usual.keys()} == {
        "weight": 1.0,
        "eps": 0.1,
        "marginals": "cross_correlation",
    }
    assert all(hit["similarity"] == hit["structural"] for hit in document["hits"])
    partial = json.loads(diml(*asked, "--mass", 0.5).out)
    assert (partial["mass"], partial["transport"]) == (0.5, "full")
    assert json.loads(diml(*asked, "--weight", 0.85, "--transport", "one-sided").out) == usual
    part = json.loads(diml(*asked, "--eps", 0.1, "--region", "0,0,35,25").out)
    assert part["eps"] == 0.1
    refused(2, "--weight cannot be combined with --region", *asked, "--weight", 1, "--region", "0,0,35,25")
    refused(2, "weight", *asked, "--weight", 2)
    refused(2, "expected -k >= 1, got 0", "search", shapes_index, query, "-k", 0)


def test_an_index_of_features_from_elsewhere(diml, refused, shapes, query, tmp_path):
    import torch

    from diml.feature_maps import FeatureMaps
    from diml.search import Index

    index = Index.create(tmp_path / "own.diml")
    index.add_maps(FeatureMaps(torch.ones(1, 4, 3), (2, 2)), paths=["a"], sizes=[(8, 8)])
    refused(2, "has no model to embed images", "search", index.path, query)
    refused(1, "make another index to embed images", "index", shapes, "--into", index.path)
    assert json.loads(diml("info", index.path, "--json").out)["model"] == "none"


def test_regions_and_masks_of_a_large_photograph_are_in_its_own_pixels(diml, refused, shapes_index, tmp_path):
    """The model sees it at half of its size."""
    photo = Image.radial_gradient("L").resize((1403, 1051))
    photo.save(tmp_path / "large.jpg")
    mask = Image.new("L", photo.size)
    mask.paste(255, (1052, 788, 1403, 1051))
    mask.save(tmp_path / "mask.png")
    by_region = diml("search", shapes_index, tmp_path / "large.jpg", "--region", "1053,789,1403,1051", "--json")
    by_mask = diml("search", shapes_index, tmp_path / "large.jpg", "--mask", tmp_path / "mask.png", "--json")
    cells = [np.array(json.loads(each.out)["part"]["cells"]) for each in (by_region, by_mask)]
    for each in cells:
        assert each[3, 3] == pytest.approx(1, abs=0.02)
    said = "0,0,1404,9 extends beyond the image of 1403x1051"
    refused(2, said, "search", shapes_index, tmp_path / "large.jpg", "--region", "0,0,1404,9")
