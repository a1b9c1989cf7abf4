"""Indices on an object store, served and given to assistants."""

import pytest

from diml.search import Index
from diml.service.indexes import serve_indexes
from diml.service.problems import RequestError
from diml.service.settings import ServiceSettings


@pytest.fixture
def stored(s3, emoji, library):
    """A copy of the index of emoji on the store."""
    files = (file for file in library.path.rglob("*") if file.is_file())
    return s3({f"emoji.diml/{each.relative_to(library.path)}": each.read_bytes() for each in files}) + "/emoji.diml"


def test_names(stored):
    settings = ServiceSettings.of(indexes=[stored], shards=[f"both={stored},{stored}x"])
    assert {name: [str(path) for path in paths] for name, paths in settings.named.items()} == {
        "emoji": [stored],
        "both": [stored, f"{stored}x"],
    }


def test_names_of_the_environment(stored, monkeypatch):
    monkeypatch.setenv("DIML_SERVE_INDEXES", f"{stored},photos.diml")
    assert list(ServiceSettings.of().named) == ["emoji", "photos"]


def test_an_index_is_served_and_opened_again_where_it_changes(stored, library, emoji, s3):
    served = serve_indexes(ServiceSettings.of(indexes=[stored]).named)["emoji"]
    opened = served.current()
    image = next(emoji.rglob("*.png"))
    found, expected = (each.search(image, k=3) for each in (opened, library))
    assert [hit.path for hit in found] == [hit.path for hit in expected]
    # The service may embed by another engine.
    assert [hit.similarity for hit in found] == pytest.approx([hit.similarity for hit in expected], abs=1e-5)
    assert served.current() is opened
    bucket = stored.removeprefix("s3://").partition("/")[0]
    body = s3.client.get_object(Bucket=bucket, Key="emoji.diml/manifest.json")["Body"].read()
    s3.client.put_object(Bucket=bucket, Key="emoji.diml/manifest.json", Body=body + b"\n")
    assert served.current() is not opened
    s3.client.delete_object(Bucket=bucket, Key="emoji.diml/manifest.json")
    with pytest.raises(RequestError, match="the index emoji cannot be used now"):
        served.current()


def test_an_assistant_reads_it(stored, emoji):
    assistants = pytest.importorskip("diml.assistants")
    assistant = assistants.Assistant(assistants.index_place(stored), [emoji])
    assert len(assistant.index()) == len(Index.open(stored)) == 48
