"""Hits for an image that is chosen, dropped, pasted, photographed or clicked, with regions that make them similar."""

import base64
import re

import pytest
from playwright.sync_api import expect

from diml.explanation import PairExplanation
from tests.service.page.names import NAMES, SAMPLE
from tests.service.page.reading import assert_hits

CHELSEA = SAMPLE / "photos" / "chelsea.jpg"
# Gives the page a file by an event, as a person does who drops or pastes one.
GIVE = """(element, [kind, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0)), files = new DataTransfer();
    files.items.add(new File([bytes], name, { type: name.endsWith("txt") ? "text/plain" : "image/jpeg" }));
    const settings = { bubbles: true, cancelable: true };
    element.dispatchEvent(kind === "paste" ? new ClipboardEvent(kind, { ...settings, clipboardData: files })
                                           : new DragEvent(kind, { ...settings, dataTransfer: files }));
}"""


def test_a_chosen_file_gives_the_hits_of_the_library(visit, index):
    page = visit().go()
    page.set_input_files("#file", CHELSEA)
    expect(page.locator("#hits > li")).to_have_count(12)
    assert_hits(page, index.search(CHELSEA, k=12))
    assert re.fullmatch(r"12\shits in \d\.\d+ s\.", page.inner_text("#status"))
    assert "1 means identical" in page.inner_text("#scale")
    assert page.inner_text("#query-name") == "chelsea.jpg"


def test_an_image_may_be_dropped_or_pasted(visit):
    page = visit().go()
    data = base64.b64encode(CHELSEA.read_bytes()).decode()
    for kind in ("drop", "paste"):
        page.locator("body").evaluate(GIVE, [kind, f"{kind}.txt", data])
        expect(page.locator("#problem-text")).to_contain_text(f"“{kind}.txt” is not an image")
        page.locator("body").evaluate(GIVE, [kind, f"{kind}.jpg", data])
        expect(page.locator("#results-title")).to_have_text(f"Images like {kind}.jpg")
        expect(page.locator("#status")).to_contain_text("hits in")
        expect(page.locator("#hits > li")).to_have_count(12)
        expect(page.locator("#problem")).to_be_hidden()


def test_a_telephone_takes_a_photograph(visit):
    page = visit(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800}).go()
    expect(page.locator("#photograph")).to_be_visible()
    assert page.get_attribute("#camera", "capture") == "environment"
    page.set_input_files("#camera", CHELSEA)
    expect(page.locator("#hits > li")).to_have_count(12)
    # The hits, not the query above them, are what shows.
    assert page.locator("#results-title").bounding_box()["y"] < 100


def test_an_image_of_the_collection_is_a_query(visit, index, id_of):
    page = visit().go()
    expect(page.locator("#browse img")).to_have_count(28)
    page.locator("#browse button", has_text="tomato 2.png").click()
    expect(page.locator("#hits > li")).to_have_count(12)
    wanted = id_of("tomato 2.png")
    assert_hits(page, index.search(index.maps(wanted), k=12))
    assert f"id={wanted}" in page.url
    # The button that was pressed is gone; what it led to has the focus.
    expect(page.locator("#results-title")).to_be_focused()
    page.locator("#hits .like").nth(1).click()
    expect(page.locator("#results-title")).not_to_have_text("Images like tomato 2.png")


def test_regions_have_the_same_colours_in_query_and_hit(visit, index, id_of):
    wanted = id_of(NAMES["1f408-cat/twemoji"])
    page = visit().go(f"#index=photos&id={wanted}")
    for card, hit in zip(page.locator("#hits > li").all(), index.search(index.maps(wanted), k=12), strict=True):
        named = hit.match.regions().named
        groups = card.locator("g.regions")
        sides = [
            groups.nth(k).locator("path.region").evaluate_all("all => all.map(e => e.getAttribute('stroke'))")
            for k in (0, 1)
        ]
        assert sides[0] == sides[1]
        assert len(set(sides[0])) == len(named) > 0
        shares = card.locator(".shares > .share").all_inner_texts()
        assert len(shares) == len(named)
        total = PairExplanation(hit.match).similarity
        for k, (text, pair) in enumerate(zip(shares, named, strict=True), start=1):
            number, share = re.fullmatch(r"(\d)\s+([\d.]+)\s%", text.strip()).groups()
            assert int(number) == k
            assert float(share) == pytest.approx(100 * pair.contribution / total, abs=0.51)


def test_another_index_can_be_chosen(visit):
    page = visit().go()
    page.select_option("#index", "few")
    expect(page.locator("#browse img")).to_have_count(28)
    assert "index=few" in page.url


def test_pictures_are_revoked_when_they_are_gone(visit):
    visitor = visit()
    visitor.expected = ("ERR_FILE_NOT_FOUND",)
    page = visitor.go()
    expect(page.locator("#browse img")).to_have_count(28)
    address = page.locator("#browse img").first.get_attribute("src")
    assert address.startswith("blob:")
    page.locator("#browse button").first.click()
    expect(page.locator("#hits > li")).to_have_count(12)
    gone = page.evaluate(
        "address => { const i = new Image(); i.src = address; return i.decode().then(() => false, () => true); }",
        address,
    )
    assert gone


def changed(page, change):
    """The accounts of the searches that follow are changed on their way to the page."""

    def answer(route):
        response = route.fetch()
        document = response.json()
        for hit in document["hits"]:
            change(hit)
        route.fulfill(response=response, json=document)

    page.route("**/search", answer)


def test_without_regions_the_strongest_pairs_are_boxed(visit, id_of):
    def without_regions(hit):
        left = [group for group in hit["account"]["regions"] if group["kind"] != "region"]
        hit["account"]["regions"] = left

    visitor = visit()
    changed(visitor.page, without_regions)
    page = visitor.go(f"#index=photos&id={id_of('tomato 2.png')}")
    card = page.locator("#hits > li").nth(1)
    sides = [card.locator("g.regions").nth(k).locator(":scope > g > path.region") for k in (0, 1)]
    assert [side.count() for side in sides] == [4, 4]
    contributions = [each.strip() for each in card.locator(".shares > .share").all_inner_texts()]
    assert len(contributions) == 4
    assert all(re.fullmatch(r"\d\s+\+0\.\d+", text) for text in contributions)


def test_accounts_that_did_not_come_with_the_search_are_asked_for(visit, index, id_of):
    wanted = id_of("tomato 2.png")
    visitor = visit()
    changed(visitor.page, lambda hit: hit.pop("account", None))
    page = visitor.go(f"#index=photos&id={wanted}")
    regions = sum(len(hit.match.regions().named) for hit in index.search(index.maps(wanted), k=12))
    expect(page.locator("#hits g.regions path.region")).to_have_count(2 * regions)
    expect(page.locator("#query .cell")).to_have_count(16)
