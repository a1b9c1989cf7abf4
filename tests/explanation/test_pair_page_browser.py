"""The page of two images in a browser: mouse, keyboard, slider, narrow window, and not a request."""

import re
import shutil

import pytest
import torch

from diml.explanation import NamedImage, PairExplanation, save_page
from diml.explanation.html import pair_page
from diml.matching import find_part

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here; apt-get install chromium"),
]
EVIL = '"><script>document.title="harmed"</script>.jpg'


def match_page(match, image_a, image_b, parts=None, title_a="first image", title_b="second image"):
    a, b = NamedImage("", title_a, image_a), NamedImage("", title_b, image_b)
    return pair_page(PairExplanation(match, a, b), parts)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page of HTML; at the end of the test nothing must have been asked for, said or gone wrong."""
    wrong, contexts = [], []

    def open_page(html, **settings):
        save_page(html, tmp_path / "page.html")
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        address = (tmp_path / "page.html").as_uri()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(("data:", address)) or wrong.append(asked.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def html(match, image_a, image_b):
    return match_page(match, image_a, image_b, title_a=EVIL, title_b="b.jpg", parts=4)


@pytest.fixture
def folded(match, image_a, image_b):
    """The page as it opens by default, with its regions."""
    return match_page(match, image_a, image_b, title_a=EVIL, title_b="b.jpg")


def labels(page, side):
    return page.locator(f"#side-{side} .label").all_text_contents()


def shares(match, i, side="a"):
    plan = match.plan[0] if side == "a" else match.plan[0].T
    return (plan[i] / plan[i].sum()).tolist()


def percents(values):
    """As the page writes shares that it labels."""
    return sorted(f"{round(100 * s)} %" if s >= 0.0995 else f"{100 * s:.1f} %" for s in values if s >= 0.05)


def test_the_page_opens_in_peace(opened, html):
    page = opened(html)
    assert page.title().startswith("Why ")
    assert page.locator("script").count() == 2
    assert page.locator("#side-a .cell").count() == 16
    assert EVIL in page.inner_text("figcaption#name-a")


@pytest.mark.parametrize(("side", "other"), [("a", "b"), ("b", "a")])
def test_hover_lights_up_the_matches_with_their_shares(opened, html, match, side, other):
    page = opened(html)
    page.locator(f"#side-{side} .cell").nth(6).hover()
    expected = shares(match, 6, side)
    assert sorted(labels(page, other)) == percents(expected)
    opacities = [
        float(o) for o in page.locator(f"#side-{other} .veil").evaluate_all("all => all.map(v => v.style.fillOpacity)")
    ]
    best = expected.index(max(expected))
    assert opacities[best] == 0
    assert opacities == pytest.approx([0.78 * (1 - share / max(expected)) for share in expected], abs=1e-4)
    said = page.inner_text("#said")
    assert said.startswith(f"{side.upper()}, row 2, column 3, contributes ")
    assert f"row {best // 4 + 1}, column {best % 4 + 1}" in said
    page.mouse.move(2, 2)
    assert labels(page, other) == []
    assert page.inner_text("#said").startswith("Point at a part")


def test_the_keyboard_reaches_every_part(opened, html, match):
    page = opened(html)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("row 1, column 1 of A")
    for key, place in [
        ("ArrowRight", "row 1, column 2"),
        ("ArrowDown", "row 2, column 2"),
        ("End", "row 2, column 4"),
        ("ArrowRight", "row 2, column 4"),
        ("Home", "row 2, column 1"),
        ("ArrowUp", "row 1, column 1"),
        ("ArrowUp", "row 1, column 1"),
        ("ArrowDown", "row 2, column 1"),
    ]:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(place), key
        assert place in page.inner_text("#said")
    assert sorted(labels(page, "b")) == percents(shares(match, 4))
    # One stop per image: the next Tab is in B, and going back finds the part that was left.
    page.keyboard.press("Tab")
    assert "of B" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("row 2, column 1 of A")
    page.keyboard.press("Escape")
    assert labels(page, "b") == []


def test_it_tells_those_who_cannot_see(opened, html):
    page = opened(html)
    assert page.get_attribute("#said", "aria-live") == "polite"
    for side in "ab":
        assert page.locator(f"#side-{side} [role=grid]").count() == 1
        assert page.locator(f"#side-{side} [role=row]").count() == 4
        assert page.locator(f"#side-{side} [role=gridcell][tabindex='0']").count() == 1
        names = page.locator(f"#side-{side} [role=gridcell]").evaluate_all("all => all.map(c => c.ariaLabel)")
        assert len(set(names)) == 16


def test_the_slider_says_how_many_pairs(opened, html):
    page = opened(html)
    assert page.locator("#pairs li:visible").count() == 4
    assert page.locator("#side-a .number:visible").count() == 4
    page.locator("#shown").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#pairs li:visible").count() == 5
    assert page.locator("#side-b .number:visible").count() == 5
    assert page.inner_text("#count") == "5"
    page.keyboard.press("Home")
    assert page.locator("#pairs li:visible").count() == 0


def test_a_pair_of_the_list_lights_up_in_both(opened, html, match):
    page = opened(html)
    page.locator("#pairs li").nth(1).focus()
    pair = match.parts(2)[1]
    for side, cell in (("a", pair.a), ("b", pair.b)):
        opacity = page.locator(f"#side-{side} .veil").evaluate_all("all => all.map(v => Number(v.style.fillOpacity))")
        assert [i for i, each in enumerate(opacity) if each == 0] == [cell[0] * 4 + cell[1]]
    assert page.inner_text("#said").startswith("Pair 2: A, row")


def test_heat_shows_what_each_part_brings(opened, html, match):
    page = opened(html)
    page.check("#heat")
    shown = [float(text.replace("\N{MINUS SIGN}", "-")) for text in labels(page, "a")]
    assert shown == pytest.approx(match.contributions[0].sum(1).tolist(), abs=6e-4)


def veils(page, side):
    opacities = page.locator(f"#side-{side} .veil").evaluate_all("all => all.map(v => Number(v.style.fillOpacity))")
    return [i for i, each in enumerate(opacities) if each == 0]


def test_regions_show_until_the_fold_is_opened(opened, folded, match):
    page = opened(folded)
    named = match.regions().named
    assert page.locator("#side-a path.region:visible").count() == len(named)
    assert page.locator("#regions li:visible").count() == len(named)
    assert not page.locator("#pairs").is_visible()
    page.locator("#side-a .cell").nth(6).hover()
    assert page.locator("#side-a path.region:visible").count() == 0
    page.mouse.move(2, 2)
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#side-a .mark")
    assert page.locator("#side-a path.region:visible").count() == 0
    assert page.locator("#pairs li:visible").count() == 6
    page.keyboard.press("Enter")
    page.wait_for_selector("#side-a path.region")
    assert page.locator("#side-a .mark").count() == 0


def test_a_region_of_the_list_lights_up_in_both(opened, folded, match):
    page = opened(folded)
    page.locator("#regions li").first.focus()
    pair = match.regions().named[0]
    for side, cells in (("a", pair.a_cells), ("b", pair.b_cells)):
        assert veils(page, side) == [row * 4 + column for row, column in cells]
    assert page.inner_text("#said").startswith("Region 1, ")
    page.keyboard.press("Escape")
    assert len(veils(page, "a")) == 16


@pytest.mark.parametrize("width", [360, 1100])
def test_numbers_are_centred_on_their_discs(opened, folded, width):
    page = opened(folded, viewport={"width": width, "height": 800})
    offsets = page.locator("g.disc, svg.badge").evaluate_all("""all => all.filter(e => e.checkVisibility()).map(e => {
        const [c, t] = ["circle", "text"].map(kind => e.querySelector(kind).getBoundingClientRect());
        return [t.x + t.width / 2 - c.x - c.width / 2, t.y + t.height / 2 - c.y - c.height / 2, c.height];
    })""")
    assert offsets
    for across, down, height in offsets:
        assert abs(across) < 0.06 * height
        assert abs(down) < 0.12 * height  # the box of a text is that of its font, not of its digits
        assert height > 12


def test_a_narrow_dark_screen(opened, html):
    page = opened(html, viewport={"width": 360, "height": 740}, color_scheme="dark", has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 22)"
    assert page.locator("#side-a").bounding_box()["y"] < page.locator("#side-b").bounding_box()["y"]
    page.locator("#side-a .cell").nth(5).tap()
    assert labels(page, "b")
    size = page.locator("#side-b .label").first.evaluate("e => e.getBoundingClientRect().height")
    assert size >= 10


def test_without_scripts_the_lists_are_complete(opened, folded, match):
    page = opened(folded, java_script_enabled=False)
    assert page.locator("#regions li:visible").count() == len(match.regions().named)
    assert page.locator("#side-b path.region:visible").count() == len(match.regions().named)
    page.locator("summary").click()
    assert page.locator("#pairs li:visible").count() == 64
    assert not page.locator("#controls").is_visible()
    assert "Without scripts" in page.inner_text("noscript")


def test_cells_that_were_not_chosen_say_so(opened, match, image_a, image_b):
    weights = torch.zeros(1, 16)
    weights[0, 5] = 1
    page = opened(match_page(find_part(match.maps_a, match.maps_b, weights), image_a, image_b))
    assert page.locator("#side-a .chosen").count() == 1
    page.locator("#side-a .cell").nth(0).focus()
    assert "not among the chosen parts" in page.inner_text("#said")
    assert labels(page, "b") == []
    page.locator("#side-a .cell").nth(5).focus()
    assert re.search(r"\d %", " ".join(labels(page, "b")))
