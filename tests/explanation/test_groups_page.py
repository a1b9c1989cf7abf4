"""The page of the groups of an index, and the explanation of a pair that was found."""

import io
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from diml.errors import UsageError
from diml.explanation import draw_groups, explain_found_pair
from diml.explanation.html import groups, groups_page
from diml.feature_maps import FeatureMaps
from diml.search import Groups, Index
from diml.search.pairs import Pairs

EVIL = "<script>alert('x')</script> & \"q\" {{groups}}.jpg"
VOID = {"meta", "img", "link", "br"}


class Parsed(HTMLParser):
    """The elements of a page, which must be closed in the order in which they were opened."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.words = [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def index_of(folder, sizes, first=EVIL):
    """An index of groups of so many near-duplicates."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(len(sizes), 4, 8, generator=random)
    which = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    local = centres[which] + 0.1 * torch.randn(len(which), 4, 8, generator=random)
    paths = [first, *(f"{at:03d}.png" for at in range(1, len(which)))]
    index = Index.create(folder / "groups.diml")
    index.add_maps(FeatureMaps(local, (2, 2)), paths=paths, sizes=[(60, 40)] * len(paths))
    return index


@pytest.fixture
def thumbnails(monkeypatch):
    """Every image has a thumbnail."""
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), "navy").save(buffer, "JPEG")
    monkeypatch.setattr(Pairs, "thumbnails", lambda search, paths: [buffer.getvalue()] * len(paths))


def test_every_image_and_pair_is_on_the_page(tmp_path, thumbnails):
    search = index_of(tmp_path, [2, 4, 1, 3]).pairs(0.9)
    found = list(search)
    assert len(found) == 1 + 6 + 3
    draw_groups(search, found, tmp_path / "groups.html")
    html = (tmp_path / "groups.html").read_text(encoding="utf-8")
    page = Parsed(html)
    images = page.all("img")
    paths = {path for pair in found for path in (pair.a, pair.b)}
    assert [image["alt"] for image in images] == [
        path for group in Groups(found).largest_first() for path in group.paths
    ]
    assert {image["alt"] for image in images} == paths
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in images)
    assert len(page.all("tr")) == len(found) + 3
    for pair in found:
        assert f"{pair.similarity:.3f}" in page.words
    assert "10 pairs of similarity 0.9 or above, in 3 groups of 9 images, among 10 images." in page.words
    assert page.words.index("Group 1: 4 images") < page.words.index("Group 2: 3 images")
    assert page.all("script") == []
    assert re.findall(r"https?:", html) == []
    assert len(page.all("div")) == 3
    assert all(box["class"] == "wide" and box["tabindex"] == "0" and box["aria-label"] for box in page.all("div"))
    assert "prefers-color-scheme: dark" in html


def test_features_without_images(tmp_path):
    search = index_of(tmp_path, [2]).pairs(0.9)
    page = Parsed(groups_page(search, list(search)))
    assert page.all("img") == []
    assert [span["aria-label"] for span in page.all("span")] == ["001.png: no image file", f"{EVIL}: no image file"]


def test_one_sided_pairs_have_a_direction(tmp_path):
    search = index_of(tmp_path, [3]).with_matcher(transport="one-sided").pairs(0.9)
    found = list(search)
    words = Parsed(groups_page(search, found)).words
    assert "matched" in words
    assert sum(words.count(direction) for direction in ("a in b", "b in a")) == len(found) == 3


def test_a_page_stays_bounded(tmp_path, monkeypatch, thumbnails):
    search = index_of(tmp_path, [6, 2, 2, 2]).pairs(0.9, where="width > 1")
    found = list(search)
    for name, limit in (("GROUPS", 2), ("IMAGES", 4), ("PAIRS", 5)):
        monkeypatch.setattr(groups, name, limit)
    page = Parsed(groups_page(search, found))
    assert "among 12 images where width > 1. The 2 largest of 4 groups are shown." in page.words
    assert "4 of 6 images are shown." in page.words
    assert "The 5 most similar of 15 pairs" in page.words
    assert len(page.all("img")) == 4 + 2
    assert len(page.all("tr")) == 2 + 5 + 1


def test_nothing_found(tmp_path):
    search = index_of(tmp_path, [1, 1]).pairs(1.0)
    words = Parsed(groups_page(search, list(search))).words
    assert "0 pairs of similarity 1 or above, in 0 groups of 0 images, among 2 images." in words
    assert "Nothing was found." in words


def test_other_endings_are_refused(tmp_path):
    search = index_of(tmp_path, [1, 1]).pairs(1.0)
    with pytest.raises(UsageError, match="expected one of the endings"):
        draw_groups(search, [], tmp_path / "groups.png")


@pytest.mark.parametrize("transport", ["full", "one-sided"])
def test_a_pair_is_explained_by_the_numbers_that_were_found(tmp_path, transport, thumbnails):
    index = index_of(tmp_path, [2, 3], first="000.png").with_matcher(transport=transport)
    for pair in index.pairs(0.9):
        explanation = explain_found_pair(pair)
        document = explanation.to_dict()
        assert (document["a"], document["b"]) == pair.compared
        assert document["similarity"] == pair.similarity
        assert (document["structural"], document["pooled"]) == (pair.structural, pair.pooled)
        assert document.get("transport", "full") == transport
        assert explanation.describe().startswith("Similarity")
    explanation.draw(tmp_path / "why.html")
    explanation.draw(tmp_path / "why.png")
    assert "data:image" in (tmp_path / "why.html").read_text(encoding="utf-8")
