"""The operations that indices need of an object store, against an S3-compatible server on loopback."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from diml import object_stores
from diml.errors import StoreError, UsageError
from diml.object_stores import ObjectUrl, is_object_url, open_object_store, parse_object_url, store_error


@pytest.fixture
def store(s3):
    return open_object_store(parse_object_url(s3({"a/x": b"0123456789", "a/y/z": b"", "ab": b"1"})))


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("s3://bucket/a/b.diml", ("s3", "bucket", "a/b.diml")),
            ("gs://bucket/a b/ü.diml/", ("gs", "bucket", "a b/ü.diml")),
            ("AZ://container", ("az", "container", "")),
            ("s3://my.bucket-1/", ("s3", "my.bucket-1", "")),
        ],
    )
    def test_parts(self, text, parts):
        url = parse_object_url(text)
        assert (url.scheme, url.bucket, url.key) == parts
        assert parse_object_url(str(url)) == parse_object_url(url) == url
        assert is_object_url(text)
        assert is_object_url(url)

    @pytest.mark.parametrize("text", ["file:///a", "memory://a", "https://a.org/x", "s3:/a", "photos", "s3", ""])
    def test_other_schemes(self, text):
        assert not is_object_url(text)
        with pytest.raises(UsageError, match=r"begins with s3://, gs:// or az://, got"):
            parse_object_url(text)

    @pytest.mark.parametrize("text", ["s3://", "s3:///a", "s3://-/a", "s3://a@b/c"])
    def test_no_bucket(self, text):
        with pytest.raises(UsageError, match="name of a bucket"):
            parse_object_url(text)

    @pytest.mark.parametrize("key", ["a//b", "a/../b", ".", "a\nb", "a\\b"])
    def test_keys_that_not_every_store_takes(self, key):
        with pytest.raises(UsageError, match="without empty parts"):
            parse_object_url(f"s3://bucket/{key}")


class TestObjects:
    def test_read(self, store):
        assert store.read("a/x") == b"0123456789"
        assert store.read("a/none") is None
        data, stored = store.read_with_version("a/x")
        assert (len(data), stored.key, stored.size) == (10, "a/x", 10)
        assert store.head("a/x") == stored
        assert store.head("a") is None

    def test_ranges(self, store):
        assert store.read_ranges("a/x", [(2, 3), (0, 1), (9, 1)]) == [b"234", b"0", b"9"]
        assert store.read_ranges("a/x", []) == []
        assert store.read_ranges("a/none", [(0, 1)]) is None
        with pytest.raises(StoreError, match="a/x"):
            store.read_ranges("a/x", [(8, 5)])

    def test_list(self, store):
        assert {each.key: each.size for each in store.list("a")} == {"a/x": 10, "a/y/z": 0}
        assert sorted(each.key for each in store.list()) == ["a/x", "a/y/z", "ab"]
        assert list(store.list("none")) == []

    def test_list_of_many(self, s3, monkeypatch):
        """More than the server lists in one answer, which are usually 1000."""
        monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
        url = parse_object_url(s3({f"many/{i:04}": b"" for i in range(25)}))
        assert len(s3.client.list_objects_v2(Bucket=url.bucket)["Contents"]) == 10
        assert len({each.key for each in open_object_store(url).list("many")}) == 25

    def test_write_and_delete(self, store):
        store.write("new", b"a")
        store.write("new", b"b")
        assert store.read("new") == b"b"
        store.delete(["new", "a/x", "a/none"])
        store.delete([])
        assert sorted(each.key for each in store.list()) == ["a/y/z", "ab"]

    def test_a_large_object(self, store):
        data = bytes(range(256)) * 40_000  # written in several parts
        store.write("large", data)
        assert store.read("large") == data

    def test_one_of_several_creates(self, store):
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(lambda i: store.create("once", b"%d" % i), range(16)))
        assert sum(made) == 1
        assert store.read("once") == b"%d" % made.index(True)

    def test_one_of_several_replaces(self, store):
        _, former = store.read_with_version("a/x")
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(lambda i: store.replace("a/x", b"%d" % i, former), range(16)))
        assert sum(made) == 1
        assert store.read("a/x") == b"%d" % made.index(True)

    def test_what_was_removed_is_not_replaced(self, store):
        _, former = store.read_with_version("a/x")
        store.delete(["a/x"])
        assert not store.replace("a/x", b"back", former)
        assert store.read("a/x") is None


class TestErrors:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(object_stores, "RETRIES", 1)
        monkeypatch.setattr(object_stores, "SILENCE", timedelta(seconds=0.5))

    @pytest.fixture
    def asked(self, s3):
        """Each operation, on a bucket that is given."""
        former = open_object_store(parse_object_url(s3({"x": b"1"}))).head("x")
        return [
            lambda store: store.read("x"),
            lambda store: store.head("x") or list(store.list()),
            lambda store: store.read_ranges("x", [(0, 1)]),
            lambda store: list(store.list("a")),
            lambda store: store.write("x", b""),
            lambda store: store.create("x", b""),
            lambda store: store.replace("x", b"", former),
            lambda store: store.delete(["x"]),
        ]

    def refused(self, asked, url, said):
        for ask in asked:
            with pytest.raises(StoreError, match=said) as caught:
                ask(open_object_store(parse_object_url(url)))
            assert "\n" not in str(caught.value)

    def test_no_bucket(self, asked, s3_server):
        # Not every server says it of what is replaced or removed.
        self.refused(asked[:-2], "s3://none-here/x", f"there is no bucket none-here at {s3_server}; make it, or give")

    def test_nobody_listens(self, asked, monkeypatch):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        self.refused(asked, "s3://bucket/x", rf"{address} cannot be reached \(connection refused\); check the network")

    @pytest.mark.slow
    def test_nobody_answers(self, asked, monkeypatch):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            self.refused(asked[:1], "s3://bucket/x", "cannot be reached .*; check the network")

    def test_access_denied(self):
        denied = Exception(
            "Error performing GET http://h/x - Server returned non-2xx status code: 403 Forbidden: <?xml?>"
            "\n<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        )
        said = str(store_error(ObjectUrl("s3", "bucket", "x"), denied))
        assert said.startswith("s3://bucket/x: access denied (AccessDenied); check the credentials")

    def test_no_credentials(self):
        asked = Exception("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 5ms")
        said = str(store_error(ObjectUrl("s3", "bucket", "x"), asked))
        assert said.endswith("no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")

    def test_no_account(self, monkeypatch):
        for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(StoreError, match="no credentials were found; set AZURE_STORAGE_ACCOUNT_NAME"):
            open_object_store(parse_object_url("az://container/x"))

    @pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
    def test_endpoints_that_are_none(self, monkeypatch, name):
        for value in ("nonsense", "http//x", "https://"):
            monkeypatch.setenv(name, value)
            with pytest.raises(StoreError, match=f"expected {name} to begin with https:// and a host, got"):
                open_object_store(parse_object_url("s3://bucket/x"))
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
        with pytest.raises(StoreError, match="without encryption; set AWS_ALLOW_HTTP=true to allow it"):
            open_object_store(parse_object_url("s3://bucket/x"))

    def test_without_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "obstore", None)
        monkeypatch.setitem(sys.modules, "obstore.store", None)
        with pytest.raises(StoreError, match=r"^s3:// needs .* pip install 'diml\[stores\]'$"):
            open_object_store(parse_object_url("s3://bucket/x"))


def test_addresses_are_read_without_the_extra():
    code = "import sys, diml.object_stores as o; o.parse_object_url('s3://a/b'); assert 'obstore' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
