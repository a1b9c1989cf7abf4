"""A service with a token: the page asks for it, and sends it in a header alone."""

from playwright.sync_api import expect


def test_a_token_is_asked_for_and_travels_in_a_header(visit, locked_service):
    address, token = locked_service
    visitor = visit(address)
    visitor.expected = ("status of 401",)
    page, asked = visitor.page, []
    page.on("request", lambda request: asked.append((request.url, request.headers.get("authorization"))))
    page.goto(address)
    expect(page.locator("#token")).to_be_visible()
    expect(page.locator("#token-field")).to_be_focused()
    page.fill("#token-field", "a wrong one")
    page.keyboard.press("Enter")
    expect(page.locator("#token-refused")).to_be_visible()
    page.fill("#token-field", token)
    page.keyboard.press("Enter")
    expect(page.locator("#browse img")).to_have_count(28)
    page.locator("#browse button").first.click()
    expect(page.locator("#hits > li")).to_have_count(12)
    assert not [url for url, _ in asked if "token" in url.split("/")[-1].replace("token.js", "") or token in url]
    last = [header for url, header in asked if "/v1/" in url][-20:]
    assert set(last) == {f"Bearer {token}"}
    page.reload()
    expect(page.locator("#hits > li")).to_have_count(12)
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_without_a_token_the_page_says_what_to_do(visit, locked_service):
    visitor = visit(locked_service[0])
    visitor.expected = ("status of 401",)
    visitor.page.goto(locked_service[0])
    visitor.page.click("#token-cancel")
    expect(visitor.page.locator("#problem-text")).to_contain_text("The service needs a token")
    visitor.page.click("#again")
    expect(visitor.page.locator("#token")).to_be_visible()


def test_with_one_index_there_is_nothing_to_choose(visit, locked_service):
    address, token = locked_service
    visitor = visit(address)
    visitor.expected = ("status of 401",)
    visitor.page.goto(address)
    visitor.page.fill("#token-field", token)
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator("#browse img")).to_have_count(28)
    expect(visitor.page.locator("#index")).to_be_hidden()
    expect(visitor.page.locator("#index-about")).to_contain_text("few: 28")
