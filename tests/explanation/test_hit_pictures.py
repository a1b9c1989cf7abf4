"""The page and the picture of a search's hits."""

import io
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from diml.errors import UsageError
from diml.explanation import draw_hits, hit_marks, hits_page, save_page, save_picture
from diml.explanation.hits import reading
from diml.explanation.words import number
from diml.matching import Match, find_part

EVIL = "<script>alert('x')</script> & \"q\" {{cards}}.jpg"
VOID = {"meta", "img", "link", "br"}


@dataclass
class Found:
    rank: int
    path: str
    label: str | None
    similarity: float
    structural: float
    pooled: float
    thumbnail: bytes
    size: tuple[int, int]
    match: Match


@pytest.fixture
def hits(match, image_b):
    buffer = io.BytesIO()
    image_b.resize((30, 45)).save(buffer, "JPEG")
    named = [(EVIL, None), ("b\udcff/" + "x" * 300, EVIL), ("$c$.jpg", "cat"), ("d.jpg", "")]
    return [
        Found(i, path, label, 0.9 - i / 10, 0.8, -0.7, buffer.getvalue(), (60, 90), match)
        for i, (path, label) in enumerate(named, start=1)
    ]


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


def test_the_page_says_what_the_hits_say(hits, image_a):
    reader = read(hits_page(hits, image_a, query_name="q.jpg", index="photos.diml"))
    text = "\n".join(reader.texts)
    assert reader.tags.count("li") == 4
    assert "Images like" in text
    assert "4 images from photos.diml" in text
    for hit in hits[2:]:
        assert number(hit.similarity) in text
        assert hit.path in text
    assert "\N{MINUS SIGN}0.700" in text


def test_names_are_escaped(hits, image_a):
    reader = read(hits_page(hits, image_a, query_name=EVIL, index=EVIL))
    assert "script" not in reader.tags
    assert "".join(reader.texts).count(EVIL) >= 4
    assert any(name == "aria-label" and EVIL in value for _, name, value in reader.attributes)


def test_the_page_makes_no_request(hits, image_a):
    reader = read(hits_page(hits, image_a, query_name="http://example.org/x.jpg"))
    references = [value for _, name, value in reader.attributes if name in ("src", "href", "srcset", "style", "action")]
    assert references
    for reference in references:
        assert re.match(r"data:image/(jpeg|png);base64,|#query$|background:#|position:", reference), reference[:60]
    assert {"script", "link", "iframe", "object", "form"}.isdisjoint(reader.tags)
    styles = hits_page(hits, image_a).split("<style>")[1].split("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles
    assert any("default-src 'none'" in (value or "") for _, name, value in reader.attributes if name == "content")


def test_every_image_has_a_text_in_its_place(hits, image_a):
    reader = read(hits_page(hits, image_a, query_name="q.jpg"))
    assert ("img", "alt", "The query: q.jpg") in reader.attributes
    labels = [value for tag, name, value in reader.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == 4
    assert labels[2].startswith("Hit 3: $c$.jpg, similarity 0.600")


def test_each_hit_shows_its_strongest_parts(hits, image_a):
    assert [mark.pair for mark in hit_marks(hits[0], image_a.size, 3)] == hits[0].match.parts(3)
    page = hits_page(hits[:1], image_a, parts=3)
    # Every pair is two boxes and a line, drawn twice (an edge beneath).
    assert page.count('<g class="line"') == 3
    assert page.count("<circle") == 6
    figure = draw_hits(hits[:1], image_a, parts=3)
    for axes in figure.axes[1:3]:
        assert len([patch for patch in axes.patches if patch.get_gid() == "part"]) == 3


def test_broken_names_can_be_written(hits, image_a, tmp_path):
    path = tmp_path / "hits.html"
    save_page(hits_page(hits, image_a), path)
    assert "b?/" in path.read_text(encoding="utf-8")


def test_the_picture_says_what_the_hits_say(hits, image_a, tmp_path):
    figure = draw_hits(hits, image_a, query_name="$q$.jpg")
    shown = [text.get_text() for text in figure.texts]
    assert "Images like $q$.jpg" in shown
    assert {"1.  0.800", "4.  0.500", "whole \N{MINUS SIGN}0.700, parts 0.800", "$c$.jpg", "cat"} <= set(shown)
    for name in ("hits.png", "hits.svg", "hits.pdf"):
        save_picture(figure, tmp_path / name)


def test_no_text_leaves_the_picture(hits, image_a):
    figure = draw_hits(hits, image_a, query_name=EVIL * 9)
    FigureCanvasAgg(figure)
    for text in figure.texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width, text.get_text()
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.height, text.get_text()


def test_many_hits_are_cut_and_none_is_said(hits, image_a):
    many = draw_hits(hits * 16, image_a)
    assert "The first 60 of 64 hits." in [text.get_text() for text in many.texts]
    assert "Nothing was found." in [text.get_text() for text in draw_hits([], image_a).texts]
    assert "Nothing was found." in hits_page([], image_a)
    where, said = "label = 'none'", "Nothing was found where label = 'none'."
    assert said in [text.get_text() for text in draw_hits([], image_a, where=where).texts]
    assert said in "".join(read(hits_page([], image_a, where=where)).texts)
    assert "where" not in reading(hits, None, where)


def test_long_queries_stay_in_their_place(hits):
    for size in ((1, 1), (3000, 20), (20, 3000)):
        query = Image.new("RGB", size)
        assert draw_hits(hits[:1], query).axes
        assert read(hits_page(hits[:1], query)).tags


def test_no_parts_are_refused(hits, image_a):
    for draws in (draw_hits, hits_page):
        with pytest.raises(UsageError, match="expected 1 or more"):
            draws(hits, image_a, parts=0)


def test_a_part_query_shows_its_part(hits, match, image_a):
    weights = torch.zeros(1, 16)
    weights[0, [5, 6]] = 1
    hits = [replace(hit, match=find_part(match.maps_a, match.maps_b, weights)) for hit in hits]
    page = hits_page(hits, image_a, chosen=[5, 6], parts=40)
    assert page.count('class="chosen"') == 2 * len(hits)
    assert "outlined by dots" in page
    assert "a part of the query" in page
    # Of 32 pairs some count against the similarity, and would else come after those of cells that were not chosen.
    assert {mark.pair.a for mark in hit_marks(hits[0], image_a.size, 40, [5, 6])} == {(1, 1), (1, 2)}
    figure = draw_hits(hits, image_a, chosen=[5, 6])
    dotted = [patch for axes in figure.axes for patch in axes.patches if patch.get_gid() == "chosen"]
    assert len(dotted) == 2 * 2 * len(hits)
