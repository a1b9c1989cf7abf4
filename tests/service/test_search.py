"""Searching over HTTP gives the documents of the library: the same bits, or nearly those where images are batched."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diml.explanation import explain_contrast, explain_hit, explain_pair

SEARCH = "/v1/indexes/emoji/search"


def posted(client, file, **fields):
    fields.setdefault("k", 5)
    with open(file, "rb") as opened:
        answer = client.post(SEARCH, files={"image": (file.name, opened)}, data=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def files(emoji):
    return sorted(emoji.glob("*/noto.png"))


def test_an_upload_gives_the_bits_of_the_library(client, library, files):
    for file in files[:4]:
        expected = library.search(file, k=5).to_dict(index="emoji", query=file.name)
        assert posted(client, file) == expected


def test_an_image_of_the_index_gives_the_bits_of_its_stored_maps(client, library):
    for entry in library.entries(limit=3):
        expected = library.search(library.maps(entry.id), k=7, shortlist=20).to_dict(index="emoji", query=entry.path)
        answer = client.post(SEARCH, data={"id": entry.id, "k": 7, "shortlist": "20"})
        assert answer.json() == expected


@pytest.mark.parametrize(
    "fields", [{"shortlist": "all"}, {"shortlist": "0"}, {"where": "label LIKE '1f3%'"}, {"k": 1000}], ids=str
)
def test_settings_of_a_search(client, library, files, fields):
    given = {"k": 5, **fields}
    shortlist = given.pop("shortlist", 100)
    expected = library.search(files[0], shortlist=shortlist if shortlist == "all" else int(shortlist), **given)
    assert posted(client, files[0], **fields) == expected.to_dict(index="emoji", query="noto.png")


def test_regions_and_masks(client, library, files):
    regions = [((0.0, 0.0, 40.0, 40.0), 1.0), ((64.0, 64.0, 128.0, 128.0), 2.0)]
    expected = library.search(files[0], k=5, regions=regions).to_dict(index="emoji", query="noto.png")
    assert posted(client, files[0], region=["0,0,40,40", "64,64,128,128:2"]) == expected

    values = np.zeros((128, 128), np.uint8)
    values[:64] = 255
    mask = io.BytesIO()
    Image.fromarray(values).save(mask, "PNG")
    expected = library.search(files[0], k=5, mask=values).to_dict(index="emoji", query="noto.png")
    expected["part"]["mask"] = "half.png"
    sent = {"image": ("noto.png", files[0].read_bytes()), "mask": ("half.png", mask.getvalue())}
    assert client.post(SEARCH, files=sent, data={"k": 5}).json() == expected


def test_a_large_photograph_is_decoded_as_by_the_library(client, library, tmp_path):
    """At a part of its size, with regions and an account in pixels of the original."""
    photo = Path(__file__).parents[2] / "sample" / "photos" / "coffee.jpg"
    with Image.open(photo) as opened:
        opened.resize((1803, 1351)).save(tmp_path / "large.jpg")
    assert library.model.read(tmp_path / "large.jpg").size == (902, 676)
    expected = library.search(tmp_path / "large.jpg", k=5)
    assert posted(client, tmp_path / "large.jpg") == expected.to_dict(index="emoji", query="large.jpg")
    region = (1000.0, 700.0, 1803.0, 1351.0)
    expected = library.search(tmp_path / "large.jpg", k=3, regions=[(region, 1.0)])
    found = posted(client, tmp_path / "large.jpg", k=3, region="1000,700,1803,1351", explain=1)
    account = found["hits"][0].pop("account")
    assert found == expected.to_dict(index="emoji", query="large.jpg")
    assert account == {**explain_hit(expected, expected[0]).to_dict(), "a": "large.jpg"}
    ends = [each["a_box"][2:] for each in account["matches"]]
    assert [max(each) for each in zip(*ends, strict=True)] == [1803, 1351]
    with open(tmp_path / "large.jpg", "rb") as opened:
        sent = {"a": ("large.jpg", opened), "b": ("large.jpg", photo.read_bytes())}
        answer = client.post("/v1/explain", files=sent, headers={"accept": "text/html"})
    assert f'viewBox="0 0 1000.0 {1000 * 1351 / 1803:.1f}"' in answer.text


def test_accounts_of_the_first_hits(client, library, files):
    result = library.search(files[0], k=4)
    found = posted(client, files[0], k=4, explain=2)
    assert ["account" in hit for hit in found["hits"]] == [True, True, False, False]
    for hit, described in zip(result, found["hits"][:2], strict=False):
        expected = explain_hit(result, hit).to_dict()
        assert described["account"] == {**expected, "a": "noto.png"}
        account = described["account"]
        # The same sums; of one pair alone they may be added in another order.
        assert account["similarity"] == pytest.approx(described["similarity"], abs=1e-14)
        total = sum(each["contribution"] for each in account["matches"]) + account["residual"]
        assert total == pytest.approx(described["similarity"], abs=1e-12)


def test_concurrent_images_are_embedded_together_and_not_mixed_up(serve, emoji_index, library, emoji):
    client = serve(emoji_index, batch=16)
    files = sorted(emoji.glob("*/*.png"))[::3]
    expected = {file: library.search(file, k=5) for file in files}
    with ThreadPoolExecutor(16) as pool:
        found = dict(zip(files, pool.map(lambda file: posted(client, file), files), strict=True))
    for file, answer in found.items():
        assert answer["query"] == file.name
        for hit, described in zip(expected[file], answer["hits"], strict=True):
            assert described["similarity"] == pytest.approx(hit.similarity, abs=1e-5)
        ids = [each["id"] for each in answer["hits"]]
        assert ids == [hit.id for hit in expected[file]] or _ties(expected[file], answer["hits"])
    sizes = client.app.state.answering.metrics
    assert sizes.value("diml_batch_images_sum") == len(files)
    assert sizes.value("diml_batch_images_count") < len(files)


def _ties(result, hits):
    """Whether the order differs only where similarities are equal within the tolerance."""
    by_id = {hit.id: hit.similarity for hit in result}
    return all(abs(by_id[each["id"]] - hit.similarity) <= 2e-5 for each, hit in zip(hits, result, strict=True))


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({}, 422, "expected a file image or the id of an image of the index, got neither"),
        ({"id": "0000000000000000"}, 404, "there is no image 0000000000000000 in this index"),
        ({"id": "../../etc/passwd"}, 404, "there is no image"),
        ({"id": "ID", "k": 0}, 422, "expected k from 1 to 1000, got 0"),
        ({"id": "ID", "k": "many"}, 422, "k: input should be a valid integer"),
        (
            {"id": "ID", "shortlist": "some"},
            422,
            "expected shortlist to be 0 (no re-ranking), a positive number, all or proven, got some",
        ),
        ({"id": "ID", "shortlist": "20000"}, 422, "expected shortlist from 0 to 10000, got 20000"),
        ({"id": "ID", "where": "length(label) > 1"}, 422, "is not allowed at 'length'"),
        ({"id": "ID", "where": "colour = 'red'"}, 422, "expected one of the columns"),
        ({"id": "ID", "region": "1,2,3"}, 422, "expected region to be x0,y0,x1,y1 in pixels"),
        ({"id": "ID", "region": "0,0,500,500"}, 422, "extends beyond the image of 128x128 pixels"),
        ({"id": "ID", "region": ["0,0,9,9"] * 17}, 422, "expected the number of regions from 0 to 16, got 17"),
        ({"id": "ID", "explain": -1}, 422, "expected explain from 0 to 1000, got -1"),
    ],
    ids=str,
)
def test_wrong_requests(client, library, fields, status, sentence):
    id = library.entries(limit=1)[0].id
    sent = {name: id if value == "ID" else value for name, value in fields.items()}
    answer = client.post(SEARCH, data=sent)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"]) == (status, status)
    assert sentence in problem["detail"]
    assert "\n" not in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_files_that_are_no_images(client):
    for name, data in (("a.png", b"nothing"), ("b.jpg", b"\xff\xd8\xff" + bytes(50))):
        answer = client.post(SEARCH, files={"image": (name, data)})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(f"{name}: ")
    answer = client.post(SEARCH, files={"image": ("../../x/empty.png", b"")})
    assert answer.json()["detail"].startswith("empty.png: is empty")
    assert client.post("/v1/indexes/nothing/search", data={"id": "x"}).status_code == 404


def test_a_large_image_is_refused(serve, emoji_index):
    client = serve(emoji_index, pixels=10_000)
    image = io.BytesIO()
    Image.new("RGB", (200, 100)).save(image, "PNG")
    answer = client.post(SEARCH, files={"image": ("large.png", image.getvalue())})
    assert answer.status_code == 422
    assert "large.png: has 200 x 100 pixels, more than the 10,000 that are decoded" in answer.json()["detail"]


def test_explanations_are_those_of_the_library(client, library, files):
    model, stored = library.model, library.entries(limit=2)
    a, b = files[0], files[1]
    sent = {"a": ("a.png", a.read_bytes()), "b": ("b.png", b.read_bytes())}
    expected = {**explain_pair(model, a, b).to_dict(), "a": "a.png", "b": "b.png"}
    assert client.post("/v1/explain", files=sent).json() == expected

    ids = {"a_id": stored[0].id, "b_id": stored[1].id, "region": "0,0,64,64"}
    maps = [library.maps(entry.id) for entry in stored]
    expected = explain_pair(model, *maps, regions=[(0, 0, 64, 64)]).to_dict()
    assert client.post("/v1/explain", data=ids).json() == {**expected, "a": stored[0].path, "b": stored[1].path}

    sent = {"a": ("a.png", a.read_bytes()), "b": ("b.png", b.read_bytes())}
    expected = explain_contrast(model, a, b, library.maps(stored[0].id)).to_dict()
    found = client.post("/v1/explain", files=sent, data={"rather_than_id": stored[0].id}).json()
    assert found == {**expected, "query": "a.png", "a": "b.png", "b": stored[0].path}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "start"), [("image/png", b"\x89PNG"), ("image/svg+xml", b"<?xml"), ("text/html", b"<!DOCTYPE html>")]
)
def test_pictures_and_pages(client, library, files, kind, start):
    id = library.entries(limit=1)[0].id
    sent = {"a": ("a.png", files[0].read_bytes())}
    answer = client.post("/v1/explain", files=sent, data={"b_id": id}, headers={"accept": kind})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.content.startswith(start)
    assert "sandbox" in answer.headers["content-security-policy"]


def test_a_contrast_has_no_page(client, library):
    a, b, c = (entry.id for entry in library.entries(limit=3))
    data = {"a_id": a, "b_id": b, "rather_than_id": c}
    answer = client.post("/v1/explain", data=data, headers={"accept": "text/html"})
    assert (answer.status_code, answer.json()["status"]) == (406, 406)


def test_embedding(client, library, files):
    import torch
    from safetensors.torch import load

    sent = [("image", (f"{i}.png", file.read_bytes())) for i, file in enumerate(files[:3])]
    expected = [library.model.encode(file) for file in files[:3]]
    answer = client.post("/v1/embed", files=sent, headers={"accept": "application/safetensors"})
    tensors = load(answer.content)
    assert torch.equal(tensors["local"], torch.cat([maps.local for maps in expected]))
    assert torch.equal(tensors["weights"], torch.cat([maps.weights for maps in expected]))
    assert tensors["size"].tolist() == [[128, 128]] * 3
    found = client.post("/v1/embed", files=sent).json()
    assert found["grid"] == [4, 4]
    assert [each["name"] for each in found["images"]] == ["0.png", "1.png", "2.png"]
    assert np.allclose(found["images"][1]["map"], expected[1].local[0].numpy(), atol=0)
