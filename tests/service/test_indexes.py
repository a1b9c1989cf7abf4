"""Indices that change, go and come back while they are served; and what is said about them."""

from __future__ import annotations

import shutil
import time

import pytest

from diml.search import Index, index_folder


def search(client, name, id):
    return client.post(f"/v1/indexes/{name}/search", data={"id": id, "k": 3})


@pytest.fixture
def copy(emoji_index, tmp_path):
    path = tmp_path / "copy.diml"
    shutil.copytree(emoji_index, path)
    return path


def test_what_is_served(client, emoji_index):
    found = client.get("/v1/indexes").json()
    described = {"name": "emoji", "status": "ready", "reason": None, "images": 48, "labels": 12, "grid": [4, 4]}
    assert found["indexes"] == [described]
    assert found["limits"]["k"] == 1000
    assert client.get("/v1/indexes/emoji").json() == Index.open(emoji_index).stats().to_dict()
    assert client.get("/v1/indexes/nothing").status_code == 404
    assert client.get("/health").json() == {"status": "ok", "indexes": {"emoji": "ready"}}


def test_columns(client, library):
    (label,) = client.get("/v1/indexes/emoji/columns").json()["columns"]
    assert (label["name"], label["distinct"]) == ("label", 12)
    assert label["values"] == [{"value": name, "count": 4} for name in sorted({*library.labels})]
    assert len(client.get("/v1/indexes/emoji/columns?limit=2").json()["columns"][0]["values"]) == 2


def test_images_page_by_page(client, library):
    where = f"label = '{library.labels[0]}'"
    found = client.get("/v1/indexes/emoji/images", params={"where": where, "offset": 1, "limit": 2}).json()
    assert found["total"] == 4
    assert found["images"] == [entry.to_dict() for entry in library.entries(where, 1, 2)]
    assert client.get("/v1/indexes/emoji/images", params={"where": "1 = 1"}).status_code == 422
    entry = library.entries(limit=1)[0]
    place = f"/v1/indexes/emoji/images/{entry.id}"
    assert client.get(place).json() == entry.to_dict()
    assert client.get(f"{place}/thumbnail").content == library.thumbnail(entry.id)
    assert client.get("/v1/indexes/emoji/images/0000000000000000/thumbnail").status_code == 404
    assert client.get("/v1/indexes/emoji/images/cat.png").status_code == 422


def test_originals_are_shown_only_where_they_are_asked_for(client, serve, emoji_index, emoji, library):
    entry = library.entries(limit=1)[0]
    place = f"/v1/indexes/emoji/images/{entry.id}/original"
    refused = client.get(place)
    assert refused.status_code == 403
    assert "--originals" in refused.json()["detail"]
    shown = serve(emoji_index, originals=True).get(place)
    assert shown.content == (emoji / entry.path).read_bytes()
    assert shown.headers["content-type"] == "image/png"


def test_an_original_outside_of_the_collection_is_not_shown(serve, emoji, emoji_index, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(next(emoji.iterdir()), folder)
    model = Index.open(emoji_index).model
    made, _ = index_folder(folder, tmp_path / "photos.diml", model=model)
    entry = made.entries(limit=1)[0]
    secret = tmp_path / "secret.png"
    (folder / entry.path).rename(secret)
    (folder / entry.path).symlink_to(secret)
    answer = serve(tmp_path / "photos.diml", originals=True).get(f"/v1/indexes/photos/images/{entry.id}/original")
    assert answer.status_code == 404
    assert "is not in the folder of its collection" in answer.json()["detail"]


def test_an_original_that_may_not_be_read_is_a_sentence(serve, emoji_index, library, monkeypatch):
    client = serve(emoji_index, originals=True)
    monkeypatch.setattr("diml.service.routes.images.os.access", lambda *arguments: False)  # root may read everything
    answer = client.get(f"/v1/indexes/emoji/images/{library.entries(limit=1)[0].id}/original")
    assert answer.status_code == 403
    assert "the service may not read the file" in answer.json()["detail"]


def test_a_running_writer_becomes_visible(serve, copy, emoji, tmp_path):
    client = serve(copy)
    folder = tmp_path / "more"
    folder.mkdir()
    shutil.copy(next(emoji.glob("*/noto.png")), folder / "another.png")
    index = Index.open(copy)
    index.add(folder)
    assert client.get("/v1/indexes").json()["indexes"][0]["images"] == 49
    entry = index.entry("another.png")
    hits = search(client, "copy", entry.id).json()["hits"]
    assert entry.id in [hit["id"] for hit in hits]


def test_a_removed_index_is_unavailable_alone_and_comes_back(serve, emoji_index, copy, library):
    client = serve(emoji_index, copy)
    id = library.entries(limit=1)[0].id
    before = search(client, "copy", id)
    assert before.status_code == 200
    away = copy.with_suffix(".away")
    copy.rename(away)
    answer = search(client, "copy", id)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "does not exist" in answer.json()["detail"]
    assert search(client, "emoji", id).status_code == 200
    states = {each["name"]: each["status"] for each in client.get("/v1/indexes").json()["indexes"]}
    assert states == {"emoji": "ready", "copy": "unavailable"}
    health = client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert client.get("/v1/indexes/copy").status_code == 503
    away.rename(copy)
    assert search(client, "copy", id).json() == before.json()


def test_an_index_without_its_table_is_unavailable(serve, copy, library):
    client = serve(copy)
    id = library.entries(limit=1)[0].id
    assert search(client, "copy", id).status_code == 200
    table = copy / "images.lance"
    table.rename(copy.parent / "table")
    answer = search(client, "copy", id)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    (copy.parent / "table").rename(table)
    assert search(client, "copy", id).status_code == 200


def test_an_index_replaced_by_another_is_opened_again(serve, emoji, copy, tmp_path):
    client = serve(copy)
    other, _ = index_folder(next(emoji.iterdir()), tmp_path / "other.diml", grid=3)
    shutil.rmtree(copy)
    (tmp_path / "other.diml").rename(copy)
    other = Index.open(copy)
    found = client.get("/v1/indexes/copy").json()
    assert (found["images"], found["grid"]) == (len(other), [3, 3])
    entry = other.entries(limit=1)[0]
    expected = other.search(other.maps(entry.id), k=3).to_dict(index="copy", query=entry.path)
    assert search(client, "copy", entry.id).json() == expected


def test_equal_models_are_in_memory_once(serve, emoji_index, copy):
    answering = serve(emoji_index, copy).app.state.answering
    a, b = (served.encoder_model for served in answering.indexes.values())
    assert a is b
    models = [served.current().model for served in answering.indexes.values()]
    assert models[0].encoder.backbone is models[1].encoder.backbone


def test_an_index_keeps_its_own_matching(serve, emoji_index, copy, library):
    import json

    file = copy / "model" / "config.json"
    config = json.loads(file.read_text())
    config["matching"] = {**config["matching"], "weight": 0.25}
    file.write_text(json.dumps(config))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["model_files"]["config.json"] = file.stat().st_size
    (copy / "manifest.json").write_text(json.dumps(manifest))
    client = serve(emoji_index, copy)
    id = library.entries(limit=1)[0].id
    own = Index.open(copy)
    expected = own.search(own.maps(id), k=3)
    assert [hit["similarity"] for hit in search(client, "copy", id).json()["hits"]] == [h.similarity for h in expected]
    first = [hit["similarity"] for hit in search(client, "emoji", id).json()["hits"]]
    assert first != [hit.similarity for hit in expected]


def test_an_index_that_is_not_there_yet(serve, emoji_index, tmp_path):
    path = tmp_path / "later.diml"
    client = serve(path)
    answer = client.get("/health")
    assert answer.status_code == 503
    assert "later: " in answer.json()["detail"]
    shutil.copytree(emoji_index, path)
    end = time.monotonic() + 5
    while client.get("/health").status_code != 200 and time.monotonic() < end:
        time.sleep(0.1)
    assert client.get("/health").json() == {"status": "ok", "indexes": {"later": "ready"}}
