"""Indices on an object store, an S3-compatible server on loopback: they give what an index on this machine gives, any
number of processes write at the same time, and a process that is killed leaves nothing that others wait for.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import lancedb
import pytest
import torch

from diml.errors import DatasetError, StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel
from diml.search import Index, claims, index_folder, recode
from diml.search.claims import Claim
from diml.search.manifest import FILE, Manifest, is_index
from diml.search.object_table import ObjectTable
from diml.search.places import index_place
from diml.search.store import Store
from diml.search.writer import Writer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from life_process import backbone as life_backbone  # noqa: E402 (beside this file)


@pytest.fixture
def bucket(s3):
    return s3({})


@pytest.fixture
def stored(bucket, model, photos):
    """The index `index`, made on the store."""
    made = Index.create(f"{bucket}/deep/photos.diml", model)
    made.add(photos, labels_from="folder")
    return made


@pytest.fixture
def download(s3, tmp_path):
    """download(address): a copy in a folder of this machine."""

    def copy(address, name="copy.diml"):
        bucket, _, prefix = str(address).removeprefix("s3://").partition("/")
        for page in s3.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
            for each in page["Contents"]:
                file = tmp_path / name / each["Key"].removeprefix(f"{prefix}/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(s3.client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read())
        return tmp_path / name

    return copy


@pytest.fixture
def upload(s3):
    """upload(folder): its files in a new bucket; the address."""

    def copy(folder):
        files = (file for file in folder.rglob("*") if file.is_file())
        return s3({f"x.diml/{file.relative_to(folder).as_posix()}": file.read_bytes() for file in files}) + "/x.diml"

    return copy


def names(s3, address):
    """What lies in a place, one level of it."""
    bucket, _, prefix = str(address).removeprefix("s3://").partition("/")
    listed = s3.client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
    return sorted({each["Key"].removeprefix(f"{prefix}/").partition("/")[0] for each in listed})


def hits(result):
    """A result without its index."""
    return {name: value for name, value in result.to_dict().items() if name != "index"}


def raw_ids(address):
    """The ids as the engine alone reads them, which are what is stored."""
    return lancedb.connect(str(address)).open_table("images").to_arrow()["id"].to_pylist()


class TestTheSameAsOnThisMachine:
    def test_search(self, stored, index, photos, backbone):
        query = photos / "a" / "0003.png"
        again = Index.open(str(stored.path), backbone=backbone)
        for k, shortlist in [(3, 100), (12, "all"), (5, 0)]:
            assert hits(again.search(query, k, shortlist)) == hits(index.search(query, k, shortlist))
        assert hits(again.search(query, where="label = 'b'")) == hits(index.search(query, where="label = 'b'"))
        assert again.maps(again.paths).local.equal(index.maps(index.paths).local)
        assert list(again) == list(index)
        assert list(again.pairs(0.1)) == list(index.pairs(0.1))
        assert again.search(query).to_dict()["index"] == str(stored.path)

    def test_stats(self, stored, index, bucket):
        there, here = (each.stats().to_dict() for each in (stored, index))
        assert there["path"] == f"{bucket}/deep/photos.diml"
        own = {"path", "bytes", "collection"}
        assert {name: there[name] for name in there.keys() - own} == {name: here[name] for name in here.keys() - own}
        assert there["bytes"] > 0

    def test_the_model_is_inside_and_leaves_no_files(self, stored, photos, tmp_path, monkeypatch, emoji):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
        (tmp_path / "temporary").mkdir()
        address = str(stored.path.url) + "-lite0"
        made, report = index_folder(emoji, address, labels_from="folder", grid=3)
        assert report.added == 48
        opened = Index.open(address)
        assert opened.model.name == "lite0"
        assert opened.model.fingerprint == made.model.fingerprint
        assert opened.search(next(emoji.rglob("*.png")), k=1)[0].similarity == pytest.approx(1, abs=0.05)
        assert not [name for name in os.listdir(tmp_path / "temporary") if name.startswith("diml")]

    def test_a_copy_on_this_machine_is_an_index(self, stored, index, download, photos, backbone, make_folder):
        copied = Index.open(download(stored.path), backbone=backbone)
        query = photos / "a" / "0003.png"
        assert hits(copied.search(query)) == hits(index.search(query))
        assert copied.add(make_folder(14)).added == 2
        assert len(copied) == len({*copied.paths}) == 14

    def test_an_index_that_was_copied_there_is_read_only(self, index, upload, photos, backbone, make_folder):
        there = Index.open(upload(index.path), backbone=backbone)
        assert hits(there.search(photos / "a" / "0003.png")) == hits(index.search(photos / "a" / "0003.png"))
        for change in (lambda: there.add(make_folder(14)), lambda: there.remove("a/0003.png")):
            with pytest.raises(StoreError, match=r"was made on a disk and copied here, .* searched but not changed"):
                change()
        assert len(there) == 12

    def test_maps_from_elsewhere(self, bucket):
        index = Index.create(f"{bucket}/features.diml")
        maps = FeatureMaps(torch.eye(8).reshape(2, 4, 8), grid=(2, 2))
        assert index.add_maps(maps, paths=["a", "b"], labels=["x", "y"], sizes=[(64, 64), (80, 60)]).added == 2
        assert index.search(maps[1], k=1)[0].path == "b"
        again = Index.open(f"{bucket}/features.diml")
        report = again.add_maps(maps, paths=["a", "b"], labels=["x", "z"], sizes=[(64, 64), (80, 60)])
        assert (report.unchanged, report.relabelled) == (2, 1)
        assert again.labels == ["x", "z"]

    @pytest.mark.parametrize("codes", ["int8", "pq2"])
    def test_codes(self, bucket, model, make_folder, tmp_path, codes):
        photos, made = make_folder(20), []
        for place in (f"{bucket}/codes.diml", tmp_path / "codes.diml"):
            Index.create(place, model, codes=codes).add(photos)
            made.append(Index.open(place, model=model))
        there, here = made
        query = photos / "a" / "0003.png"
        assert there.stats().codes == here.stats().codes
        assert hits(there.search(query)) == hits(here.search(query))

    def test_recode(self, stored, bucket, tmp_path, photos, model):
        query = photos / "a" / "0003.png"
        recode(stored.path, f"{bucket}/small.diml", "int8")
        recode(stored.path, tmp_path / "small.diml", "int8")
        there, here = (Index.open(place, model=model) for place in (f"{bucket}/small.diml", tmp_path / "small.diml"))
        assert hits(there.search(query)) == hits(here.search(query))
        with pytest.raises(StoreError, match=r"small\.diml is an index already"):
            recode(stored.path, f"{bucket}/small.diml", "int8")

    def test_shards(self, bucket, model, make_folder, index, photos, tmp_path):
        there = Index.create(f"{bucket}/b.diml", model)
        there.add(photos)
        there.remove([path for path in index.paths if path < "b"])
        here = Index.create(tmp_path / "a.diml", model)
        here.add(photos)
        here.remove([path for path in index.paths if path >= "b"])
        both = Index.open([tmp_path / "a.diml", f"{bucket}/b.diml"], model=model)
        found = both.search(photos / "c" / "0005.png", k=12)
        expected = index.search(photos / "c" / "0005.png", k=12)
        assert [(hit.path, hit.similarity) for hit in found] == [(hit.path, hit.similarity) for hit in expected]
        assert {str(path) for path in both.shards.values()} == {str(tmp_path / "a.diml"), f"{bucket}/b.diml"}
        with pytest.raises(UsageError, match=r"b\.diml is listed twice"):
            Index.open([f"{bucket}/b.diml", f"{bucket}/b.diml/"])


class TestChanges:
    def test_its_life(self, stored, index, photos, make_folder, write_image, backbone, s3):
        for each in (stored, index):
            assert each.add(photos, labels_from="folder").unchanged == 12
        make_folder(15)
        write_image(photos / "a" / "0003.png", "other")
        reports = [each.add(photos, labels_from="folder", prune=True) for each in (stored, index)]
        assert [(each.added, each.changed, each.removed) for each in reports] == [(3, 1, 0)] * 2
        (photos / "c" / "0008.png").unlink()
        assert [each.add(photos, prune=True).removed for each in (stored, index)] == [1, 1]
        assert [each.remove("c/0011.png") for each in (stored, index)] == [1, 1]
        assert list(stored) == list(index) == list(Index.open(stored.path, backbone=backbone))
        assert stored.maps(stored.paths).local.equal(index.maps(index.paths).local)
        assert sorted(raw_ids(stored.path)) == sorted({*raw_ids(stored.path)})
        # Nothing but an index: no claim, no lock.
        assert names(s3, stored.path) == ["images.lance", FILE, "model"]
        assert Manifest.read(stored.path).table_version == stored._state.require().store.version

    def test_labels(self, stored, photos, tmp_path):
        table = tmp_path / "labels.csv"
        table.write_text("path,label\na/0003.png,new\n")
        assert stored.add(photos, labels_from=table).relabelled == 1
        assert stored.entry("a/0003.png").label == "new"
        assert stored.entry("b/0001.png").label == "b"

    @pytest.mark.slow
    def test_small_commits_are_compacted_while_others_read(self, bucket, model, make_folder, monkeypatch):
        monkeypatch.setattr("diml.search.store.FRAGMENTS", 8)
        photos = make_folder(2)
        index = Index.create(f"{bucket}/x.diml", model)
        index.add(photos)
        reader = Index.open(f"{bucket}/x.diml", model=model)
        make_folder(22)
        index.add(photos, batch_size=2, commit_seconds=0)
        found = hits(reader.search(photos / "a" / "0003.png"))
        assert index._state.require().store._table.stats()["fragment_stats"]["num_fragments"] < 8
        assert hits(reader.search(photos / "a" / "0003.png")) == found
        # A reader at an older version still finds its files.
        table = lancedb.connect(f"{bucket}/x.diml").open_table("images")
        table.checkout(3)
        assert table.to_arrow().num_rows in range(1, 10)

    def test_a_graph(self, bucket, model, make_folder):
        photos = make_folder(30)
        index = Index.create(f"{bucket}/x.diml", model, exact_limit=20)
        index.add(photos)
        assert index.stats().graph
        assert index.search(photos / "a" / "0003.png", k=1)[0].path == "a/0003.png"

    def test_an_index_that_was_removed_while_it_was_open(self, stored, s3, photos):
        place = index_place(stored.path)
        place.store.delete([each.key for _, each in place.below()])
        with pytest.raises(StoreError, match="was moved or removed while it was open"):
            stored.add(photos)
        with pytest.raises(StoreError, match="was moved or removed while it was open"):
            stored.search(photos / "a" / "0003.png")
        assert names(s3, stored.path) == []

    def test_one_that_failed_before_its_first_image_is_unmade(self, bucket, model, tmp_path, s3, photos):
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "x.png").write_bytes(b"no image")
        index = Index.create(f"{bucket}/x.diml", model)
        with pytest.raises(DatasetError, match="none of the 1 images"):
            index.add(tmp_path / "bad")
        assert names(s3, f"{bucket}/x.diml") == []
        assert index.add(photos).added == 12

    def test_one_that_another_process_has_added_to_is_not_unmade(self, bucket, model, photos):
        index = Index.create(f"{bucket}/x.diml", model)
        index.add(photos)
        index._state.undo_creation_if_empty()
        assert is_index(index.path)
        assert len(Index.open(index.path, model=model)) == 12


class TestWriters:
    def test_images_that_another_writer_stores_at_the_same_moment(self, stored, make_folder, model, monkeypatch):
        """The second commits between the first's reading of what is stored and its commit."""
        photos = make_folder(20)
        other = Index.open(stored.path, model=model)
        new_rows, raced = Writer._new_rows, []

        def racing(self, block):
            rows = new_rows(self, block)
            if not raced:
                raced.append(True)
                raced.append(other.add(photos))
            return rows

        monkeypatch.setattr(Writer, "_new_rows", racing)
        report = stored.add(photos)
        assert (raced[1].added, report.added, report.unchanged) == (8, 0, 20)
        assert len(raw_ids(stored.path)) == len({*raw_ids(stored.path)}) == 20

    def test_a_label_does_not_bring_back_old_content(self, stored, photos, write_image, tmp_path, model, monkeypatch):
        """The content of an image changes after its row was read to change the label."""
        table = tmp_path / "labels.csv"
        table.write_text("path,label\na/0003.png,new\na/0006.png,new\n")
        rows, other = ObjectTable.rows, Index.open(stored.path, model=model)

        def racing(self, ids):
            found = rows(self, ids)
            monkeypatch.setattr(ObjectTable, "rows", rows)
            write_image(photos / "a" / "0003.png", "other")
            assert other.add(photos).changed == 1
            assert other.remove("a/0006.png") == 1
            return found

        before = stored.maps("a/0003.png").local
        monkeypatch.setattr(ObjectTable, "rows", racing)
        stored.add(photos, labels_from=table)
        assert not stored.maps("a/0003.png").local.equal(before)
        assert "a/0006.png" not in stored

    def test_threads_that_add_the_same(self, bucket, model, photos):
        """They also make the index at the same time: one does, the others join it."""
        reports, started = [], threading.Barrier(4)

        def add():
            index = Index.create(f"{bucket}/x.diml", model)
            started.wait()
            reports.append(index.add(photos, batch_size=3, commit_seconds=0))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(reports) == 4
        assert sum(report.added for report in reports) == 12
        ids = raw_ids(f"{bucket}/x.diml")
        assert len(ids) == len({*ids}) == 12

    @pytest.mark.long
    def test_two_processes_with_overlapping_folders(self, bucket, make_folder, model, tmp_path):
        """Each is given 40 images, of which 20 are the other's too; both make the index at the same time."""
        for first, last, name in [(0, 40, "one"), (20, 60, "two")]:
            source = make_folder(60, "all")
            for file in sorted(source.rglob("*.png")):
                if first <= int(file.stem) < last:
                    target = tmp_path / name / file.relative_to(source)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(file.read_bytes())
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        processes = [
            subprocess.Popen(
                [sys.executable, HERE / "adding_process.py", tmp_path / name, f"{bucket}/x.diml", "0", "0.05"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for name in ("one", "two")
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=300) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], answers
        reports = [json.loads(out) for out, _ in answers]
        assert sum(report["added"] for report in reports) == 60
        assert sum(report["changed"] for report in reports) == 0
        ids = raw_ids(f"{bucket}/x.diml")
        assert len(ids) == len({*ids}) == 60
        opened = Index.open(f"{bucket}/x.diml", model=model)
        for path in opened.paths[::7]:
            assert opened.search(tmp_path / "all" / path, k=1)[0].path == path

    @pytest.mark.long
    @pytest.mark.parametrize("dim", ["0", "4"])
    def test_kills(self, bucket, make_folder, dim):
        """kill -9 at random moments of making and adding, another process adding meanwhile in every other life."""
        photos = make_folder(48)
        rng = random.Random(20261127)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        # Long enough that on a busy machine nobody takes a living process for dead.
        environment |= {"LIFE_LEASE": "8", "LIFE_RENEWAL": "0.5"}

        def start(address):
            process = subprocess.Popen(
                [sys.executable, HERE / "life_process.py", "add", photos, address, dim],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            assert process.stdout.readline() == "ready\n"
            return process

        def go(process):
            process.stdin.write("go\n")
            process.stdin.flush()

        unbroken = start(f"{bucket}/unbroken.diml")
        began = time.monotonic()
        go(unbroken)
        assert unbroken.stdout.readline().startswith("stored ")
        seconds = time.monotonic() - began
        assert unbroken.communicate(timeout=300)[0].endswith("done\n")
        wanted = Index.open(f"{bucket}/unbroken.diml", backbone=life_backbone())
        at_work = 0
        for life in range(10):
            address = f"{bucket}/{life}.diml"
            killed = start(address)
            beside = start(address) if life % 2 else None
            go(killed)
            if beside is not None:
                go(beside)
            # Before its first commit, or after some rows: not after so many seconds, as a busy machine takes longer.
            lines = [killed.stdout.readline().strip() for _ in range(0 if life < 5 else rng.randrange(1, 40))]
            time.sleep(rng.random() * (seconds if life < 5 else 0.1))
            killed.send_signal(signal.SIGKILL)
            lines += killed.communicate()[0].splitlines()
            at_work += "done" not in lines
            committed = {line.removeprefix("stored ") for line in lines if line.startswith("stored ")}
            if committed:
                assert committed <= {*Index.open(address, backbone=life_backbone()).paths}
            if beside is not None:
                out, errors = beside.communicate(timeout=300)
                assert out.endswith("done\n"), errors
            rerun = start(address)
            go(rerun)
            out, errors = rerun.communicate(timeout=300)
            assert out.endswith("done\n"), errors
            ids = raw_ids(address)
            assert len(ids) == len({*ids}) == 48
            again = Index.open(address, backbone=life_backbone())
            assert again.paths == wanted.paths
            query = photos / "c" / "0047.png"
            assert {hit.path for hit in again.search(query, k=48, shortlist="all")} == {*wanted.paths}
            if dim == "0":  # a head depends on the order of the sample
                assert again.maps(again.paths).local.equal(wanted.maps(wanted.paths).local)
        assert at_work >= 5, "most kills came too late to interrupt anything"


class TestClaims:
    @pytest.fixture
    def file(self, bucket):
        return index_place(f"{bucket}/x.diml") / FILE

    def test_one_of_several_at_a_time(self, file):
        inside, most = [], []

        def claim():
            with Claim(file) as held:
                assert held.held
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.05)
                inside.pop()

        threads = [threading.Thread(target=claim) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1] * 4
        assert file.state() is None

    def test_a_dead_one_is_taken_over_and_cannot_complete(self, file, monkeypatch):
        monkeypatch.setattr(claims, "LEASE", 0.5)
        monkeypatch.setattr(claims, "RENEWAL", 60)
        asleep = Claim(file).__enter__()
        with Claim(file) as second:
            assert second.held
            with pytest.raises(StoreError, match="was taken over by another process"):
                asleep.replace(b"{}")
            second.replace(b'{"format": "diml-index"}')
        assert file.read_bytes() == b'{"format": "diml-index"}'
        assert not Claim(file).__enter__().held

    def test_a_living_one_is_waited_for(self, file, monkeypatch):
        monkeypatch.setattr(claims, "LEASE", 0.6)
        monkeypatch.setattr(claims, "RENEWAL", 0.1)
        order = []

        def second():
            with Claim(file):
                order.append("second")

        with Claim(file):
            thread = threading.Thread(target=second)
            thread.start()
            time.sleep(1.5)
            order.append("first")
        thread.join()
        assert order == ["first", "second"]

    def test_a_claimed_place_is_no_index(self, file, bucket):
        with Claim(file):
            assert not is_index(index_place(f"{bucket}/x.diml"))
            with pytest.raises(StoreError, match=r"x\.diml has no manifest\.json: its creation .* was interrupted"):
                Index.open(f"{bucket}/x.diml")


class TestErrors:
    def test_no_such_index(self, bucket):
        with pytest.raises(StoreError, match=rf"^{bucket}/x.diml does not exist; make an index with: diml index"):
            Index.open(f"{bucket}/x.diml")

    def test_something_else(self, s3, bucket, model):
        s3({"photos/a.png": b"1", "file": b"2"}, bucket.removeprefix("s3://"))
        with pytest.raises(StoreError, match=rf"^{bucket}/photos is not an index: it has no manifest.json"):
            Index.open(f"{bucket}/photos")
        with pytest.raises(StoreError, match=rf"^{bucket}/photos holds 'a.png' and is not an index"):
            Index.create(f"{bucket}/photos", model)
        with pytest.raises(StoreError, match=rf"^{bucket}/file is a file; an index is a folder"):
            Index.create(f"{bucket}/file", model)

    def test_an_index_already(self, stored, model):
        with pytest.raises(StoreError, match=r"is an index already; open it with Index\.open"):
            Index.create(stored.path, model)

    def test_no_such_bucket(self, s3, model, photos):
        for attempt in (
            lambda: Index.open("s3://none-here/x.diml"),
            lambda: Index.create("s3://none-here/x.diml", model).add(photos),
        ):
            with pytest.raises(StoreError, match="there is no bucket none-here"):
                attempt()

    @pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/", "s3://bucket/x?.diml", "s3://bucket/a/../b"])
    def test_addresses_that_are_none(self, address):
        with pytest.raises(UsageError):
            Index.open(address)

    def test_other_schemes(self):
        with pytest.raises(UsageError, match=r"expected a path on this machine, got the URL https://a\.org/x\.diml"):
            Index.open("https://a.org/x.diml")

    def test_out_of_reach(self, stored, photos, model, monkeypatch):
        """In seconds, also for an index that is open."""
        query = photos / "a" / "0003.png"
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        started = time.monotonic()
        with pytest.raises(StoreError, match=f"{address} cannot be reached .*; check the network and the endpoint"):
            Index.open(str(stored.path))
        with pytest.raises(StoreError, match=f"{address} cannot be reached"):
            Index.create("s3://bucket/x.diml", model).add(query.parent)
        assert time.monotonic() - started < 60

    def test_without_the_extra(self, monkeypatch, stored):
        monkeypatch.setitem(sys.modules, "obstore", None)
        monkeypatch.setitem(sys.modules, "obstore.store", None)
        with pytest.raises(StoreError, match=r"^s3:// needs .* pip install 'diml\[stores\]'$"):
            Index.open(str(stored.path))

    def test_copied_in_part(self, stored, s3):
        place = index_place(stored.path)
        (place / "model" / "model.safetensors").delete()
        with pytest.raises(StoreError, match=r"was copied in part: s3://.*/model/model.safetensors is missing"):
            Index.open(str(stored.path))

    def test_a_table_that_is_missing(self, stored):
        place = index_place(stored.path)
        place.store.delete([each.key for name, each in place.below() if name.startswith("images.lance")])
        with pytest.raises(StoreError, match="was copied in part: its table is missing"):
            Index.open(str(stored.path))

    def test_a_damaged_manifest(self, stored):
        file = index_place(stored.path) / FILE
        file.store.write(file.url.key, b"{")
        with pytest.raises(StoreError, match="cannot be read as the manifest of an index"):
            Index.open(str(stored.path))

    def test_another_model(self, stored, backbone_class):
        torch.manual_seed(5)
        other = StructuralModel.wrap(torch.nn.Conv2d(3, 12, 8, 8), grid=(4, 4))
        with pytest.raises(StoreError, match="was made with the model tiny"):
            Index.open(str(stored.path), model=other)


def test_the_base_class_writes_as_before(tmp_path, stored):
    """What is on this machine has no key: its bytes are those of earlier versions."""
    schema = stored._state.require().store.schema
    assert schema.field("id").metadata
    assert Store.stored_schema(schema.remove_metadata()) == schema.remove_metadata()
    local = Store.create(tmp_path / "x", schema.set(0, schema.field("id").remove_metadata()))
    assert not local.schema.field("id").metadata
