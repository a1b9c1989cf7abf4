"""A service that is busy, not ready, locked, gone, or refuses the image: the page says so, and what to do."""

import json

import pytest
from playwright.sync_api import expect

from tests.service.page.names import SAMPLE

CHELSEA = SAMPLE / "photos" / "chelsea.jpg"


def problem(status, detail, **headers):
    body = {"type": "about:blank", "title": "", "status": status, "detail": detail, "request_id": "1"}
    return {"status": status, "headers": headers, "content_type": "application/problem+json", "body": json.dumps(body)}


@pytest.fixture
def failing(visit):
    """A page whose next searches fail with the given answers, one by one."""
    visitor = visit()
    visitor.expected = ("Failed to load resource",)
    answers, page = [], visitor.go()

    def answer(route):
        if not answers:
            return route.continue_()
        given = answers.pop(0)
        return route.abort("connectionrefused") if given is None else route.fulfill(**given)

    page.route("**/search", answer)

    def fail(*given):
        answers.extend(given)
        page.set_input_files("#file", CHELSEA)
        return page

    return fail


def test_a_busy_service_is_waited_for(failing):
    page = failing(problem(429, "the queue is full", **{"retry-after": "2"}))
    expect(page.locator("#status")).to_have_text("The service is busy; trying again in 2 s.")
    assert page.locator("section.results").get_attribute("aria-busy") == "true"
    expect(page.locator("#status")).to_have_text("The service is busy; trying again in 1 s.")
    expect(page.locator("#hits > li")).to_have_count(12)


@pytest.mark.long  # test_a_busy_service_is_waited_for is much the same
def test_an_index_that_is_not_ready_is_waited_for(failing):
    page = failing(problem(503, "the index photos cannot be used now: it was moved", **{"retry-after": "1"}))
    expect(page.locator("#status")).to_have_text(
        "the index photos cannot be used now: it was moved; trying again in 1 s."
    )
    expect(page.locator("#hits > li")).to_have_count(12)


def test_a_service_that_is_gone(failing):
    page = failing(None)
    expect(page.locator("#problem-text")).to_contain_text("The service does not answer")
    page.click("#again")
    expect(page.locator("#hits > li")).to_have_count(12)
    expect(page.locator("#problem")).to_be_hidden()


def test_this_device_is_offline(visit):
    visitor = visit()
    visitor.expected = ("Failed to load resource",)
    page = visitor.go()
    visitor.context.set_offline(True)
    page.set_input_files("#file", CHELSEA)
    expect(page.locator("#problem-text")).to_contain_text("This device is offline")
    visitor.context.set_offline(False)
    expect(page.locator("#hits > li")).to_have_count(12)


def test_an_error_without_a_document(failing):
    page = failing({"status": 502, "body": "<html>Bad gateway</html>"})
    expect(page.locator("#problem-text")).to_contain_text("The service answered 502")


def test_an_upload_that_is_no_image(visit):
    visitor = visit(viewport={"width": 360, "height": 800})
    visitor.expected = ("Failed to load resource",)
    page = visitor.go()
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        name = f"broken-{width}.png"
        page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": b"not a picture"})
        expect(page.locator("#problem-text")).to_contain_text(name)
        expect(page.locator("#problem")).to_be_in_viewport()
        # The page can go on.
        page.set_input_files("#file", CHELSEA)
        expect(page.locator("#hits > li")).to_have_count(12)
        expect(page.locator("#problem")).to_be_hidden()


def test_an_upload_that_is_too_large_is_not_sent(visit, tmp_path):
    large = tmp_path / "huge.png"
    with large.open("wb") as file:
        file.truncate(20_000_001)
    page = visit().go()
    page.set_input_files("#file", large)
    expect(page.locator("#problem-text")).to_contain_text("“huge.png” has 20.0 MB; the service takes up to 20.0 MB")


def test_a_format_that_the_browser_cannot_show(visit, tmp_path):
    import PIL.Image

    PIL.Image.open(CHELSEA).save(tmp_path / "photo.tif")
    page = visit().go()
    page.set_input_files("#file", tmp_path / "photo.tif")
    expect(page.locator("#hits > li")).to_have_count(12)
    expect(page.locator("#query .none")).to_have_text("no preview in this browser")
    expect(page.locator("#query .cell")).to_have_count(16)
    assert page.locator("#query .edge").bounding_box()["width"] > page.locator("#query .edge").bounding_box()["height"]


def test_a_new_search_ends_the_one_before(visit, id_of):
    visitor = visit()
    page, sent = visitor.go(), []
    page.route("**/search", lambda route: sent.append(route) if not sent else route.continue_())
    page.set_input_files("#file", CHELSEA)
    expect(page.locator("#status")).to_have_text("Searching …")
    expect.set_options(timeout=5000)
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/search")):
        page.set_input_files("#file", SAMPLE / "photos" / "coffee.jpg")
    expect(page.locator("#hits > li")).to_have_count(12)
    expect(page.locator("#results-title")).to_have_text("Images like coffee.jpg")


def test_a_slow_search_says_that_it_goes_on(visit):
    page = visit().go()
    waiting = []

    def hold(route):
        waiting.append(route)

    page.route("**/search", hold)
    page.clock.install()
    page.set_input_files("#file", CHELSEA)
    expect(page.locator("#status")).to_have_text("Searching …")
    page.clock.fast_forward(4000)
    expect(page.locator("#status")).to_contain_text("Still searching")
    waiting[0].continue_()
    expect(page.locator("#hits > li")).to_have_count(12)
