"""Tables of masks and points, joined with the pairs of a collection."""

import pytest
from PIL import Image

from diml.errors import DatasetError, UsageError
from diml.explanation.methods import methods
from diml.faithfulness import FaithfulnessSettings, measure_faithfulness, open_pairs


@pytest.fixture(scope="module")
def collection(tmp_path_factory, noise_image):
    """Two classes, each with a query and two gallery images, on which a square of the query is pasted."""
    folder = tmp_path_factory.mktemp("collection")
    for place in ("clean", "gallery", "masks"):
        (folder / place).mkdir()
    lines, masks = ["path,label,split"], ["path,mask,other_mask,kind"]
    for k, label in enumerate("xy"):
        noise_image(k).save(folder / f"clean/{label}.png")
        lines.append(f"clean/{label}.png,{label},query")
        for at, (left, top) in enumerate(((0, 0), (16, 8))):
            picture, mask, other = (
                Image.new("RGB", (32, 32), "grey"),
                Image.new("L", (32, 32)),
                Image.new("L", (32, 32)),
            )
            picture.paste(noise_image(k).crop((8, 8, 24, 24)), (left, top))
            mask.paste(255, (left, top, left + 16, top + 16))
            other.paste(255, (0, 24, 8, 32))
            for name, image in ((f"gallery/{label}{at}", picture), (f"masks/{label}{at}", mask)):
                image.save(folder / f"{name}.png")
            other.save(folder / f"masks/other-{label}{at}.png")
            lines.append(f"gallery/{label}{at}.png,{label},gallery")
            beside = f"masks/other-{label}{at}.png" if at else ""
            masks.append(f"gallery/{label}{at}.png,masks/{label}{at}.png,{beside},{'beside' if at else 'alone'}")
    (folder / "data.csv").write_text("\n".join([*lines, "clean/none.png,x,train"]))
    (folder / "masks.csv").write_text("\n".join(masks))
    (folder / "points.csv").write_text(
        "a,b,ax,ay,bx,by\nclean/x.png,gallery/x0.png,9,9,1,1\ngallery/x1.png,clean/x.png,17,9,9,9\n"
    )
    return folder


def opened(folder, **tables):
    return open_pairs(str(folder / "data.csv"), 10, masks=folder / "masks.csv", **tables)[1]


def test_points_have_a_kind_in_either_direction_and_need_none(collection, tmp_path):
    table = tmp_path / "points.csv"
    table.write_text(
        "a,b,ax,ay,bx,by,kind\nclean/x.png,gallery/x0.png,9,9,1,1,turned\nclean/x.png,gallery/x0.png,8,9,1,1,\n"
        "gallery/x1.png,clean/x.png,17,9,9,9, moved \nclean/y.png,gallery/y0.png,1,1,2,2,\n"
    )
    pairs = open_pairs(str(collection / "data.csv"), 10, points=table)[1]
    assert {pair.b.name[-6:-4]: pair.kind for pair in pairs} == {"x0": "turned", "x1": "moved", "y0": "", "y1": ""}


def test_a_query_is_paired_with_the_gallery_of_its_class(collection):
    pairs = opened(collection)
    assert len(pairs) == 4
    for pair in pairs:
        assert pair.a.name.endswith(f"clean/{pair.group}.png")
        assert f"gallery/{pair.group}" in pair.b.name
        assert pair.measured == "b"
        assert pair.measured_image is pair.b
    assert {pair.kind for pair in pairs} == {"alone", "beside"}
    assert sum(pair.masks.other is not None for pair in pairs) == 2
    assert pairs[0].masks.object.read().size == (32, 32)


def test_points_are_read_in_either_direction(collection):
    points = {pair.b.name[-6:]: pair.points for pair in opened(collection, points=collection / "points.csv")}
    assert points["x0.png"].a.tolist() == [[9, 9]]
    assert points["x0.png"].b.tolist() == [[1, 1]]
    assert points["x1.png"].a.tolist() == [[9, 9]]
    assert points["x1.png"].b.tolist() == [[17, 9]]
    assert points["y0.png"] is None


def test_a_whole_run_measures_the_gallery_image(collection, small_model):
    pairs = opened(collection, points=collection / "points.csv")
    names = ["structural", "sbsm", "nearest", "identity", "random"]
    settings = FaithfulnessSettings(
        ("deletion", "objects", "correspondence", "interactions"), steps=2, against=["structural"], grids=[(4, 4)]
    )
    report = measure_faithfulness("x", pairs, small_model(eps=0.2), methods(names), settings)
    objects = {row.method: row for row in report.objects}
    assert list(objects) == ["structural", "sbsm", "nearest", "random", "even"]
    assert objects["even"].share.mean.mean == pytest.approx(0.25)
    assert objects["even"].right.mean.mean == pytest.approx(0.25 / (0.25 + 1 / 16))
    # The ground is grey, so that only the object has anything that a similarity may drop by.
    assert objects["sbsm"].share.mean.mean > 0.6
    assert objects["sbsm"].pointed.mean.mean == 1
    for row in report.objects:
        difference = row.share.mean.mean - objects["structural"].share.mean.mean
        assert row.share.gain["structural"].mean == pytest.approx(difference, abs=1e-12)
        assert row.by_kind.keys() == {"alone", "beside"}
    agreement = {row.method: row for row in report.interactions}
    assert agreement["structural"].pearson.mean.mean > agreement["random"].pearson.mean.mean + 0.2
    assert agreement["sbsm"].cells.mean.mean > agreement["random"].cells.mean.mean
    [known] = report.reliability
    assert known.subsets == 128
    assert 0 < known.pearson.mean <= known.best["pearson"] <= 1
    text = report.describe()
    for words in ("Heat on the object", "on the right one", "Heat on the object by kind", "half with half"):
        assert words in text
    assert "nan" not in text
    document = report.to_dict()
    assert document["objects"][0]["share"]["gain"]["structural"]["mean"] == 0
    assert document["interactions"][1]["pearson"]["mean"] is None  # occlusion says nothing about pairs
    assert document["reliability"][0]["best"].keys() == {"pearson", "spearman", "cells"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("path,label\nx.png,x", "has no column mask"),
        ("path,mask\nelse.png,masks/x0.png", "has no mask for the images of any of the 4 pairs"),
        ("path,mask\ngallery/x0.png,../x0.png", "line 2: the path ../x0.png leads out of the folder of the images"),
    ],
)
def test_tables_of_masks_that_are_refused(table, said, collection, tmp_path):
    (tmp_path / "masks.csv").write_text(table)
    with pytest.raises(DatasetError, match=said):
        open_pairs(str(collection / "data.csv"), 10, masks=tmp_path / "masks.csv")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("a,b,ax,ay,bx\n", "has no column by"),
        ("a,b,ax,ay,bx,by\np.png,q.png,1,2,3,4", "has no points for any of the 4 pairs"),
        ("a,b,ax,ay,bx,by\np.png,q.png,1,2,three,4", "line 2: expected four finite numbers"),
        ("a,b,ax,ay,bx,by\np.png,q.png,1,2,inf,4", "line 2: expected four finite numbers"),
        ("a,b,ax,ay,bx,by\np.png,,1,2,3,4", "line 2: does not name a file"),
    ],
)
def test_tables_of_points_that_are_refused(table, said, collection, tmp_path):
    (tmp_path / "points.csv").write_text(table)
    with pytest.raises(DatasetError, match=said):
        open_pairs(str(collection / "data.csv"), 10, points=tmp_path / "points.csv")


def test_photographs_have_no_masks(collection):
    with pytest.raises(UsageError, match="masks and points are of the images of a labelled collection"):
        open_pairs(f"photos:{collection}/gallery", 2, masks=collection / "masks.csv")
