"""A link reproduces the view; back and forward go through the views."""

from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.service.page.names import SAMPLE
from tests.service.page.reading import assert_hits


@pytest.fixture
def pear(id_of):
    return id_of("1f350-pear-noto.png")


def test_a_link_reproduces_the_view(visit, index, pear):
    where, region = "designer = 'noto' OR designer = 'twemoji'", (10.0, 10.0, 80.0, 90.0)
    result = index.search(index.maps(pear), k=24, where=where, regions=[region])
    hit = f"page=2&hit={result[13].id}&rather={result[15].id}"
    page = visit().go(f"#index=photos&id={pear}&region=10,10,80,90&where={quote(where)}&{hit}")
    expect(page.locator("#hit .three figure")).to_have_count(3)
    expect(page.locator("#rather")).to_have_value(result[15].id)
    page.keyboard.press("Escape")
    expect(page.locator("#hit")).to_be_hidden()
    assert_hits(page, result.hits[12:24])
    expect(page.locator(f"#hits [data-id='{result[13].id}'] .open")).to_be_focused()
    expect(page.locator("#where")).to_have_value(where)
    expect(page.locator("#query .boxes .chosen")).to_have_count(1)


def test_back_and_forward(visit, pear):
    page = visit().go()
    page.locator(f"#browse [data-id='{pear}']").click()
    expect(page.locator("#hits > li")).to_have_count(12)
    page.click("#next")
    expect(page.locator("#page-number")).to_have_text("Hits 13 to 24")
    page.locator("#hits .open").first.click()
    expect(page.locator("#hit .sums")).to_be_visible()
    page.go_back()
    expect(page.locator("#hit")).to_be_hidden()
    page.go_back()
    expect(page.locator("#page-number")).to_have_text("Hits 1 to 12")
    page.go_back()
    expect(page.locator("#browse img")).to_have_count(28)
    expect(page.locator("#hits > li")).to_have_count(0)
    page.go_forward()
    expect(page.locator("#page-number")).to_have_text("Hits 1 to 12")


def test_back_to_an_image_of_this_device(visit, pear):
    page = visit().go(f"#index=photos&id={pear}")
    page.set_input_files("#file", SAMPLE / "photos" / "coffee.jpg")
    expect(page.locator("#results-title")).to_have_text("Images like coffee.jpg")
    page.go_back()
    expect(page.locator("#results-title")).to_have_text("Images like 1f350-pear-noto.png")
    page.go_forward()
    expect(page.locator("#results-title")).to_have_text("Images like coffee.jpg")
    expect(page.locator("#hits > li")).to_have_count(12)
    page.reload()
    expect(page.locator("#problem-text")).to_contain_text("Choose the image again")


@pytest.mark.parametrize(
    ("view", "said"),
    [("#index=cats", "There is no index “cats” here"), ("#index=photos&id=0123456789abcdef", "0123456789abcdef")],
)
def test_a_link_to_nothing(visit, view, said):
    visitor = visit()
    visitor.expected = ("Failed to load resource",)
    visitor.page.goto(visitor.address + view)
    expect(visitor.page.locator("#problem-text")).to_contain_text(said)
