"""A part of the query that is pointed at lights up in all hits; a box over one makes the search a part query."""

import re

import pytest
from playwright.sync_api import expect

from tests.service.page.reading import assert_hits, boxes_in, drag


@pytest.fixture
def cat(id_of):
    return id_of("猫二.png")


@pytest.fixture
def searched(visit, cat):
    visitor = visit()
    visitor.go(f"#index=photos&id={cat}")
    expect(visitor.page.locator("#query .cell")).to_have_count(16)
    return visitor.page


def assert_lit(page, index, query, i):
    for card, hit in zip(page.locator("#hits > li").all(), index.search(query, k=12), strict=True):
        plan = hit.match.plan[0]
        shares = (plan[i] / plan[i].sum()).tolist()
        opacities = [
            float(each)
            for each in card.locator("rect.veil").evaluate_all("all => all.map(e => e.getAttribute('fill-opacity'))")
        ]
        expected = sorted(0.78 * (1 - share / max(shares)) for share in shares)
        assert opacities == pytest.approx(expected, abs=2e-3)
        strongest = card.locator("text.share").first.text_content()
        assert float(strongest.split()[0]) == pytest.approx(100 * max(shares), abs=0.51)
        contributes = float(hit.match.contributions[0, i].sum())
        said = card.locator(".lit-text").inner_text().replace("\N{MINUS SIGN}", "-")
        assert float(re.search(r"[+-]?\d\.\d+", said)[0]) == pytest.approx(contributes, abs=6e-4)


def test_pointing_lights_up_all_hits_at_once(searched, index, cat):
    searched.locator("#query .cell").nth(6).hover()
    assert_lit(searched, index, index.maps(cat), 6)
    assert searched.inner_text("#said").startswith("Row 2, column 3, adds most in hit 1: +")
    searched.mouse.move(2, 2)
    expect(searched.locator("#hits rect.veil")).to_have_count(0)
    assert searched.locator("#hits path.region").count() > 0


def test_the_keyboard_reaches_every_part(searched, index, cat):
    searched.locator("#query .cell[tabindex='0']").focus()
    for key, place in [
        ("ArrowRight", "row 1, column 2"),
        ("ArrowDown", "row 2, column 2"),
        ("End", "row 2, column 4"),
        ("Home", "row 2, column 1"),
    ]:
        searched.keyboard.press(key)
        assert searched.evaluate("document.activeElement.getAttribute('aria-label')") == place
    assert_lit(searched, index, index.maps(cat), 4)
    searched.keyboard.press("Escape")
    expect(searched.locator("#hits rect.veil")).to_have_count(0)


def test_boxes_are_dragged_and_undone(searched, index, cat):
    maps = index.maps(cat)
    drag(searched, (0.1, 0.2), (0.55, 0.7))
    expect(searched.locator("#results-title")).to_contain_text("Images with a part like one of")
    expect(searched.locator("#query .boxes .chosen")).to_have_count(1)
    first = boxes_in(searched)
    width, height = index.entry(cat).size
    assert first[0] == pytest.approx((0.1 * width, 0.2 * height, 0.55 * width, 0.7 * height), abs=2)
    expect(searched.locator("#hits > li .boxes .chosen").first).to_be_visible()
    expect(searched.locator("#status")).to_contain_text("hits in")
    assert_hits(searched, index.search(maps, k=12, regions=first))
    assert "Ranked by the similarity of the chosen part" in searched.inner_text("#scale")
    drag(searched, (0.9, 0.95), (0.6, 0.75))
    expect(searched.locator("#query .boxes .chosen")).to_have_count(2)
    both = boxes_in(searched)
    assert both[0] == first[0]
    expect(searched.locator("#status")).to_contain_text("hits in")
    assert_hits(searched, index.search(maps, k=12, regions=both))
    searched.click("#undo")
    expect(searched.locator("#query .boxes .chosen")).to_have_count(1)
    assert boxes_in(searched) == first
    searched.keyboard.press("Control+z")
    expect(searched.locator("#query .boxes .chosen")).to_have_count(0)
    expect(searched.locator("#results-title")).to_contain_text("Images like")
    expect(searched.locator("#status")).to_contain_text("hits in")
    assert_hits(searched, index.search(maps, k=12))


def test_boxes_by_keyboard(searched):
    searched.locator("#query .cell").nth(5).focus()
    searched.keyboard.press("Space")
    expect(searched.locator("#query .boxes .chosen")).to_have_count(1)
    expect(searched.locator("#status")).to_contain_text("hits in")
    assert searched.evaluate("document.activeElement.getAttribute('aria-label')") == "row 2, column 2, chosen"
    searched.keyboard.press("Space")
    expect(searched.locator("#query .boxes .chosen")).to_have_count(0)
    searched.locator("#boxes summary").press("Enter")
    for name, value in {"x0": 10, "y0": 20, "x1": 60, "y1": 1000}.items():
        searched.fill(f"#box-form [name={name}]", str(value))
    searched.keyboard.press("Enter")
    expect(searched.locator("#boxes-list li")).to_have_count(1)
    assert boxes_in(searched) == [(10, 20, 60, 128)]
    searched.locator("#boxes-list button").press("Enter")
    expect(searched.locator("#boxes-list li")).to_have_count(0)
    expect(searched.locator("#boxes summary")).to_be_focused()
    for name, value in {"x0": 60, "y0": 20, "x1": 10, "y1": 30}.items():
        searched.fill(f"#box-form [name={name}]", str(value))
    searched.keyboard.press("Enter")
    expect(searched.locator("#said")).to_contain_text("Right must be more than left")


def test_parts_that_were_not_chosen_say_so(searched, id_of):
    searched.locator("#query .cell").nth(5).focus()
    searched.keyboard.press("Space")
    expect(searched.locator("#status")).to_contain_text("hits in")
    searched.keyboard.press("End")
    searched.keyboard.press("ArrowDown")
    expect(searched.locator("#said")).to_contain_text("is not among the chosen parts")
    expect(searched.locator("#hits .lit-text").first).to_have_text("This part is not looked for.")


def test_a_finger_scrolls_until_the_tool_is_chosen(visit, cat):
    page = visit(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800}).go(f"#index=photos&id={cat}")
    touch_action = "e => getComputedStyle(e).touchAction"
    assert "pan-y" in page.locator("#query").evaluate(touch_action)
    page.locator("#query .cell").nth(5).tap()
    assert page.locator("#hits rect.veil").count() > 0
    page.locator("#draw").tap()
    assert page.locator("#query").evaluate(touch_action) == "none"
    drag(page, (0.2, 0.2), (0.7, 0.6))
    expect(page.locator("#query .boxes .chosen")).to_have_count(1)
    assert page.get_attribute("#draw", "aria-pressed") == "false"
