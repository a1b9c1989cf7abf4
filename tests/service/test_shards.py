"""Several indices served as one, under one name."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from diml.cli import main
from diml.errors import UsageError
from diml.search import Index, index_folder
from diml.service import ServiceSettings
from tests.service.running import running

TOKEN = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def parts(emoji_index: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Copies of the index, each with every third image."""
    folder = tmp_path_factory.mktemp("parts")
    paths = Index.open(emoji_index).paths
    made = []
    for part in range(3):
        path = folder / f"part-{part}.diml"
        shutil.copytree(emoji_index, path)
        Index.open(path).remove([name for at, name in enumerate(paths) if at % 3 != part])
        made.append(path)
    return made


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def client(serve, parts: list[Path], emoji_index: Path) -> TestClient:
    """The index, and the same images in three."""
    return serve(emoji_index, shards=[f"parts={','.join(map(str, parts))}"], batch=1, originals=True)


def hits_of(client: TestClient, name: str, **asked):
    files = {"image": asked.pop("image")} if "image" in asked else None
    answer = client.post(f"/v1/indexes/{name}/search", data=asked, files=files)
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


@pytest.mark.parametrize("shortlist", ["0", "5", "all"])
@pytest.mark.parametrize("more", [{}, {"where": "label > '1f4'"}, {"region": "10,10,90,70"}], ids=str)
def test_the_hits_of_one_index(client, library, shortlist, more):
    for path in library.paths[::18]:
        asked = {"id": library.entry(path).id, "k": 6, "shortlist": shortlist, **more}
        found = hits_of(client, "parts", **asked)
        assert {hit.pop("shard") for hit in found} <= {"part-0", "part-1", "part-2"}
        assert found == hits_of(client, "emoji", **asked)


def test_an_upload_and_its_account(client, emoji):
    image = ("cat.png", next(emoji.glob("*/noto.png")).read_bytes())
    found = hits_of(client, "parts", image=image, k=3, explain=3)
    expected = hits_of(client, "emoji", image=image, k=3, explain=3)
    assert found[0].pop("shard").startswith("part-")
    for hit in found[1:]:
        del hit["shard"]
    assert found == expected
    assert found[0]["account"]


def test_the_images_of_all(client, library, emoji):
    found = client.get("/v1/indexes/parts/images", params={"offset": 3, "limit": 9}).json()
    assert found == client.get("/v1/indexes/emoji/images", params={"offset": 3, "limit": 9}).json()
    entry = found["images"][1]
    place = f"/v1/indexes/parts/images/{entry['id']}"
    assert client.get(place).json() == entry
    assert client.get(f"{place}/thumbnail").content == library.thumbnail(entry["id"])
    assert client.get(f"{place}/original").content == (emoji / entry["path"]).read_bytes()
    assert client.get("/v1/indexes/parts/columns").json() == client.get("/v1/indexes/emoji/columns").json()


def test_what_is_said_about_them(client, parts):
    described = {each["name"]: each for each in client.get("/v1/indexes").json()["indexes"]}
    assert described["parts"] == {**described["emoji"], "name": "parts", "shards": dict.fromkeys(stems(parts), 16)}
    assert client.get("/v1/indexes/parts").json() == Index.open(parts).stats().to_dict()
    assert client.get("/health").json() == {"status": "ok", "indexes": {"emoji": "ready", "parts": "ready"}}


def stems(parts):
    return [path.stem for path in parts]


def test_originals_lie_in_the_folder_of_their_index(serve, emoji_index, emoji, tmp_path):
    folders = sorted(emoji.iterdir())[:2]
    paths = []
    for folder in folders:
        path = tmp_path / f"{folder.name}.diml"
        index_folder(shutil.copytree(folder, tmp_path / "files" / folder.name / "in"), path, model=emoji_index)
        paths.append(path)
    for number, path in enumerate(paths):  # their files have the same names
        index = Index.open(path)
        index.remove([name for at, name in enumerate(index.paths) if at % 2 == number])
    client = serve(shards=[f"two={paths[0]},{paths[1]}"], originals=True)
    for path, folder in zip(paths, folders, strict=True):
        for entry in Index.open(path):
            answer = client.get(f"/v1/indexes/two/images/{entry.id}/original")
            assert answer.content == (folder / entry.path).read_bytes()


def test_nothing_is_added_or_removed(serve, parts, token_file, emoji):
    client = serve(shards=[f"parts={','.join(map(str, parts))}"], writable=True, token_file=token_file)
    client.headers["authorization"] = f"Bearer {TOKEN}"
    file = next(emoji.glob("*/noto.png"))
    added = client.post("/v1/indexes/parts/images", files=[("image", ("new.png", file.read_bytes()))])
    removed = client.delete("/v1/indexes/parts/images", params={"id": "0000000000000000"})
    for answer in (added, removed):
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert answer.json()["detail"] == (
            "parts is 3 indices that are only read here; serve the one to change by itself"
        )


def test_a_shard_goes_and_comes_back(serve, parts, tmp_path, emoji):
    moving = [shutil.copytree(path, tmp_path / path.name) for path in parts]
    client = serve(shards=[f"moving={tmp_path}/part-*.diml"])
    asked = {"id": Index.open(moving[0]).entries(limit=1)[0].id, "k": 48}
    assert len(hits_of(client, "moving", **asked)) == 48
    away = moving[1].rename(tmp_path / "away")
    answer = client.post("/v1/indexes/moving/search", data=asked)
    assert answer.status_code == 503
    assert "part-1.diml does not exist" in answer.json()["detail"]
    away.rename(moving[1])
    assert len(hits_of(client, "moving", **asked)) == 48
    file = Path(shutil.copy(next(emoji.glob("*/noto.png")), tmp_path / "new.png"))
    Index.open(moving[1]).add(file)
    assert client.get("/v1/indexes/moving/images").json()["total"] == 49


class TestSettings:
    def test_from_the_environment(self, monkeypatch, tmp_path):
        for name in ("b.diml", "a.diml", "other"):
            (tmp_path / name).mkdir()
        monkeypatch.setenv("DIML_SERVE_SHARDS", f"photos={tmp_path}/*.diml;more=c.diml,d.diml")
        found = ServiceSettings.of(indexes=["e.diml"]).named
        assert found == {
            "e": (Path("e.diml"),),
            "photos": (tmp_path / "a.diml", tmp_path / "b.diml"),
            "more": (Path("c.diml"), Path("d.diml")),
        }

    @pytest.mark.parametrize("text", ["a.diml", "=a.diml", "photos=", "a/b=c.diml", "photos=,"])
    def test_another_form(self, text):
        with pytest.raises(UsageError, match=r"expected shards as NAME=INDEX,INDEX,\.\.\., such as photos=a"):
            assert ServiceSettings.of(shards=[text]).named

    def test_nothing_matches(self, tmp_path):
        with pytest.raises(UsageError, match=r"no index matches .*/\*.diml; check the path"):
            assert ServiceSettings.of(shards=[f"photos={tmp_path}/*.diml"]).named

    def test_a_name_that_is_taken(self):
        with pytest.raises(UsageError, match=r"two indices have the name photos: photos\.diml and a\.diml, b\.diml"):
            assert ServiceSettings.of(indexes=["photos.diml"], shards=["photos=a.diml,b.diml"]).named


def test_the_command_takes_shards(parts, monkeypatch):
    served = []
    monkeypatch.setattr("diml.service.server.serve", lambda settings, ready: served.append(settings))
    monkeypatch.setattr("sys.argv", ["diml", "serve", "--shards", f"all={parts[0].parent}/part-*.diml"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (None, 0)
    assert served[0].named == {"all": tuple(parts)}


@pytest.mark.long  # the page's tests and those above ask several indices as well, without a process of their own
def test_over_a_socket(parts, tmp_path):
    """The command itself, asked over HTTP."""
    with running("--shards", f"all={parts[0].parent}/part-*.diml", log=tmp_path / "log") as service:
        id = httpx.get(f"{service.url}/v1/indexes/all/images", params={"limit": 1}).json()["images"][0]["id"]
        found = httpx.post(f"{service.url}/v1/indexes/all/search", data={"id": id}, timeout=60).json()
    assert found["index"] == "all"
    assert found["hits"][0]["id"] == id
    assert found["hits"][0]["shard"].startswith("part-")
