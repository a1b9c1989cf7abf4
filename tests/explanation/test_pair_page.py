"""The page of two images as a file: what is in it, and that nothing in it can do harm."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from diml.errors import UsageError
from diml.explanation import NamedImage, PairExplanation, heat, save_page
from diml.explanation.html import pair_page
from diml.explanation.words import number
from diml.matching import Matcher, find_part

EVIL = "\"><script>alert('x')</script><img src=x onerror=alert(1)> {{data}} </style>.jpg"


def match_page(match, image_a, image_b, parts=None, title_a="first image", title_b="second image"):
    a, b = NamedImage("", title_a, image_a), NamedImage("", title_b, image_b)
    return pair_page(PairExplanation(match, a, b), parts)


class Reader(HTMLParser):
    """Collects tags, attributes and what stands in each element."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.inside, self.texts = [], [], {}, []
        self.last = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.last = tag
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]

    def handle_data(self, data):
        self.inside.setdefault(self.last, []).append(data)
        self.texts.append(data)


def numbers_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_the_numbers_are_those_of_the_match(match, image_a, image_b):
    data = numbers_of(match_page(match, image_a, image_b))
    for key, values in (
        ("mass", match.plan),
        ("alike", match.local_similarity),
        ("contribution", match.contributions),
    ):
        torch.testing.assert_close(torch.tensor(data[key], dtype=torch.float64), values[0], atol=1e-8, rtol=0)
    ranked = [[pair.a[0] * 4 + pair.a[1], pair.b[0] * 4 + pair.b[1]] for pair in match.parts(64)]
    assert data["pairs"] == ranked
    # 120 x 80 pixels drawn at 1000 units across.
    assert data["a"]["cells"][5] == pytest.approx([250, 166.7, 500, 333.3], abs=0.1)


def test_the_list_stands_there_without_scripts(match, image_a, image_b):
    page = match_page(match, image_a, image_b, parts=3)
    assert page.count("<li>", page.index('id="pairs"')) == 64
    assert "192 weaker pairs are omitted beyond the slider's 64" in page
    assert page.count('class="crop"', page.index('id="pairs"')) == 128
    assert number(float(match.similarity[0])) in page
    assert all("hidden" not in piece.split("</ol>")[0].replace("aria-hidden", "") for piece in page.split("<ol")[1:])
    assert 'max="64" value="3"' in page


def test_regions_come_first_and_add_up(match, image_a, image_b):
    page, regions = match_page(match, image_a, image_b), match.regions()
    assert page.index('id="regions"') < page.index('id="deeper"') < page.index('id="pairs"')
    items = re.findall(r"<b>Region (\d)</b>, (\S+)\s% of the similarity", page)
    assert [int(rank) for rank, _ in items] == list(range(1, len(regions.named) + 1))
    rest = float(re.search(r"<b>Everything else</b>, (\S+)\s%", page)[1])
    assert sum(float(share) for _, share in items) + rest == pytest.approx(100, abs=0.6 * (len(items) + 1))
    assert page.count('<path class="region"') == 2 * len(regions.named)
    assert page.count('<g class="disc">') == 2 * len(regions.named)
    told = numbers_of(page)["regions"]
    assert [len(each["a"]) for each in told] == [len(pair.a_cells) for pair in regions.named]
    assert 'class="unmatched"' not in page


def test_only_a_number_of_parts_opens_the_fold(match, image_a, image_b):
    assert '<details id="deeper">' in match_page(match, image_a, image_b)
    assert '<details id="deeper" open>' in match_page(match, image_a, image_b, parts=3)


def test_unmatched_parts_are_hatched_and_told(maps_of, image_a, image_b):
    match = Matcher(transport="dustbin", bin_similarity=0.4).tight().match(maps_of(1), maps_of(2, size=(60, 90)))
    page, regions = match_page(match, image_a, image_b), match.regions()
    (left,) = [pair for pair in regions if pair.kind == "unmatched"]
    assert page.count('<path class="unmatched"') == bool(left.a_cells) + bool(left.b_cells) > 0
    assert "<b>No counterpart</b>" in page
    data = numbers_of(page)
    for name, heat_of, maps in zip("ab", heat(match), (match.maps_a, match.maps_b), strict=True):
        assert data["heat"][name] == pytest.approx(heat_of.flatten().tolist(), abs=1e-8)
        assert sum(data["heat"][name]) == pytest.approx(float(match.similarity), abs=1e-6)
        assert sum(data["unmatched"][name]) / maps.parts == pytest.approx(regions.unmatched["ab".index(name)], abs=1e-3)


def test_names_are_harmless(match, image_a, image_b, tmp_path):
    page = match_page(match, image_a, image_b, title_a=EVIL, title_b="b\udcff\n</title>")
    reader = Reader(page)
    assert reader.tags.count("script") == 2
    assert {"img", "iframe", "form", "object", "link"}.isdisjoint(reader.tags)
    assert EVIL in reader.texts
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    save_page(page, tmp_path / "x.html")


def test_nothing_is_asked_of_the_network(match, image_a, image_b):
    reader = Reader(match_page(match, image_a, image_b, title_a="http://example.org/x.jpg"))
    references = [value for _, name, value in reader.attributes if name in ("src", "href", "srcset", "action")]
    assert references
    for reference in references:
        assert re.match(r"data:image/(png|jpeg);base64,|#image-[ab]$", reference), reference[:60]
    style = "".join(reader.inside["style"])
    assert "url(" not in style
    assert "@import" not in style
    # A style in an attribute would be blocked by the policy below.
    assert not [value for _, name, value in reader.attributes if name == "style"]


def test_only_our_own_style_and_script_may_run(match, image_a, image_b):
    page = match_page(match, image_a, image_b, title_a=EVIL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        source = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


@pytest.mark.slow
def test_photographs_are_made_smaller_and_drawings_kept_sharp(match):
    photograph = Image.merge("RGB", [Image.effect_noise((3000, 2000), spread) for spread in (9, 20, 30)])
    page = match_page(match, photograph, Image.new("RGB", (60, 90), "red"))
    kinds = re.findall(r"data:image/(\w+);base64,([^\"]*)", page)
    assert [kind for kind, _ in kinds] == ["jpeg", "png"]
    assert len(page) < 1_500_000


@pytest.mark.parametrize("size", [(1, 1), (3000, 20), (20, 3000)])
def test_odd_shapes(match, nowhere, size):
    for each in (match, nowhere):
        assert "nan" not in json.dumps(numbers_of(match_page(each, Image.new("RGB", size), Image.new("RGB", size))))


def test_a_chosen_part_lists_its_own_pairs_only(match, image_a, image_b):
    weights = torch.zeros(1, 16)
    weights[0, [5, 6]] = 1
    part = find_part(match.maps_a, match.maps_b, weights)
    page = match_page(part, image_a, image_b)
    data = numbers_of(page)
    assert data["chosen"] == [5, 6]
    assert {i for i, _ in data["pairs"]} == {5, 6}
    assert len(data["pairs"]) == 32
    assert "2 chosen parts" in page


def test_no_parts_are_refused(match, image_a, image_b):
    with pytest.raises(UsageError, match="expected parts >= 1"):
        match_page(match, image_a, image_b, parts=0)
