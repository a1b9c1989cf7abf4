"""Every limit of the service can be set, and is kept; and every route is described with an example."""

from __future__ import annotations

import io

import pytest
from PIL import Image

SEARCH = "/v1/indexes/emoji/search"


@pytest.fixture(scope="module")
def narrow(serve, emoji_index):
    limits = {"upload_bytes": 50_000, "parts": 4, "k": 5, "shortlist": 20, "regions": 1, "filter_length": 30}
    return serve(emoji_index, **limits, shortlist_all=False, pixels=40_000, decoders=1)


@pytest.fixture
def id(library):
    return library.entries(limit=1)[0].id


def test_limits_are_stated(narrow):
    limits = narrow.get("/v1/indexes").json()["limits"]
    assert (limits["k"], limits["shortlist"], limits["regions"], limits["parts"]) == (5, 20, 1, 4)
    assert (limits["upload_bytes"], limits["pixels"], limits["filter_length"]) == (50_000, 40_000, 30)
    assert limits["shortlist_all"] is False


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"k": 6}, "expected k from 1 to 5, got 6"),
        ({"k": 5, "explain": 6}, "expected explain from 0 to 5, got 6"),
        ({"k": 5, "shortlist": "21"}, "expected shortlist from 0 to 20, got 21"),
        ({"k": 5, "shortlist": "all"}, "expected a shortlist up to 20"),
        ({"k": 5, "shortlist": "5", "region": ["0,0,9,9"] * 2}, "the form cannot be read"),
        ({"k": 5, "region": ["0,0,9,9"] * 2}, "expected the number of regions from 0 to 1, got 2"),
        ({"k": 5, "where": "label = '" + "x" * 30 + "'"}, "the condition has 40 characters; expected at most 30"),
    ],
    ids=str,
)
def test_fields(narrow, id, fields, sentence):
    files = {"mask": ("m.png", b"x")} if "region" in fields and "shortlist" in fields else None
    answer = narrow.post(SEARCH, data={"id": id, "shortlist": "20", **fields}, files=files)
    assert answer.status_code == (400 if files else 422)
    assert sentence in answer.json()["detail"]


def test_default_settings_within_the_limits_are_answered(narrow, id):
    assert narrow.post(SEARCH, data={"id": id}).status_code == 200
    assert len(narrow.post(SEARCH, data={"id": id}).json()["hits"]) == 5


def test_bytes_of_an_upload(narrow):
    answer = narrow.post(SEARCH, files={"image": ("a.png", bytes(60_000))})
    assert answer.status_code == 413
    assert "larger than the 50,000 bytes" in answer.json()["detail"]


def test_parts_of_a_form(narrow):
    answer = narrow.post("/v1/embed", files=[("image", (f"{i}.png", b"x")) for i in range(5)])
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("the form cannot be read: ")


def test_pixels_also_of_masks(narrow, emoji):
    image = next(emoji.glob("*/noto.png")).read_bytes()
    mask = io.BytesIO()
    Image.new("L", (300, 200)).save(mask, "PNG")
    answer = narrow.post(SEARCH, files={"image": ("a.png", image), "mask": ("m.png", mask.getvalue())}, data={"k": 5})
    assert answer.status_code == 422
    assert "m.png: has 300 x 200 pixels, more than the 40,000" in answer.json()["detail"]


def test_a_form_that_is_no_form(narrow):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = narrow.post(SEARCH, content=b"--y\r\n", headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_text_in_place_of_a_file(client):
    answer = client.post(SEARCH, data={"image": "cat.png"})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "image: expected a file, got text; send it as a file of the form"


def test_files_are_described_as_files_also_where_they_may_be_left_out(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    forms = [schema["properties"] for name, schema in schemas.items() if name.startswith("Body_")]
    files = [form[name] for form in forms for name in ("image", "mask", "a", "b", "rather_than") if name in form]
    assert len(files) == 8
    assert all((field.get("items") or field)["format"] == "binary" for field in files)


def test_every_route_is_described_with_an_example(client):
    description = client.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert "application/problem+json" in operation["responses"]["default"]["content"], (method, path)
            answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            contents = [kind for answer in answers for kind in answer["content"].values()]
            assert any("example" in kind or "binary" in str(kind) for kind in contents), (method, path)


def test_unknown_places_and_methods(client):
    assert client.get("/v1/nothing").json()["detail"].startswith("there is nothing at /v1/nothing")
    assert client.put("/v1/indexes").json()["detail"].startswith("/v1/indexes does not answer PUT")
    assert client.get("/page/../settings.py").status_code == 404
    assert client.get("/page/%2e%2e/settings.py").status_code == 404
    assert client.get("/page/nothing.js").json()["detail"].startswith("the page has no file 'nothing.js'")
