"""Indices of packed images: equal to those of the same images in a folder, with the same promises."""

import os
import pickle
import re
import tarfile

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diml.data.object_files import StoredObject
from diml.data.packed import open_packed
from diml.errors import DatasetError, ImageError, StoreError, UsageError
from diml.object_stores import UnreachableError
from diml.search import Index, index_folder
from diml.search.items import image_id, items

KINDS = ["tar", "parquet", "lance"]


def packed_as(packing, kind, folder, **columns):
    file = folder / f"images.{kind}"
    return getattr(packing, kind)(file, **columns)


def rows(index):
    """All that an index holds of its images, by their paths without the container."""
    store = index._state.require().store
    found = store.scan(
        ["path", "hash", "label", "width", "height", "visible", "pooled", "map", "thumbnail"]
    ).to_pylist()
    return {re.sub(r"^images\.\w+/", "", row.pop("path")): row for row in found}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_index_of_the_folder(packing, kind, index, photos, model, tmp_path):
    file = packed_as(packing(photos), kind, tmp_path)
    packed = Index.create(tmp_path / "packed.diml", model)
    report = packed.add(file)
    assert (report.added, report.skipped) == (12, [])
    assert rows(packed) == rows(index)
    found, same = (each.search(photos / "a" / "0003.png", k=5) for each in (packed, index))
    assert [hit.path for hit in found] == [f"{file.name}/{hit.path}" for hit in same]
    assert [hit.similarity for hit in found] == [hit.similarity for hit in same]


@pytest.mark.parametrize("kind", KINDS)
class TestAgain:
    @pytest.fixture
    def packed(self, packing, kind, photos, model, tmp_path):
        """What is packed, and the index of it."""
        file = packed_as(packing(photos), kind, tmp_path)
        made = Index.create(tmp_path / "packed.diml", model)
        made.add(file)
        return file, made

    def test_unchanged_ones_are_not_read(self, packed, backbone, monkeypatch):
        before = backbone.images
        monkeypatch.setattr("diml.search.items.examine", pytest.fail)
        monkeypatch.setattr("diml.search.items._examine", pytest.fail)
        report = packed[1].add(packed[0])
        assert (report.added, report.changed, report.unchanged, report.relabelled) == (0, 0, 12, 0)
        assert backbone.images == before

    def test_packed_anew(self, packed, kind, packing, photos, backbone, write_image, tmp_path):
        file, index = packed
        write_image(photos / "a" / "0000.png", "another")
        write_image(photos / "a" / "new.png", "new")
        (photos / "c" / "0002.png").unlink()
        again = packing(photos)
        before = backbone.images
        if kind == "lance":
            lancedb.connect(tmp_path).create_table("images", again.table(path=again.names), mode="overwrite")
        else:
            packed_as(again, kind, tmp_path)
        report = index.add(file, prune=True)
        assert (report.added, report.changed, report.unchanged, report.removed) == (1, 1, 10, 1)
        assert backbone.images == before + 2
        assert rows(index).keys() == set(again.names)
        assert index.search(photos / "a" / "0000.png", k=1)[0].pooled == pytest.approx(1, abs=1e-5)
        known = index._state.require().store.known()
        times = {each.mtime_ns for each in known.values()}
        assert times == {open_packed(file).file(0).mtime_ns}  # so that the next time none need be read
        assert index.add(file).unchanged == 12

    def test_new_labels_without_embedding(self, packed, kind, packing, photos, backbone, tmp_path):
        file, index = packed
        again, before = packing(photos), backbone.images
        again.labels = [label.upper() for label in again.labels]
        if kind == "lance":
            lancedb.connect(tmp_path).create_table("images", again.table(path=again.names), mode="overwrite")
        else:
            packed_as(again, kind, tmp_path)
        report = index.add(file)
        assert (report.relabelled, report.unchanged, report.changed) == (12, 12, 0)
        assert backbone.images == before
        assert {entry.label for entry in index} == {"A", "B", "C"}

    def test_an_image_that_cannot_be_read(self, kind, packing, photos, model, tmp_path):
        packing = packing(photos)
        packing.images[4] = packing.images[4][:40]
        file = packed_as(packing, kind, tmp_path)
        index = Index.create(tmp_path / "packed.diml", model)
        for added in (11, 0):
            report = index.add(file, prune=True)
            assert (report.added, report.removed) == (added, 0)
            assert [each.path for each in report.skipped] == [f"{file.name}/{packing.names[4]}"]
            assert report.skipped[0].reason.startswith(f"{file}/{packing.names[4]}: is ")
        with pytest.raises(ImageError, match=packing.names[4]):
            Index.create(tmp_path / "strict.diml", model).add(file, strict=True)

    def test_items_can_be_sent_to_other_processes(self, packed):
        wanted = items(open_packed(packed[0]))
        assert pickle.loads(pickle.dumps(wanted)) == wanted
        assert all(len(pickle.dumps(item)) < 700 for item in wanted)


def test_an_interrupted_run_goes_on(packing, photos, model, backbone, tmp_path):
    file = packing(photos).tar(tmp_path / "images.tar")

    def stop(done, total):
        if done >= 8:
            raise KeyboardInterrupt

    index = Index.create(tmp_path / "packed.diml", model)
    with pytest.raises(KeyboardInterrupt):
        index.add(file, batch_size=4, progress=stop)
    stored, before = len(index), backbone.images
    assert 0 < stored < 12
    report = index.add(file)
    assert (report.added, report.unchanged) == (12 - stored, stored)
    assert backbone.images == before + 12 - stored


def test_a_tar_cut_short_keeps_what_is_stored_of_it(packing, photos, model, tmp_path):
    file = packing(photos).tar(tmp_path / "images.tar")
    index = Index.create(tmp_path / "packed.diml", model)
    index.add(file)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    report = index.add(file, prune=True)
    assert (report.removed, report.added, report.changed) == (0, 0, 0)
    assert [each.path for each in report.skipped] == ["images.tar"]
    assert len(index) == 12
    with pytest.raises(ImageError, match=r"images\.tar: is (truncated|damaged).* members, which are taken"):
        index.add(file, strict=True)


def test_shards_are_added_one_after_the_other(packing, photos, model, tmp_path):
    packing, shards, other = packing(photos), tmp_path / "shards", tmp_path / "other"
    shards.mkdir()
    other.mkdir()
    for i in range(3):
        packing.tar(shards / f"{i}.tar", 4 * i, 4 * i + 4)
    index = Index.create(tmp_path / "packed.diml", model)
    assert index.add(shards / "0.tar").added == 4
    assert index.add([shards / "0.tar", shards / "1.tar"]).added == 4
    assert index.add(shards / "{0..2}.tar").added == 4
    assert index.add(shards).unchanged == 12
    # Other tars hold none of the images, so pruning by them would drop all.
    with pytest.raises(UsageError, match="pruning would drop them all"):
        index.add(packing.tar(other / "9.tar"), prune=True)
    assert len(index) == 12
    assert index.add(shards / "{0..1}.tar", prune=True).removed == 4


def test_columns_under_other_names(packing, photos, model, tmp_path):
    file = packing(photos).parquet(tmp_path / "images.parquet", width=["wide"] * 12)
    entry = next(iter(index_folder(file, tmp_path / "packed.diml", model=model)[0]))
    assert entry.columns == {"number": "0", "width_": "wide"}


def test_what_cannot_be_combined(packing, photos, model, tmp_path):
    file = packing(photos).tar(tmp_path / "images.tar")
    index = Index.create(tmp_path / "packed.diml", model)
    with pytest.raises(UsageError, match="labels needs a list of image files; tars and tables of images have labels"):
        index.add([file], labels=["x"])
    with pytest.raises(UsageError, match=r"got .*images\.tar and .*0000\.png; add them one after the other"):
        index.add([file, photos / "a" / "0000.png"])
    with pytest.raises(UsageError, match="there is no such file"):
        index.add(tmp_path / "no.tar")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(DatasetError, match=r"empty\.tar: holds no images; expected members such as 12\.jpg in a tar"):
        index.add(tmp_path / "empty.tar")
    assert not os.path.exists(tmp_path / "packed.diml")


def test_a_table_that_lists_files_is_read_as_before(photos, model, tmp_path):
    names = sorted(each.relative_to(tmp_path).as_posix() for each in photos.rglob("*.png"))
    pq.write_table(pa.table({"path": names, "label": ["x"] * 12}), tmp_path / "images.parquet")
    index = Index.create(tmp_path / "packed.diml", model)
    assert index.add(tmp_path / "images.parquet").added == 12
    assert index.entry(image_id(names[0])).label == "x"


def test_a_store_that_goes_away_ends_the_run_and_what_was_embedded_stays(
    s3, packing, photos, model, monkeypatch, tmp_path
):
    packing = packing(photos)
    url = s3(dict(zip(packing.names, packing.images, strict=True)))
    read, count = StoredObject.read, 0

    def until(stored, offset, size):
        nonlocal count
        count += 1
        if stored.url.endswith(packing.names[8]):
            raise UnreachableError(f"{stored.name}: the store cannot be reached")
        return read(stored, offset, size)

    index = Index.create(tmp_path / "stored.diml", model)
    with monkeypatch.context() as gone:
        gone.setattr(StoredObject, "read", until)
        with pytest.raises(StoreError, match="the store cannot be reached"):
            index.add(url, batch_size=2)
    stored = len(index)
    assert stored < 12
    report = index.add(url, labels_from="folder", strict=True)
    assert (report.added, report.unchanged) == (12 - stored, stored)
    assert {entry.path: entry.label for entry in index} == dict(zip(packing.names, packing.labels, strict=True))
    assert index.collection is None


def test_pruning_by_a_table_on_a_store(s3, packing, photos, model, tmp_path):
    packing = packing(photos)
    lines = "".join(f"{name},{label}\n" for name, label in zip(packing.names, packing.labels, strict=True))
    url = s3({"list.csv": f"path,label\n{lines}".encode(), **dict(zip(packing.names, packing.images, strict=True))})
    index = Index.create(tmp_path / "stored.diml", model)
    assert index.add(f"{url}/list.csv").added == 12
    s3.client.delete_object(Bucket=url[5:], Key=packing.names[0])
    report = index.add(f"{url}/list.csv", prune=True)
    assert (report.removed, report.unchanged) == (1, 11)
    assert [(each.path, each.reason) for each in report.skipped] == [
        (packing.names[0], "is on line 2 of list.csv, but there is no such object")
    ]
