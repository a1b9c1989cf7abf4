"""Indices on an object store: an S3-compatible server on loopback. They give what an index on this machine gives."""

from __future__ import annotations

import pytest

from diml.search import Index


@pytest.fixture
def bucket(s3):
    return s3({})


@pytest.fixture
def stored(bucket, model, photos):
    """The index `index`, made on the store."""
    made = Index.create(f"{bucket}/deep/photos.diml", model)
    made.add(photos, labels_from="folder")
    return made


def keys(s3, address):
    """What is in a bucket, below an address."""
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    listed = s3.client.list_objects_v2(Bucket=bucket, Prefix=prefix)
    return sorted(each["Key"].removeprefix(prefix) for each in listed.get("Contents", []))


def hits(result):
    """A result without its index."""
    return {name: value for name, value in result.to_dict().items() if name != "index"}


def test_a_search_gives_what_the_index_on_this_machine_gives(stored, index, photos, backbone):
    query = photos / "a" / "0003.png"
    again = Index.open(stored.path, backbone=backbone)
    for k, shortlist in [(3, 100), (12, "all"), (5, 0)]:
        assert hits(again.search(query, k, shortlist)) == hits(index.search(query, k, shortlist))
    assert hits(again.search(query, where="label = 'b'")) == hits(index.search(query, where="label = 'b'"))
    assert again.maps(again.paths).local.equal(index.maps(index.paths).local)
    assert list(again) == list(index)
    assert str(stored.path) == again.stats().path == f"{stored.path}"
