"""One hit: the account with its sums, why it rather than another, and both as files."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

import diml
from diml.explanation import PairExplanation


@pytest.fixture
def cat(id_of):
    return id_of("猫二.png")


@pytest.fixture
def hits(index, cat):
    return index.search(index.maps(cat), k=12)


@pytest.fixture
def opened(visit, cat):
    page = visit().go(f"#index=photos&id={cat}")
    page.locator("#hits .open").nth(1).click()
    expect(page.locator("#hit .sums")).to_be_visible()
    return page


def numbers(row):
    return [
        float(text.replace("\N{MINUS SIGN}", "-"))
        for text in row.locator("td").all_inner_texts()
        if re.fullmatch(r"[+\N{MINUS SIGN}]?\d+\.\d+", text)
    ]


def test_the_sums_are_complete(opened, hits):
    document = PairExplanation(hits[1].match).to_dict()
    rows = opened.locator("#hit .sums tbody tr").all()
    assert [numbers(row)[0] for row in rows] == pytest.approx(
        [group["contribution"] for group in document["regions"]], abs=6e-4
    )
    total = numbers(opened.locator("#hit .sums tfoot tr"))[0]
    assert total == pytest.approx(document["similarity"], abs=6e-4)
    assert sum(numbers(row)[0] for row in rows) == pytest.approx(total, abs=5e-4 * (len(rows) + 1))
    assert opened.inner_text("#hit .score strong") == f"{document['similarity']:.3f}"
    assert "1 means identical" in opened.inner_text("#hit-content")
    assert f"hit={hits[1].id}" in opened.url


def test_both_images_light_up_each_other(opened, hits):
    sides = opened.locator("#hit figure")
    sides.nth(1).locator(".cell").nth(6).hover()
    expect(sides.nth(0).locator("rect.veil")).to_have_count(16)
    contributes = float(hits[1].match.contributions[0, :, 6].sum())
    said = opened.locator("#hit .said").inner_text().replace("\N{MINUS SIGN}", "-")
    assert said.startswith("The hit, row 2, column 3, contributes ")
    assert float(re.search(r"contributes ([+-]?\d\.\d+)", said)[1]) == pytest.approx(contributes, abs=6e-4)
    opened.locator("#hit .sums button").first.focus()
    expect(sides.nth(0).locator("path.veil")).to_have_count(1)
    expect(sides.nth(1).locator("path.veil")).to_have_count(1)
    opened.locator("#hit summary").press("Enter")
    assert opened.locator("#hit details tbody tr:visible").count() == 10


def test_why_this_rather_than_that(opened, index, cat, hits):
    opened.select_option("#rather", hits[4].id)
    expect(opened.locator("#hit .three figure")).to_have_count(3)
    contrast = diml.explain_contrast(index.model, index.maps(cat), index.maps(hits[1].id), index.maps(hits[4].id))
    last = numbers(opened.locator("#hit .against tfoot tr"))
    assert last == pytest.approx([contrast.similarity_a, contrast.similarity_b, contrast.difference], abs=6e-4)
    rows = [numbers(row) for row in opened.locator("#hit .against tbody tr").all()]
    for column in range(3):
        assert sum(row[column] for row in rows) == pytest.approx(last[column], abs=5e-4 * (len(rows) + 1))
    assert f"rather={hits[4].id}" in opened.url
    opened.go_back()
    expect(opened.locator("#hit .three")).to_have_count(0)
    expect(opened.locator("#rather")).to_have_value("")


def test_the_account_can_be_taken_away(opened, hits):
    for kind, start in [("PNG", b"\x89PNG"), ("HTML", b"<!DOCTYPE html>"), ("JSON", b"{")]:
        with opened.expect_download() as waiting:
            opened.click(f"[aria-label='Take this account away as {kind}']")
        content = Path(waiting.value.path()).read_bytes()
        assert content.startswith(start)
        assert waiting.value.suggested_filename.endswith("." + kind.lower())
    assert json.loads(content)["similarity"] == pytest.approx(hits[1].similarity, abs=1e-9)


def test_the_comparison_can_be_taken_away(opened, hits):
    opened.select_option("#rather", hits[2].id)
    expect(opened.locator("#hit .three figure")).to_have_count(3)
    with opened.expect_download() as waiting:
        opened.click("[aria-label='Take this comparison away as JSON']")
    document = json.loads(Path(waiting.value.path()).read_bytes())
    assert document["difference"] == pytest.approx(hits[1].similarity - hits[2].similarity, abs=1e-6)
    with opened.expect_download() as waiting:
        opened.click("[aria-label='Take this comparison away as PNG']")
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")


def test_focus_goes_into_the_dialog_and_back(opened):
    expect(opened.locator("#hit-title")).to_be_focused()
    opened.keyboard.press("Escape")
    expect(opened.locator("#hit")).to_be_hidden()
    expect(opened.locator("#hits .open").nth(1)).to_be_focused()
    expect(opened).not_to_have_url(re.compile("hit="))


def test_a_hit_of_a_part(visit, cat):
    page = visit().go(f"#index=photos&id={cat}&region=20,20,70,70")
    page.locator("#hits .open").first.click()
    expect(page.locator("#hit .sums")).to_be_visible()
    assert "Only the chosen parts of the query count" in page.inner_text("#hit-content")
    expect(page.locator("#hit figure .chosen")).to_have_count(1)
