"""For everyone: by keyboard alone, on a narrow screen, dark and light, with large text, with names in any script."""

from importlib import resources

import pytest
from playwright.sync_api import expect

from tests.service.page.names import ARABIC, CJK, LONG, MARKUP

# Elements whose text is cut off or wider than what holds it.
CUT = """() => [...document.querySelectorAll("body *")].filter((e) => {
    if (!e.checkVisibility() || e.closest("svg, .skip, .scroll, select") || !e.textContent.trim()) return false;
    const style = getComputedStyle(e), hides = style.overflowX !== "visible" || style.overflowY === "hidden";
    const beyond = e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
    return beyond || (hides && e.scrollWidth > e.clientWidth + 1);
}).map((e) => e.tagName + "#" + e.id + "." + e.className)"""
# Controls, headings and pictures that lie over each other.
OVERLAPS = """() => {
    const shown = "button, h1, h2, select, input, summary, .hits > li > p, .hits > li > svg", found = [];
    const all = [...document.querySelectorAll(shown)].filter((e) => e.checkVisibility() && !e.closest("dialog"));
    const boxes = all.map((e) => e.getBoundingClientRect());
    const shared = (low, high) => (a, b) => Math.min(a[high], b[high]) - Math.max(a[low], b[low]);
    const across = shared("left", "right"), down = shared("top", "bottom");
    all.forEach((p, i) => all.forEach((q, k) => {
        if (k <= i || p.contains(q) || q.contains(p)) return;
        if (across(boxes[i], boxes[k]) > 1 && down(boxes[i], boxes[k]) > 1) found.push([p.outerHTML, q.outerHTML]);
    }));
    return found;
}"""


@pytest.fixture
def cat(id_of):
    return id_of(CJK)


@pytest.fixture(scope="session")
def axe():
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def findings(page, axe):
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [
        (each["id"], each["impact"], [node["html"][:120] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), pytest.param(1280, "light", marks=pytest.mark.long)])
def test_axe_has_no_serious_findings(visit, axe, cat, width, scheme):
    visitor = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = visitor.go()
    assert findings(page, axe) == []
    page.goto(visitor.address + f"#index=photos&id={cat}&region=20,20,70,70")
    expect(page.locator("#query .cell")).to_have_count(16)
    page.locator("#boxes summary").click()
    if page.locator("#filter").get_attribute("open") is None:
        page.locator("#filter > summary").click()
    page.locator("#menus summary").first.click()
    page.locator("#hits .right").first.click()
    assert findings(page, axe) == []
    page.locator("#hits .open").nth(1).click()
    expect(page.locator("#hit .sums")).to_be_visible()
    page.select_option("#rather", index=2)
    expect(page.locator("#hit .three figure")).to_have_count(3)
    assert findings(page, axe) == []


@pytest.mark.parametrize("width", [360, pytest.param(1280, marks=pytest.mark.long)])
def test_nothing_is_cut_off_or_lies_over_something(visit, cat, width):
    visitor = visit(viewport={"width": width, "height": 800})
    page = visitor.go()
    for view in ("", f"#index=photos&id={cat}"):
        page.goto(visitor.address + view)
        page.locator("#hits > li, #browse img").first.wait_for()
        for text in (100, 200):
            enlarge(page, text)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(CUT) == []
            assert page.evaluate(OVERLAPS) == []
    page.locator("#hits .open").nth(1).click()
    expect(page.locator("#hit .sums")).to_be_visible()
    page.select_option("#rather", index=2)
    expect(page.locator("#hit .three figure")).to_have_count(3)
    for text in (100, 200):
        enlarge(page, text)
        assert page.locator("#hit").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
        assert page.evaluate(CUT) == []


def enlarge(page, text):
    page.evaluate("text => { document.documentElement.style.fontSize = text + '%'; }", text)


def test_names_in_any_script(visit, cat):
    page = visit(viewport={"width": 360, "height": 740}).go(f"#index=photos&id={cat}&k=48")
    expect(page.locator("#hits > li")).to_have_count(28)
    paths = page.locator("#hits .path bdi").all_text_contents()
    for name in (CJK, ARABIC, LONG, MARKUP):
        assert any(path.endswith(name) for path in paths)
    # Its own direction: what is around it stays where it is.
    arabic = page.locator("#hits .path bdi", has_text=ARABIC)
    assert arabic.evaluate("e => getComputedStyle(e).unicodeBidi") == "isolate"
    assert page.locator("b", has_text="tomato").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_all_of_it_by_keyboard(visit):
    page = visit().go()
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#results-title")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#browse') !== null")
    page.keyboard.press("Enter")
    expect(page.locator("#results-title")).to_be_focused()
    expect(page.locator("#hits > li")).to_have_count(12)
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.locator("#hits .open").first).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#hit .sums")).to_be_visible()
    # Focus stays in the dialog.
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('#hit') !== null"
        )
    page.keyboard.press("Escape")
    expect(page.locator("#hits .open").first).to_be_focused()


def test_what_happens_is_announced(visit, cat):
    page = visit().go(f"#index=photos&id={cat}")
    assert page.get_attribute("#status", "role") == "status"
    assert page.get_attribute("#problem", "role") == "alert"
    assert page.get_attribute("#said", "aria-live") == "polite"
    expect(page.locator("section.results")).not_to_have_attribute("aria-busy", "true")


def test_reduced_motion(visit):
    page = visit(reduced_motion="reduce").go()
    assert page.locator("#browse button").first.evaluate("e => getComputedStyle(e).transitionDuration") == "0s"
