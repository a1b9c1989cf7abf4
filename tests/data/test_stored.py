"""Images on an object store, a server on loopback: the same images as in a folder, and one sentence for all else."""

import os
import pickle
import sys

import obstore
import pytest
from PIL import Image

from diml.data import object_files, open_dataset, open_image
from diml.data.located import ByteRange
from diml.data.object_files import StoredObject, parts
from diml.data.stored_collections import open_stored
from diml.errors import DatasetError, ImageError, StoreError, UsageError


@pytest.fixture(scope="module")
def packed(packing, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "photos"
    for i in range(6):
        file = folder / "ab"[i % 2] / f"{i} ä.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9 + i, 8), (i * 40, 255 - i * 30, 9)).save(file)
    return packing(folder)


@pytest.fixture
def photos(s3, packed):
    """The address of a folder of images."""
    files = {f"photos/{name}": data for name, data in zip(packed.names, packed.images, strict=True)}
    others = {"photos/.hidden/x.png": b"", "photos/read.me": b"?", "photosets/a.png": b"", "photos/": b""}
    return s3({**files, **others}) + "/photos"


def test_a_folder(photos, packed):
    found = open_stored(photos, "folder")
    assert found.paths == packed.names
    assert found.labels == packed.labels
    assert found.place == photos
    assert found.skipped == []
    for at, name in enumerate(packed.names):
        same = pickle.loads(pickle.dumps(found.file(at)))
        assert os.fspath(same) == f"{photos}/{name}"
        assert (same.size, same.distant) == (len(packed.images[at]), True)
        assert open_image(same).tobytes() == open_image(packed.folder / name).tobytes()
    assert open_stored(photos + "/").paths == packed.names
    assert open_dataset(photos).known_labels == packed.labels


def test_the_state_follows_the_content(s3, photos, packed):
    first = open_stored(photos).file(0)
    assert open_stored(photos).file(0).mtime_ns == first.mtime_ns
    s3({f"photos/{packed.names[0]}": packed.images[1]}, photos.split("/")[2])
    again = open_stored(photos).file(0)
    assert again.mtime_ns != first.mtime_ns
    assert abs(again.mtime_ns - first.mtime_ns) < 60e9
    with pytest.raises(
        ImageError, match=r"ä\.png: is an object that was removed, or changed while it was read; run the same command"
    ):
        open_image(first)
    assert again.content() == packed.images[1]


def test_a_listing_of_several_pages(s3, packed, monkeypatch):
    listing = obstore.list
    monkeypatch.setattr("obstore.list", lambda *given, chunk_size: listing(*given, chunk_size=2))
    url = s3({f"{i:03d}.png": b"x" for i in range(9)})
    assert open_stored(url).paths == [f"{i:03d}.png" for i in range(9)]


def test_one_image_and_several(photos, packed):
    one = open_stored(f"{photos}/{packed.names[2]}")
    assert one.paths == [packed.names[2].split("/")[1]]
    both = open_stored([f"{photos}/{packed.names[0]}", f"{photos}/{packed.names[5]}"])
    assert both.paths == [packed.names[0], packed.names[5]]
    assert open_stored(f"{photos}/a/*.png").paths == [name.split("/")[1] for name in packed.names if name[0] == "a"]
    same = open_image(f"{photos}/{packed.names[2]}")
    assert same.tobytes() == open_image(packed.folder / packed.names[2]).tobytes()


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_what_holds_images(s3, packed, tmp_path, kind):
    file = getattr(packed, kind)(tmp_path / f"x.{kind}")
    url = s3({f"deep/{file.name}": file.read_bytes()})
    for place, container in ((f"{url}/deep/x.{kind}", f"x.{kind}"), (url, f"deep/x.{kind}")):
        found = open_stored(place)
        assert found.paths == [f"{container}/{name}" for name in packed.names]
        assert found.labels == packed.labels
        assert [each.content() for each in found.sources] == packed.images
        assert found.file(0).distant == (kind == "tar")
    assert open_dataset(f"{url}/deep/x.{kind}").known_labels == packed.labels


def test_shards(s3, packed, tmp_path):
    shards = [packed.tar(tmp_path / f"{i}.tar", 3 * i, 3 * i + 3).read_bytes() for i in range(2)]
    url = s3({f"s/{i}.tar": data for i, data in enumerate(shards)})
    for pattern in ("{0..1}.tar", "*.tar", "[01].tar"):
        assert open_stored(f"{url}/s/{pattern}").paths == [
            f"{i // 3}.tar/{name}" for i, name in enumerate(packed.names)
        ]
    with pytest.raises(UsageError, match="no object matches"):
        open_stored(f"{url}/s/x*.tar")
    damaged = s3({"0.tar": shards[0], "1.tar": b"no tar"})
    found = open_stored(damaged)
    assert len(found) == 3
    assert [(each.path, each.reason[:9]) for each in found.skipped] == [("1.tar", "is no tar")]


def test_a_lance_dataset(s3, packed, tmp_path):
    folder = packed.lance(tmp_path / "x.lance")
    files = {each.relative_to(tmp_path).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    url = s3({f"deep/{path}": data for path, data in files.items()})
    for place, container in ((f"{url}/deep/x.lance", "x.lance"), (url, "deep/x.lance")):
        found = open_stored(place)
        assert found.paths == [f"{container}/{name}" for name in packed.names]
        assert [each.content() for each in found.sources] == packed.images


def test_tables(s3, photos, packed, tmp_path):
    rows = "".join(f"{name},{label},7\n" for name, label in zip(packed.names, packed.labels, strict=True))
    bucket = photos.split("/")[2]
    s3({"photos/list.csv": f"path,label,n\n{rows}a/gone.png,x,7\n".encode()}, bucket)
    found = open_stored(f"{photos}/list.csv")
    assert (found.paths, found.labels, found.columns) == (packed.names, packed.labels, {"n": ["7"] * 6})
    assert [(each.path, each.reason) for each in found.skipped] == [
        ("a/gone.png", "is on line 8 of list.csv, but there is no such object")
    ]
    assert [each.content() for each in found.sources] == packed.images
    assert open_dataset(f"{photos}/list.csv").known_labels == packed.labels
    (tmp_path / "labels.csv").write_text(f"path,label\n{packed.names[0]},here\n")
    s3({"labels.csv": (tmp_path / "labels.csv").read_bytes()}, bucket)
    for table in (tmp_path / "labels.csv", f"s3://{bucket}/labels.csv"):
        assert open_stored(photos, table).labels == ["here"] + [None] * 5
    s3({"photos/bad.csv": b"name,label\nx,y\n", "photos/none.csv": b"path,label\nx,y\n"}, bucket)
    with pytest.raises(DatasetError, match=rf"^{photos}/bad\.csv: has no column path"):
        open_stored(f"{photos}/bad.csv")
    with pytest.raises(
        DatasetError, match=r"none\.csv: none of the 1 objects that it names \(such as x\) exists below"
    ):
        open_stored(f"{photos}/none.csv")


def test_refusals(s3, photos, packed, monkeypatch):
    empty = s3({"read.me": b"?"})
    cases = {
        empty: r"holds no images; looked for objects with names like 12\.jpg",
        f"{photos}/no.tar": "there is no such object; check the address",
    }
    for url, said in cases.items():
        with pytest.raises(DatasetError, match=rf"^{url}: {said}"):
            open_stored(url)
    with pytest.raises(
        StoreError, match=r"^there is no bucket no-such-bucket-here at http.*; make it, or give another name"
    ):
        open_stored("s3://no-such-bucket-here/photos")
    with pytest.raises(UsageError, match="expected images of one bucket"):
        open_stored([f"{photos}/a.png", f"{empty}/b.png"])
    with pytest.raises(UsageError, match="add them one after the other"):
        open_stored([photos, f"{empty}/b"])
    with pytest.raises(ImageError, match=rf"^{photos}/no\.png: there is no such object"):
        open_image(f"{photos}/no.png")
    with pytest.raises(ImageError, match=r"read\.me: is not an image"):
        open_image(f"{empty}/read.me")


def test_a_server_that_refuses_or_is_not_there(monkeypatch, s3):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Denied(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(403)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Denied)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for read, url in ((open_stored, "s3://bucket/photos"), (open_image, "s3://bucket/a.png")):
        with pytest.raises(StoreError, match=f"^{url}: access denied; check the credentials in the environment"):
            read(url)
    # One object that may not be read is left out.
    with pytest.raises(ImageError, match=r"^s3://bucket/a\.png: access denied; check the credentials"):
        open_image(ByteRange(StoredObject("s3://bucket/a.png", 9, 0, ""), 0, 9, ""))
    server.shutdown()
    server.server_close()
    object_files._store.cache_clear()
    image = ByteRange(StoredObject("s3://bucket/a.png", 9, 0, ""), 0, 9, "")
    for read, place in ((open_stored, "s3://bucket/photos"), (open_image, "s3://bucket/a.png"), (open_image, image)):
        with pytest.raises(
            StoreError, match=rf"^{place}: http.* cannot be reached \(connection refused\); check the network"
        ):
            read(place)
    with pytest.raises(StoreError, match=r"^s3://bucket/a.tar: http.* cannot be reached"):
        open_stored(["s3://bucket/a.tar", "s3://bucket/b.tar"])


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    object_files._store.cache_clear()
    for read in (open_stored, open_image, open_dataset):
        with pytest.raises(
            StoreError, match=r"s3:// needs the package obstore; install it with: pip install 'diml\[stores\]'"
        ):
            read("s3://bucket/a.png")


def test_an_object_as_a_file(s3):
    data = bytes(range(256)) * 40
    url = s3({"x.bin": data})
    with StoredObject.at(f"{url}/x.bin").open() as file:
        assert file.read(3) == data[:3]
        assert file.seek(-5, os.SEEK_END) == len(data) - 5
        assert file.read() == data[-5:]
        assert file.read(1) == b""
        assert file.seek(1000) == 1000
        assert file.read(5000) == data[1000:6000]
    assert parts(f"{url}/x.bin") == (url, "x.bin")
    with pytest.raises(UsageError, match="expected an address that begins with s3://"):
        parts("https://example.org/x")
