"""Menus of the index's own columns, SQL, pages of hits, and marks that are exported."""

import csv
import io
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.service.page.names import FORMULA
from tests.service.page.reading import assert_hits


@pytest.fixture
def banana(id_of):
    return id_of(FORMULA)


@pytest.fixture
def searched(visit, banana):
    visitor = visit()
    visitor.expected = ("status of 422", "status of 400")
    return visitor.go(f"#index=photos&id={banana}")


def ready(page):
    expect(page.locator("#status")).to_contain_text("hits in")


def test_menus_are_made_of_the_columns(searched, index, banana):
    menus = searched.locator("#menus details")
    assert menus.evaluate_all("all => all.map(e => e.dataset.column)") == ["label", "designer", "wing span"]
    menus.nth(1).locator("summary").click()
    values = menus.nth(1).locator("li")
    assert [text.split() for text in values.all_inner_texts()] == [
        ["noto", "9"],
        ["twemoji", "9"],
        ["fluent-emoji-flat", "5"],
        ["openmoji", "5"],
    ]
    values.nth(0).locator("input").check()
    expect(menus.nth(1).locator(".state")).to_have_text("noto")
    values.nth(3).locator("input").check()
    expect(menus.nth(1).locator(".state")).to_have_text("2 values")
    menus.nth(2).locator("summary").click()
    menus.nth(2).locator("li", has_text="it's narrow").locator("input").check()
    expect(menus.nth(2).locator(".state")).to_have_text("it's narrow")
    ready(searched)
    where = "designer IN ('noto', 'openmoji') AND `wing span` = 'it''s narrow'"
    expected = index.search(index.maps(banana), k=12, where=where)
    assert 0 < len(expected) < 12
    expect(searched.locator("#hits > li")).to_have_count(len(expected))
    assert_hits(searched, expected)
    searched.click("#clear-filter")
    expect(searched.locator("#hits > li")).to_have_count(12)
    expect(menus.nth(1).locator(".state")).to_have_text("any")


def test_a_condition_in_sql(searched, index, banana):
    searched.locator("#sql summary").click()
    searched.fill("#where", "label = 'tulip' OR label = 'pear'")
    searched.keyboard.press("Enter")
    expect(searched.locator("#hits > li")).to_have_count(8)
    assert_hits(searched, index.search(index.maps(banana), k=12, where="label = 'tulip' OR label = 'pear'"))
    searched.fill("#where", "colour = 'red'")
    searched.keyboard.press("Enter")
    expect(searched.locator("#problem-text")).to_contain_text("colour")
    searched.fill("#where", "label = 'nothing of the kind'")
    searched.keyboard.press("Enter")
    expect(searched.locator("#status")).to_have_text("Nothing was found with this filter. Clear it to see hits.")
    expect(searched.locator("#problem")).to_be_hidden()


def test_the_filter_is_also_of_the_collection(visit):
    page = visit().go()
    page.locator("#menus summary").first.click()
    page.locator("#menus li", has_text="pear").locator("input").check()
    expect(page.locator("#browse img")).to_have_count(4)
    expect(page.locator("#status")).to_have_text("4\N{NO-BREAK SPACE}images with this filter.")


def test_hits_are_paged(searched, index, banana):
    result = index.search(index.maps(banana), k=28)
    expect(searched.locator("#previous")).to_be_disabled()
    for page_number, (start, end) in enumerate([(12, 24), (24, 28)], start=2):
        searched.click("#next")
        expect(searched.locator("#page-number")).to_have_text(f"Hits {start + 1} to {end}")
        assert_hits(searched, result.hits[start:end])
        assert f"page={page_number}" in searched.url
        expect(searched.locator("#hits > li").first.locator("path.region").first).to_be_visible()
    expect(searched.locator("#next")).to_be_disabled()
    searched.select_option("#per-page", "24")
    expect(searched.locator("#hits > li")).to_have_count(24)
    assert "page=" not in searched.url


def test_marks_are_exported_without_formulas(searched, index, banana):
    hits = index.search(index.maps(banana), k=12)
    searched.locator("#hits .right").nth(0).click()
    searched.locator("#hits .wrong").nth(1).click()
    searched.locator("#hits .wrong").nth(2).click()
    searched.locator("#hits .wrong").nth(2).click()
    assert searched.locator("#hits .right").nth(0).get_attribute("aria-pressed") == "true"
    expect(searched.locator("#verdicts-count")).to_have_text("1\N{NO-BREAK SPACE}hit right, 1 wrong.")
    searched.reload()
    expect(searched.locator("#hits .wrong[aria-pressed=true]")).to_have_count(1)
    with searched.expect_download() as waiting:
        searched.click("#export")
    raw = Path(waiting.value.path()).read_bytes().decode("utf-8")
    assert raw.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(raw[1:])))
    assert [(row["id"], row["verdict"], int(row["rank"])) for row in rows] == [
        (hits[0].id, "right", 1),
        (hits[1].id, "wrong", 2),
    ]
    assert rows[0]["path"] == rows[0]["query"] == "'" + FORMULA
    assert float(rows[1]["similarity"]) == pytest.approx(hits[1].similarity, abs=1e-9)
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    searched.click("#clear-verdicts")
    expect(searched.locator("#verdicts")).to_be_hidden()
    expect(searched.locator("#hits [aria-pressed=true]")).to_have_count(0)
