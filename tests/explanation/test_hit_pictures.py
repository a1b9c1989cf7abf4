"""The page and the picture of a search's hits."""

import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from diml.errors import UsageError
from diml.explanation import draw_hits
from diml.explanation.drawing import hits_figure
from diml.explanation.hits import hit_marks, reading
from diml.explanation.html import hits_page
from diml.explanation.words import number, percent, signed
from diml.matching import Matcher, find_part
from diml.model import PartQuery, QueryPart, WholeQuery
from diml.search import Hit, SearchResult

EVIL = "<script>alert('x')</script> & \"q\" {{cards}}.jpg"
VOID = {"meta", "img", "link", "br"}


def hit(rank, path, label, thumbnail, match):
    numbers = {"similarity": 0.9 - rank / 10, "structural": 0.8, "pooled": -0.7, "pooled_rank": rank, "margin": None}
    return Hit(
        rank,
        path,
        path,
        label,
        **numbers,
        concentration=0.5,
        columns={},
        size=(60, 90),
        thumbnail=thumbnail,
        match=match,
    )


# The query does not decode anything: its image is at hand.
MODEL = SimpleNamespace(read=None)


@pytest.fixture
def hits(match, image_b):
    buffer = io.BytesIO()
    image_b.resize((30, 45)).save(buffer, "JPEG")
    named = [(EVIL, None), ("b\udcff/" + "x" * 300, EVIL), ("$c$.jpg", "cat"), ("d.jpg", "")]
    return [hit(i, path, label, buffer.getvalue(), match) for i, (path, label) in enumerate(named, start=1)]


@pytest.fixture
def result(match):
    """Makes the result of a search for an image, which is called `name`."""

    def make(hits, image, name=None, where=None, index=""):
        query = WholeQuery(model=MODEL, maps=match.maps_a, image=image, source=name)
        return SearchResult(hits, 10, 10, query=query, where=where, index=index)

    return make


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_the_page_says_what_the_hits_say(result, hits, image_a):
    reader = read(hits_page(result(hits, image_a, "photos/q.jpg", index="indices/photos.diml")))
    text = "\n".join(reader.texts)
    assert reader.tags.count("li") == 4
    assert "Images like" in text
    assert "4 images from photos.diml" in text
    for hit in hits[2:]:
        assert number(hit.similarity) in text
        assert hit.path in text
    assert "\N{MINUS SIGN}0.700" in text


def test_names_are_escaped(result, hits, image_a):
    reader = read(hits_page(result(hits, image_a, EVIL.replace("/", ""), index=EVIL.replace("/", ""))))
    assert "script" not in reader.tags
    assert "".join(reader.texts).count(EVIL) >= 2
    assert "".join(reader.texts).count(EVIL.replace("/", "")) >= 2
    assert any(name == "aria-label" and EVIL in value for _, name, value in reader.attributes)


def test_the_page_makes_no_request(result, hits, image_a):
    reader = read(hits_page(result(hits, image_a, "http://example.org/x.jpg")))
    references = [value for _, name, value in reader.attributes if name in ("src", "href", "srcset", "style", "action")]
    assert references
    for reference in references:
        assert re.match(r"data:image/(jpeg|png);base64,|#query$|background:#|position:", reference), reference[:60]
    assert {"script", "link", "iframe", "object", "form"}.isdisjoint(reader.tags)
    styles = hits_page(result(hits, image_a)).split("<style>")[1].split("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles
    assert any("default-src 'none'" in (value or "") for _, name, value in reader.attributes if name == "content")


def test_every_image_has_a_text_in_its_place(result, hits, image_a):
    reader = read(hits_page(result(hits, image_a, "q.jpg")))
    assert ("img", "alt", "The query: q.jpg") in reader.attributes
    labels = [value for tag, name, value in reader.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == 4
    assert labels[2].startswith("Hit 3: $c$.jpg, similarity 0.600")


@pytest.mark.slow
def test_each_hit_shows_its_strongest_parts(result, hits, image_a):
    assert [mark.pair for mark in hit_marks(hits[0], image_a.size, 3)] == hits[0].match.parts(3)
    page = hits_page(result(hits[:1], image_a), parts=3)
    # Every pair is two boxes and a line, drawn twice (an edge beneath).
    assert page.count('<g class="line"') == 3
    assert page.count("<circle") == 6
    figure = hits_figure(result(hits[:1], image_a), parts=3)
    for axes in figure.axes[1:3]:
        assert len([patch for patch in axes.patches if patch.get_gid() == "part"]) == 3


def test_broken_names_can_be_written(result, hits, image_a, tmp_path):
    path = tmp_path / "hits.html"
    draw_hits(result(hits, image_a), path)
    assert "b?/" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_picture_says_what_the_hits_say(result, hits, image_a, tmp_path):
    figure = hits_figure(result(hits, image_a, "$q$.jpg"))
    shown = [text.get_text() for text in figure.texts]
    assert "Images like $q$.jpg" in shown
    assert {"1.  0.800", "4.  0.500", "whole \N{MINUS SIGN}0.700, parts 0.800", "$c$.jpg", "cat"} <= set(shown)
    for name in ("hits.png", "hits.svg", "hits.pdf"):
        draw_hits(result(hits, image_a), tmp_path / name)


def test_no_text_leaves_the_picture(result, hits, image_a):
    figure = hits_figure(result(hits, image_a, EVIL.replace("/", "") * 9))
    FigureCanvasAgg(figure)
    for text in figure.texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width, text.get_text()
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.height, text.get_text()


@pytest.mark.slow
def test_many_hits_are_cut_and_none_is_said(result, hits, image_a, monkeypatch):
    monkeypatch.setattr("diml.explanation.drawing.hits.MOST_HITS", 6)  # drawing sixty takes seconds
    many = hits_figure(result(hits * 2, image_a))
    assert "The first 6 of 8 hits." in [text.get_text() for text in many.texts]
    assert "Nothing was found." in [text.get_text() for text in hits_figure(result([], image_a)).texts]
    assert "Nothing was found." in hits_page(result([], image_a))
    where, said = "label = 'none'", "Nothing was found where label = 'none'."
    assert said in [text.get_text() for text in hits_figure(result([], image_a, where=where)).texts]
    assert said in "".join(read(hits_page(result([], image_a, where=where))).texts)
    assert "where" not in reading(result(hits, image_a, where=where), None)


def test_long_queries_stay_in_their_place(result, hits):
    for size in ((1, 1), (3000, 20), (20, 3000)):
        query = Image.new("RGB", size)
        assert hits_figure(result(hits[:1], query)).axes
        assert read(hits_page(result(hits[:1], query))).tags


def test_no_parts_are_refused(result, hits, image_a):
    for draws in (hits_figure, hits_page):
        with pytest.raises(UsageError, match="expected parts >= 1"):
            draws(result(hits, image_a), parts=0)


def test_a_part_query_shows_its_part(hits, match, image_a):
    weights = torch.zeros(1, 16)
    weights[0, [5, 6]] = 1
    part = find_part(match.maps_a, match.maps_b, weights)
    hits = [hit(each.rank, each.path, each.label, each.thumbnail, part) for each in hits]
    query = PartQuery(model=MODEL, maps=match.maps_a, image=image_a, part=QueryPart(weights.reshape(4, 4)))
    found = SearchResult(hits, 10, 10, query=query)
    page = hits_page(found, parts=40)
    assert page.count('class="chosen"') == 2 * len(hits)
    assert "outlined by dots" in page
    assert "a part of the query" in page
    # Of 32 pairs some count against the similarity, and would else come after those of cells that were not chosen.
    assert {mark.pair.a for mark in hit_marks(hits[0], image_a.size, 40)} == {(1, 1), (1, 2)}
    figure = hits_figure(found)
    dotted = [patch for axes in figure.axes for patch in axes.patches if patch.get_gid() == "chosen"]
    assert len(dotted) == 2 * 2 * len(hits)


def test_features_without_an_image_file_are_grey_boxes_that_say_so(hits, match, result):
    bare = hit(1, "features/1", None, b"", match)
    found = result([bare, hits[1]], None)
    page = hits_page(found)
    assert page.count("no image file") == 1
    assert page.count('class="blank"') == 1
    texts = [text.get_text() for text in hits_figure(found).texts]
    assert texts.count("no image file") == 1 + 2 + 1  # the header, the query beside each hit, and the bare hit


def test_regions_are_outlined_on_the_query_and_on_each_hit(result, hits, image_a):
    found = result(hits[:1], image_a, "q.jpg")
    regions = found[0].match.regions().named
    page, figure = hits_page(found), hits_figure(found)
    assert page.count('class="region"') == 2 * len(regions)
    drawn = [patch for axes in figure.axes for patch in axes.patches if patch.get_gid() == "region"]
    assert len(drawn) == 2 * len(regions)
    texts = [text.get_text() for text in figure.texts]
    for pair in regions:
        share = percent(pair.contribution, found[0].similarity) or signed(pair.contribution)
        assert share in texts
        assert f" {share}</span>" in page
    assert page.count("<details>") == 1
    assert "mass 0." in page
    pairs = hits_page(found, parts=3)
    assert 'class="region"' not in pairs
    assert "<details>" not in pairs


def test_hits_hatch_what_a_dustbin_leaves(maps_of, result, image_a):
    left = Matcher(transport="dustbin", bin_similarity=0.4).tight().match(maps_of(1), maps_of(2, size=(60, 90)))
    found = result([hit(1, "a.jpg", None, b"", left)], image_a)
    regions = left.regions()
    (unmatched,) = [pair for pair in regions if pair.kind == "unmatched"]
    hatched = bool(unmatched.a_cells) + bool(unmatched.b_cells)
    assert hatched > 0
    page, figure = hits_page(found), hits_figure(found)
    assert page.count('<path class="unmatched"') == hatched
    assert page.count('id="hatch"') == 1
    drawn = [patch for axes in figure.axes for patch in axes.patches if patch.get_gid() == "unmatched"]
    assert len(drawn) == hatched
    total = sum(pair.contribution for pair in regions) + regions.residual
    assert total == pytest.approx(float(left.similarity), abs=1e-9)
