"""What the page shows, and dragging over its query."""

import re

import pytest


def hits_of(page):
    """The ids and the similarities of the hits, as the page shows them."""
    cards = page.locator("#hits > li")
    shown = [float(text.replace("\N{MINUS SIGN}", "-")) for text in cards.locator(".head strong").all_text_contents()]
    return cards.evaluate_all("all => all.map(e => e.dataset.id)"), shown


def assert_hits(page, result):
    ids, shown = hits_of(page)
    assert ids == [hit.id for hit in result]
    assert shown == pytest.approx([hit.similarity for hit in result], abs=6e-4)


def drag(page, start, end):
    """Drag over the query, from and to shares of its width and height."""
    box = page.locator("#query .edge").bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=4)
    page.mouse.up()


def regions_in(page):
    return re.findall(r"region=([^&]+)", page.url)


def boxes_in(page):
    return [tuple(float(edge) for edge in text.split("%2C")) for text in regions_in(page)]
