"""`diml index --codes`, `--recode`, `--no-thumbnails`, and what `diml info` says of them."""

import json


def test_an_index_in_codes(diml, shapes, shapes_index, tmp_path):
    into = tmp_path / "small.diml"
    assert diml("index", shapes, "--into", into, "--codes", "int4", "--no-thumbnails").code == 0
    stats = json.loads(diml("info", into, "--json").out)
    assert stats["codes"] == "int4"
    assert stats["row_bytes"]["thumbnail"] == 0
    assert stats["row_bytes"]["map"] == stats["grid"][0] * stats["grid"][1] * (2 + stats["dim"] // 2)
    assert "codes        int4" in diml("info", into).out
    assert "8 unchanged" in diml("index", shapes, "--into", into).out
    first = json.loads(diml("search", into, shapes / "disc" / "0.png", "--json").out)["hits"][0]
    assert first["path"] == "disc/0.png"
    refused = diml("index", shapes, "--into", into, "--codes", "int8")
    assert refused.code != 0
    assert "expected codes int4" in refused.err
    assert refused.err.count("\n") == 1


def test_a_copy_in_codes(diml, shapes, shapes_index, tmp_path):
    small = tmp_path / "small.diml"
    done = diml("index", shapes_index, "--into", small, "--recode", "pool8+int8")
    assert done.code == 0
    assert done.out.startswith(f"{small}: 8 images, ")
    assert "bytes of map each" in done.out
    plain = json.loads(diml("info", shapes_index, "--json").out)["row_bytes"]
    stats = json.loads(diml("info", small, "--json").out)["row_bytes"]
    assert 3 * stats["map"] < plain["map"]
    assert stats["thumbnail"] == plain["thumbnail"] > 0
    assert "8 unchanged" in diml("index", shapes, "--into", small).out


def test_refusals(diml, shapes, shapes_index, tmp_path):
    for options, says in (
        (("--recode", "int5"), "expected float16, int8, int4 or pqM"),
        (("--recode", "pq32"), "expected at least 256 parts"),
        (("--recode", "float16"), "has the codes float16 already"),
        (("--recode", "int8", "--prune"), "--recode copies an index as it is"),
    ):
        done = diml("index", shapes_index, "--into", tmp_path / "x.diml", *options)
        assert done.code != 0
        assert says in done.err
        assert done.err.count("\n") == 1
        assert not (tmp_path / "x.diml" / "manifest.json").exists()
    assert "is not an index" in diml("index", shapes, "--into", tmp_path / "x.diml", "--recode", "int8").err
    assert "got 'int3'" in diml("index", shapes, "--into", tmp_path / "x.diml", "--codes", "int3").err


def test_the_share_that_was_read(diml, shapes, shapes_index, tmp_path):
    into = tmp_path / "sketched.diml"
    assert diml("index", shapes_index, "--into", into, "--recode", "float16", "--sketches").code == 0
    image = shapes / "disc" / "0.png"
    proven = diml("search", into, image, "--shortlist", "proven").out
    every = diml("search", into, image, "--shortlist", "all").out
    assert proven.startswith(every)
    assert proven.removeprefix(every).strip().endswith("of 8 maps were read")
    refused = diml("search", shapes_index, image, "--shortlist", "proven")
    assert refused.code != 0
    assert "expected an index with sketches" in refused.err
