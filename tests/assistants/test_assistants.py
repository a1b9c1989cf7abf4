"""The server for assistants, asked by the protocol's own client: over pipes, and in this process."""

from __future__ import annotations

import base64
import io
import sys

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from PIL import Image

from diml.assistants import make_server
from diml.explanation import explain_contrast, explain_pair
from diml.search import Index
from tests.service.in_a_loop import run_async


@pytest.fixture
def index(library):
    return library


def ask(index, *calls, roots=()):
    async def main():
        async with Client(make_server(index.path, roots)) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return run_async(main())


def test_a_search_gives_the_document_of_the_library(index, emoji):
    file = next(emoji.glob("*/noto.png"))
    (found,) = ask(index, ("search", {"image": str(file), "k": 3}))
    expected = index.search(file, k=3)
    assert not found.is_error
    assert found.structured_content == expected.to_dict(index=str(index.path), query=str(file))
    text = found.content[0].text
    assert text.startswith(f"1. {expected[0].path} ({expected[0].label}): similarity {expected[0].similarity:.3f}")
    assert "Region 1 carries" in text


def test_settings_of_a_search(index, emoji):
    entry = index.entries(limit=1)[0]
    arguments = {"image": entry.id, "k": 2, "shortlist": "all", "where": f"label = '{entry.label}'"}
    found, part = ask(
        index,
        ("search", {**arguments, "thumbnails": True}),
        ("search", {"image": entry.path, "k": 2, "regions": ["0,0,64,64:2"]}),
    )
    maps = index.maps(entry.id)
    expected = index.search(maps, k=2, shortlist="all", where=arguments["where"])
    assert found.structured_content["hits"] == expected.to_dict()["hits"]
    pictures = [content for content in found.content if content.type == "image"]
    assert [base64.b64decode(each.data) for each in pictures] == [hit.thumbnail for hit in expected]
    expected = index.search(maps, k=2, regions=[((0, 0, 64, 64), 2.0)])
    assert part.structured_content["hits"] == expected.to_dict()["hits"]


def test_explanations(index, emoji):
    a, b = sorted(emoji.glob("*/noto.png"))[:2]
    entry = index.entries(limit=1)[0]
    pair, all_pairs, contrast, pictured = ask(
        index,
        ("explain", {"a": str(a), "b": str(b)}),
        ("explain", {"a": str(a), "b": str(b), "pairs": 10_000}),
        ("explain", {"a": str(a), "b": str(b), "rather_than": entry.id}),
        ("explain", {"a": str(a), "b": entry.path, "picture": True}),
    )
    expected = explain_pair(index.model, a, b)
    document = expected.to_dict()
    assert all_pairs.structured_content == document
    left_out = pair.structured_content.pop("matches_left_out")
    assert pair.structured_content == {**document, "matches": document["matches"][:12]}
    listed = sum(each["contribution"] for each in pair.structured_content["matches"])
    total = listed + left_out["contribution"] + document["residual"] + document["unmatched_contribution"]
    assert (left_out["number"], total) == (244, pytest.approx(document["similarity"], abs=1e-12))
    assert pair.content[0].text == expected.describe()
    regions = sum(region["contribution"] for region in pair.structured_content["regions"])
    assert regions + document["residual"] == pytest.approx(document["similarity"], abs=1e-12)
    expected = explain_contrast(index.model, a, b, index.maps(entry.id)).to_dict()
    assert contrast.structured_content["difference"] == expected["difference"]
    assert contrast.structured_content["b"] == entry.path
    assert len(contrast.structured_content["parts"]) == 12
    assert Image.open(io.BytesIO(base64.b64decode(pictured.content[1].data))).format == "PNG"


def test_files_outside_of_the_roots_are_not_read(index, emoji, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (64, 64)).save(secret)
    link = emoji / "link.png"
    link.symlink_to(secret)
    try:
        for image in (str(secret), str(link), f"{emoji}/../../{tmp_path.name}/secret.png", "/etc/passwd"):
            (found,) = ask(index, ("search", {"image": image}))
            assert found.is_error
            assert "is not in a folder that may be read" in found.content[0].text
        (found,) = ask(index, ("search", {"image": str(secret)}), roots=[tmp_path])
        assert not found.is_error
        (found,) = ask(index, ("search", {"image": str(next(emoji.glob("*/noto.png")))}), roots=[tmp_path])
        assert found.is_error
    finally:
        link.unlink()


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("search", {"image": "0123456789abcdef"}, "there is no image of the id 0123456789abcdef"),
        ("search", {"image": "ID", "where": "colour = 1"}, "cannot be used"),
        ("search", {"image": "ID", "shortlist": "some"}, "expected shortlist to be 0"),
        ("search", {"image": "ID", "regions": ["1,2"]}, "expected regions to be x0,y0,x1,y1"),
        ("search", {"image": "README.md"}, "there is no such file"),
        ("explain", {"a": "ID", "b": "nothing.png"}, "nothing.png: there is no such file; check the path"),
    ],
    ids=str,
)
def test_errors_are_sentences(index, tool, arguments, sentence, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    id = index.entries(limit=1)[0].id
    (found,) = ask(index, (tool, {name: id if value == "ID" else value for name, value in arguments.items()}))
    assert found.is_error
    assert sentence in found.content[0].text
    assert not found.content[0].text.startswith("Error executing")
    assert "Traceback" not in found.content[0].text
    assert "\n" not in found.content[0].text


@pytest.mark.long
def test_over_pipes(index, emoji):
    command = ["-c", "from diml.cli import main; main()", "mcp", str(index.path)]
    parameters = StdioServerParameters(
        command=sys.executable, args=command, cwd=str(emoji), env={"OMP_NUM_THREADS": "1"}
    )

    async def main():
        async with Client(stdio_client(parameters)) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            info = await client.call_tool("info", {})
            found = await client.call_tool("search", {"image": next(emoji.glob("*/noto.png")).as_posix(), "k": 2})
            return tools, info, found

    tools, info, found = run_async(main())
    assert set(tools) == {"search", "explain", "info"}
    for tool in tools.values():
        assert tool.annotations.read_only_hint
        assert len(tool.description) > 50
        assert all(schema.get("description") for schema in tool.input_schema["properties"].values())
    assert info.structured_content == Index.open(index.path).stats().to_dict()
    assert len(found.structured_content["hits"]) == 2


def test_an_index_that_is_not_there(tmp_path):
    from diml.errors import StoreError

    with pytest.raises(StoreError, match="does not exist"):
        make_server(tmp_path / "nothing.diml")
