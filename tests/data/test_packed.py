"""Images in tars, Parquet files and Lance datasets: the same images as in a folder, and one sentence for all else."""

import gzip
import io
import json
import os
import pickle
import random
import tarfile

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diml.data import open_dataset, open_folder, open_image
from diml.data.located import UnusableError
from diml.data.packed import open_packed
from diml.data.patterns import expanded
from diml.data.read_ahead import read_ahead
from diml.errors import DatasetError, ImageError, UsageError

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def packed(packing, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "photos"
    for i in range(12):
        file = folder / "abc"[i % 3] / f"{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(file)
    return packing(folder)


def write(file, members):
    """A tar of (name, content), or of ready members."""
    with tarfile.open(file, "w") as tar:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def opened_as(packed, file):
    """Whatever it is packed in, the images are those of the folder, with its labels and columns."""
    found = open_packed(file)
    assert found.paths == [f"{file.name}/{name}" for name in packed.names]
    assert found.labels == packed.labels
    assert found.columns["number"] == [str(i) for i in range(len(packed.names))]
    assert found.root == file.parent
    assert found.skipped == []
    assert [each.content() for each in found.sources] == packed.images
    for at, name in enumerate(packed.names):
        same = pickle.loads(pickle.dumps(found.file(at)))
        assert same == found.file(at)
        assert os.fspath(same) == str(same) == f"{file}/{name}"
        assert open_image(same).tobytes() == open_image(packed.folder / name).tobytes()
    assert found.subset([3, 1]).file(0) == found.file(3)
    return found


class TestTars:
    def test_the_images_of_a_folder(self, packed, tmp_path):
        found = opened_as(packed, packed.tar(tmp_path / "all.tar"))
        assert found.columns["good"] == ["True"] * 12
        assert found.notes == [f"{tmp_path}/all.tar: left out of its JSON, as they hold several values: box"]
        assert found.file(0).size == len(packed.images[0])
        assert found.file(0).mtime_ns == (tmp_path / "all.tar").stat().st_mtime_ns

    def test_members_of_a_key_in_any_order(self, packed, tmp_path):
        data = packed.images[0]
        members = [
            *(("x/a.cls", b"cat\n"), ("x/b.json", b'{"label": "dog", "n": null}'), ("y/a.json", b'{"label": 3}')),
            *(("x/a.png", data), ("x/b.left.png", data), ("x/b.right.png", data), ("y/a.png", data)),
            *(
                ("x/a.json", b'{"label": "other", "size": 1.5}'),
                ("y/a.cls", b"bird"),
                ("x/b.txt", " a dog \u00e4".encode()),
            ),
        ]
        random.Random(0).shuffle(members)
        found = open_packed(write(tmp_path / "t.tar", members))
        by_path = {path.removeprefix("t.tar/"): i for i, path in enumerate(found.paths)}
        labels = {path: found.labels[i] for path, i in by_path.items()}
        assert labels == {"x/a.png": "cat", "x/b.left.png": "dog", "x/b.right.png": "dog", "y/a.png": "bird"}
        assert found.columns["size"][by_path["x/a.png"]] == "1.5"
        assert found.columns["txt"][by_path["x/b.left.png"]] == "a dog ä"
        assert found.columns["txt"][by_path["x/a.png"]] is None
        assert "label" not in found.columns

    def test_what_is_no_image_of_the_tar(self, packed, tmp_path):
        def special(name, kind, target=""):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            return member, b""

        data = packed.images[0]
        members = [
            *(("./good//1.png", data), ("/absolute.png", data), ("../out.png", data), ("a/../../out.png", data)),
            *((".hidden.png", data), ("__MACOSX/._1.png", data), ("read.me", b"?"), special("folder", tarfile.DIRTYPE)),
            special("soft.png", tarfile.SYMTYPE, "/etc/passwd"),
            special("hard.png", tarfile.LNKTYPE, "good/1.png"),
            *(special("pipe.png", tarfile.FIFOTYPE), special("device.png", tarfile.CHRTYPE)),
            *(
                ("bad.json", b"{"),
                ("bad.png", data),
                ("list.json", b"[1]"),
                ("text.cls", b"\xff"),
                ("b\udcff.png", data),
            ),
        ]
        found = open_packed(write(tmp_path / "t.tar", members))
        assert found.paths == ["t.tar/good/1.png", "t.tar/absolute.png", "t.tar/bad.png"]
        assert found.labels is None
        reasons = {each.path.removeprefix("t.tar/"): each.reason for each in found.skipped}
        for name in ("../out.png", "a/../../out.png", "b\\xff.png"):
            assert reasons.pop(name).startswith("leads out of the tar, or has a name that is not UTF-8")
        for name in ("soft.png", "hard.png"):
            assert reasons.pop(name) == "is a link in the tar, which is not followed; pack the file itself"
        for name in ("pipe.png", "device.png"):
            assert reasons.pop(name) == "is not a regular file (a pipe or device)"
        assert {name: reason.split(",")[0] for name, reason in reasons.items()} == {
            "bad.json": "is not an object of JSON",
            "list.json": "is not an object of JSON",
            "text.cls": "is not UTF-8 text",
        }

    def test_two_members_of_one_name(self, packed, tmp_path):
        file = write(tmp_path / "t.tar", [("a.png", packed.images[0]), ("./a.png", packed.images[1])])
        with pytest.raises(DatasetError, match=r"t\.tar: holds a\.png twice, and only one of them can be meant"):
            open_packed(file)

    @pytest.mark.parametrize("name", ["t.tar", "t.tar.gz", "t.tgz"])
    def test_a_compressed_tar(self, packed, tmp_path, name):
        (tmp_path / name).write_bytes(gzip.compress(packed.tar(tmp_path / "plain.tar").read_bytes()))
        with pytest.raises(DatasetError, match=r"is a tar compressed with gzip.*unpack the compression with gunzip"):
            open_packed(tmp_path / name)
        found = open_packed([tmp_path / name, tmp_path / "plain.tar"])
        assert len(found) == 12
        assert [(each.path, each.reason[:8]) for each in found.skipped] == [(name, "is a tar")]

    @pytest.mark.parametrize("content", [b"", b"no tar at all", b"\0" * 10240, b"x" * 2000])
    def test_no_tar(self, tmp_path, content):
        (tmp_path / "t.tar").write_bytes(content)
        with pytest.raises(DatasetError, match=r"t\.tar: (is no tar, or is damaged|holds no images)"):
            open_packed(tmp_path / "t.tar")

    def test_a_tar_that_changes(self, packed, tmp_path):
        image = open_packed(packed.tar(tmp_path / "t.tar")).file(0)
        packed.tar(tmp_path / "t.tar", 1)
        with pytest.raises(
            ImageError, match=r"0000\.png: lies in t\.tar, which changed while it was read; run the same"
        ):
            open_image(image)
        (tmp_path / "t.tar").unlink()
        with pytest.raises(ImageError, match=r"t\.tar/a/0000\.png: there is no such file"):
            open_image(image)

    def test_a_larger_image_than_is_read(self, packed, tmp_path, monkeypatch):
        monkeypatch.setattr("diml.data.located.MAX_BYTES", 100)
        image = open_packed(packed.tar(tmp_path / "t.tar")).file(0)
        with pytest.raises(ImageError, match=r"0000\.png: has [\d,]+ bytes, more than the 100 that are read"):
            open_image(image)

    @FEW
    @given(st.data())
    def test_a_truncated_tar(self, packed, tmp_path, data):
        whole = packed.tar(tmp_path / "whole.tar").read_bytes()
        content = 512 * max(i for i in range(len(whole) // 512) if any(whole[i * 512 : i * 512 + 512])) + 512
        end = data.draw(st.integers(1, content - 1))
        (tmp_path / "t.tar").write_bytes(whole[:end])
        try:
            found = open_packed(tmp_path / "t.tar")
        except DatasetError as error:
            assert "t.tar: " in str(error)  # noqa: PT017 - either is right
            return
        assert [each.content() for each in found.sources] == packed.images[: len(found)]
        assert [each.path for each in found.skipped] == ["t.tar"]
        assert "members, which are taken; copy or pack it again" in found.skipped[0].reason

    @FEW
    @given(st.data())
    def test_a_damaged_tar(self, packed, tmp_path, data):
        damaged = bytearray(packed.tar(tmp_path / "whole.tar").read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            header = data.draw(st.integers(0, len(damaged) // 512 - 1)) * 512
            damaged[header + data.draw(st.integers(0, 511))] = data.draw(st.integers(0, 255))
        (tmp_path / "t.tar").write_bytes(damaged)
        try:
            for each in open_packed(tmp_path / "t.tar").sources:
                each.content()
        except (DatasetError, UnusableError) as error:
            assert "\n" not in str(error)  # noqa: PT017 - or nothing is raised


class TestParquet:
    def test_the_images_of_a_folder(self, packed, tmp_path):
        opened_as(packed, packed.parquet(tmp_path / "photos.parquet"))

    def test_they_are_read_in_any_order(self, packed, tmp_path, monkeypatch):
        monkeypatch.setattr("diml.data.parquet_images._ROWS", 2)
        monkeypatch.setattr("diml.data.parquet_images._KEPT", 1)
        for rows in (1, 5, 12):
            found = open_packed(packed.parquet(tmp_path / f"{rows}.parquet", rows))
            order = [random.Random(rows).randrange(12) for _ in range(60)]
            assert [found.file(at).content() for at in order] == [packed.images[at] for at in order]

    def test_as_hugging_face_writes_them(self, packed, tmp_path):
        features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
        table = packed.table("struct").set_column(1, "label", pa.array([i % 2 for i in range(12)]))
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        pq.write_table(table, tmp_path / "train.parquet", row_group_size=5)
        found = open_packed(tmp_path / "train.parquet")
        assert found.paths == [f"train.parquet/{name}" for name in packed.names]
        assert found.labels == ["cat", "dog"] * 6
        assert [each.content() for each in found.sources] == packed.images

    def test_images_without_names_are_named_by_their_rows(self, packed, tmp_path):
        pq.write_table(packed.table(), tmp_path / "t.parquet")
        assert open_packed(tmp_path / "t.parquet").paths == [f"t.parquet/{i}" for i in range(12)]
        images = pa.array([{"bytes": data, "path": "image.png"} for data in packed.images])
        pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet")
        found = open_packed(tmp_path / "t.parquet")
        assert found.paths == [f"t.parquet/{i}" for i in range(12)]
        assert found.notes == [
            f"{tmp_path}/t.parquet: images are named by their rows, as image.path does not tell them apart"
        ]
        assert found.labels is None
        assert found.columns == {}
        pq.write_table(pa.table({"image": packed.images}), tmp_path / "t.parquet")
        assert [each.content() for each in open_packed(tmp_path / "t.parquet").sources] == packed.images

    def test_columns_of_other_kinds(self, packed, tmp_path):
        others = {"embedding": [[0.5]] * 12, "digest": [b"\1\2"] * 12, "split": ["train", "test"] * 6}
        found = open_packed(packed.parquet(tmp_path / "t.parquet", **others))
        assert found.splits == ["train", "test"] * 6
        assert found.notes == [
            f"{tmp_path}/t.parquet: left out, as they hold neither texts nor numbers: embedding, digest"
        ]
        assert found.columns.keys() == {"number"}

    def test_rows_that_hold_no_image(self, packed, tmp_path):
        cells = [packed.images[0], None, b"", b"no image"]
        pq.write_table(pa.table({"image": cells, "path": ["a", None, "../c", "d"]}), tmp_path / "t.parquet")
        found = open_packed(tmp_path / "t.parquet")
        assert found.paths == ["t.parquet/a", "t.parquet/d"]
        assert [each.reason for each in found.skipped] == [
            "row 1 (counted from 0) has no path; name every image, or leave the column out",
            "row 2 (counted from 0) has the path ../c, which leads out of the table; name it without ..",
        ]
        with pytest.raises(ImageError, match=r"t\.parquet/d: is not an image in a format that is read here"):
            open_image(found.file(1))
        pq.write_table(pa.table({"image": cells}), tmp_path / "t.parquet")
        for at in (1, 2):
            with pytest.raises(
                ImageError, match=rf"t\.parquet/{at}: is empty: row {at} \(counted from 0\) has no bytes"
            ):
                open_image(open_packed(tmp_path / "t.parquet").file(at))

    def test_a_path_twice(self, packed, tmp_path):
        pq.write_table(pa.table({"image": packed.images[:2], "path": ["a.png", "./a.png"]}), tmp_path / "t.parquet")
        with pytest.raises(
            DatasetError, match=r"names a\.png twice in its column path, in rows 0 and 1 \(counted from 0\)"
        ):
            open_packed(tmp_path / "t.parquet")

    def test_a_table_of_texts_or_of_other_bytes(self, packed, tmp_path):
        pq.write_table(pa.table({"path": ["a.png"], "digest": [b"\1"]}), tmp_path / "t.parquet")
        with pytest.raises(DatasetError, match=r"t\.parquet: has no column of encoded images; expected JPEG, PNG"):
            open_packed(tmp_path / "t.parquet")

    def test_a_repeated_text_is_counted_each_time(self, packed, tmp_path, monkeypatch):
        monkeypatch.setattr("diml.data.image_tables.MAX_BYTES", 2**20)
        monkeypatch.setattr("diml.data.image_tables.as_text", pytest.fail)
        packed.parquet(tmp_path / "t.parquet", note=pa.array(["x" * 200_000] * 12))
        with pytest.raises(DatasetError, match=r"t\.parquet: has more than 1,048,576 bytes of text beside its images"):
            open_packed(tmp_path / "t.parquet")

    @FEW
    @given(st.data())
    def test_a_damaged_file(self, packed, tmp_path, data):
        damaged = bytearray(packed.parquet(tmp_path / "whole.parquet").read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        (tmp_path / "t.parquet").write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
        try:
            for each in open_packed(tmp_path / "t.parquet").sources:
                with pytest.raises(ImageError) if each.content()[:1] != b"\x89" else open(os.devnull):
                    open_image(each)
        except (DatasetError, ImageError, UnusableError) as error:
            assert "\n" not in str(error)  # noqa: PT017 - or nothing is raised


class TestLance:
    def test_the_images_of_a_folder(self, packed, tmp_path):
        opened_as(packed, packed.lance(tmp_path / "photos.lance"))

    @pytest.mark.parametrize("form", ["bytes", "struct"])
    def test_rows_without_a_column_of_paths(self, packed, tmp_path, form):
        lancedb.connect(tmp_path).create_table("t", packed.table(form))
        found = open_packed(tmp_path / "t.lance")
        names = packed.names if form == "struct" else [str(i) for i in range(12)]
        assert found.paths == [f"t.lance/{name}" for name in names]
        assert [each.content() for each in found.sources] == packed.images

    def test_later_commits_change_nothing_of_what_is_read(self, packed, tmp_path):
        found = open_packed(packed.lance(tmp_path / "t.lance"))
        table = lancedb.connect(tmp_path).open_table("t")
        table.delete("number < 6")
        table.add(packed.table(path=[f"new/{i}" for i in range(12)]))
        assert [each.content() for each in found.sources] == packed.images
        again = open_packed(tmp_path / "t.lance")
        assert again.paths == [f"t.lance/{name}" for name in [*packed.names[6:], *(f"new/{i}" for i in range(12))]]
        assert [each.content() for each in again.sources] == [*packed.images[6:], *packed.images]
        assert again.file(0).mtime_ns > found.file(0).mtime_ns

    def test_no_images(self, tmp_path):
        lancedb.connect(tmp_path).create_table("t", pa.table({"path": ["a.png"], "digest": [b"\1"]}))
        with pytest.raises(
            DatasetError, match=r"t\.lance: has no column of encoded images \(columns found: path, digest\)"
        ):
            open_packed(tmp_path / "t.lance")

    def test_damage(self, packed, tmp_path):
        folder = packed.lance(tmp_path / "t.lance")
        found = open_packed(folder)
        for file in (folder / "data").iterdir():
            file.write_bytes(file.read_bytes()[:100])
        with pytest.raises(
            ImageError, match=r"t\.lance/a/0000\.png: cannot be read from its dataset \(.*\); run the same"
        ):
            open_image(open_packed_or(found).file(0))
        for file in (folder / "_versions").iterdir():
            file.write_bytes(b"?")
        with pytest.raises(
            DatasetError, match=r"t\.lance: is not a Lance dataset that can be read \(.*\); copy it again"
        ):
            open_packed(folder)


def open_packed_or(found):
    """The same in another process: nothing of it is open."""
    from diml.data import lance_images

    lance_images._table.cache_clear()
    return found


class TestSeveral:
    def test_patterns(self, packed, tmp_path):
        for i in range(3):
            packed.tar(tmp_path / f"shard-{i:03d}.tar", i * 4, i * 4 + 4)
        patterns = ["shard-{000..002}.tar", "shard-*.tar", "shard-00{0,1,2}.tar", "shard-{000,001}.tar"]
        for pattern in patterns[:3]:
            found = open_packed(tmp_path / pattern)
            assert found.paths == [f"shard-{i // 4:03d}.tar/{name}" for i, name in enumerate(packed.names)]
        listed = [tmp_path / "shard-002.tar", tmp_path / "shard-000.tar", tmp_path / "shard-002.tar"]
        assert open_packed(listed).paths[::4] == ["shard-002.tar/c/0002.png", "shard-000.tar/a/0000.png"]
        for pattern, said in (
            ("shard-{000..003}.tar", "shard-003.tar: there is no such"),
            ("x*.tar", "no file matches"),
        ):
            with pytest.raises(UsageError, match=said):
                open_packed(tmp_path / pattern)
        assert expanded("a{b}.tar") == ["a{b}.tar"]
        with pytest.raises(UsageError, match="stands for more than"):
            expanded("{0..999999999999}.tar")

    def test_a_name_that_looks_like_a_pattern(self, packed, tmp_path):
        assert len(open_packed(packed.tar(tmp_path / "a{1..2}[*].tar"))) == 12

    def test_one_of_several_that_cannot_be_read(self, packed, tmp_path):
        packed.tar(tmp_path / "a.tar")
        (tmp_path / "b.tar").write_bytes(b"no tar")
        found = open_packed([tmp_path / "a.tar", tmp_path / "b.tar"])
        assert len(found) == 12
        assert [(each.path, each.reason) for each in found.skipped] == [
            ("b.tar", "is no tar, or is damaged (truncated header); pack it again")
        ]

    def test_paths_are_relative_to_the_innermost_folder(self, packed, tmp_path):
        for name in ("train", "test"):
            (tmp_path / name).mkdir()
            packed.tar(tmp_path / name / "1.tar", 0, 1)
        both = [tmp_path / "train" / "1.tar", tmp_path / "test" / "1.tar"]
        assert open_packed(both).paths == ["train/1.tar/a/0000.png", "test/1.tar/a/0000.png"]
        assert open_packed(both[0], root=tmp_path).paths == ["train/1.tar/a/0000.png"]
        assert open_packed(both[0], root=tmp_path / "test").paths == ["1.tar/a/0000.png"]

    def test_a_folder_of_them(self, packed, tmp_path):
        (tmp_path / "deep").mkdir()
        packed.tar(tmp_path / "deep" / "1.tar", 0, 4)
        packed.parquet(tmp_path / "2.parquet")
        packed.lance(tmp_path / "3.lance")
        pq.write_table(pa.table({"path": ["a"], "label": ["x"]}), tmp_path / "labels.parquet")
        found = open_folder(tmp_path)
        assert len(found) == 12 + 12 + 4
        assert {path.rpartition(".")[0].split(".")[0] for path in found.paths} == {"2", "3", "deep/1"}
        (tmp_path / "image.png").write_bytes(packed.images[0])
        beside = open_folder(tmp_path)
        assert beside.paths == ["image.png"]
        assert beside.notes == [
            "left out, as there are images beside: tars 1 (such as deep/1.tar; give it by its name)"
        ]

    def test_labels_from_elsewhere(self, packed, tmp_path):
        file = write(tmp_path / "t.tar", list(zip(packed.names, packed.images, strict=True)))
        assert open_packed(file).labels is None
        assert open_packed(file, "folder").labels == packed.labels
        (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"t.tar/{name},x\n" for name in packed.names[:3]))
        found = open_packed(file, tmp_path / "labels.csv")
        assert found.labels == ["x"] * 3 + [None] * 9
        assert found.listed == [True] * 3 + [False] * 9
        assert len(found.sources) == 12
        with pytest.raises(
            UsageError, match=r"labels_from cannot be combined with .*own\.tar, which has its own labels"
        ):
            open_packed(packed.tar(tmp_path / "own.tar"), "folder")

    def test_as_a_data_set(self, packed, tmp_path):
        plain = write(tmp_path / "plain.tar", list(zip(packed.names, packed.images, strict=True)))
        for file in (plain, packed.tar(tmp_path / "t.tar"), packed.parquet(tmp_path / "t.parquet")):
            found = open_dataset(file)
            assert found.known_labels == packed.labels
            assert found.file(5).content() == packed.images[5]
        bare = write(tmp_path / "bare.tar", [("a.png", packed.images[0])])
        with pytest.raises(DatasetError, match="none of its 1 images has a label"):
            open_dataset(bare)
        split = packed.parquet(tmp_path / "split.parquet", split=["train", "val"] * 6)
        assert open_dataset(split).splits == ["train", "validation"] * 6


def test_distant_values_are_read_at_once_and_come_in_order():
    running, most = 0, 0

    def read(value):
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        if value % 7 == 0:
            os.stat(".")
        running -= 1
        return -value

    drawn = []

    def values():
        for value in range(100):
            drawn.append(value)
            yield value

    ahead = read_ahead(values(), read, lambda value: value > 5, at_once=4)
    assert next(ahead) == (0, 0)
    assert drawn == [0]
    assert list(ahead) == [(value, -value) for value in range(1, 100)]
