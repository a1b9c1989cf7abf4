"""Large JPEGs, which are decoded at a part of their size: one image for maps, queries, thumbnails and explanations."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diml.data import open_image, open_packed, original_of
from diml.errors import UsageError
from diml.explanation import NamedImage, explain_hit, explain_pair
from diml.explanation.drawing import pair_figure
from diml.explanation.html import hits_page
from diml.explanation.marks import original_size
from diml.matching import mask_weights
from diml.model import StructuralModel, storable
from diml.search import Index

# The model of these tests sees 32 x 32 pixels, so they are decoded at 1/4; it divides neither side.
SIZE, DRAFTED = (402, 301), (101, 76)


@pytest.fixture
def large(tmp_path):
    """A folder of three large JPEGs."""
    folder = tmp_path / "large"
    folder.mkdir()
    for k in range(3):
        values = np.random.default_rng(k).integers(0, 256, (7, 9, 3), dtype=np.uint8)
        Image.fromarray(values).resize(SIZE, Image.Resampling.BICUBIC).save(folder / f"{k}.jpg", quality=92)
    return folder


@pytest.fixture
def drafting(tmp_path, model, large) -> Index:
    index = Index.create(tmp_path / "three.diml", model)
    index.add(large)
    return index


def decoded(jpeg):
    return Image.open(io.BytesIO(jpeg))


def cosines(a, b):
    return torch.nn.functional.cosine_similarity(a.float(), b.float(), dim=-1)


def test_an_index_stores_what_the_model_makes_of_the_file(drafting, large):
    model = drafting.model
    assert drafting.stats().decoding == 3
    for file in sorted(large.iterdir()):
        shown = model.read(file)
        assert (shown.size, original_of(shown).size) == (DRAFTED, SIZE)
        stored, maps = drafting.maps(file.name), model.encode(file)
        assert torch.equal(maps.local, model.encode(shown).local)
        local, pooled = storable(maps)
        # A batch of three differs from one image in the last bits.
        torch.testing.assert_close(stored.local, local.float(), atol=1e-3, rtol=1e-3)
        assert cosines(stored.pooled, pooled).item() == pytest.approx(1, abs=1e-6)
        assert tuple(stored.geometry.size[0].tolist()) == SIZE
        assert stored.geometry.visible[0].tolist() == [0, 0, *SIZE]
        assert drafting.entry(file.name).size == SIZE


def test_a_file_is_as_similar_to_its_stored_maps_as_to_itself(drafting, large):
    for file in sorted(large.iterdir()):
        hit = drafting.search(file, k=1)[0]
        assert hit.path == file.name
        assert hit.size == SIZE
        assert hit.pooled == pytest.approx(1, abs=1e-5)
        assert hit.similarity == pytest.approx(drafting.model.similarity(file, file), abs=1e-4)


def test_thumbnails_have_the_size_of_those_of_complete_images(drafting, tmp_path, model, large):
    complete = Index.create(tmp_path / "complete.diml", model.with_decoding(2))
    complete.add(large)
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        one, other = decoded(drafting.thumbnail(name)), decoded(complete.thumbnail(name))
        assert one.size == other.size == (160, 120)
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean() < 2
        assert (cosines(drafting.maps(name).local, complete.maps(name).local) > 0.999).all()


def test_an_index_of_version_2_keeps_its_decoding_and_its_numbers(tmp_path, model, large):
    path = tmp_path / "second.diml"
    Index.create(path, model.with_decoding(2)).add(large)
    before = {name: Index.open(path, model=model).maps(name).local for name in ("0.jpg", "1.jpg")}
    index = Index.open(path, model=model)
    assert (index.stats().decoding, index.model.encoder.preprocessing.decoding) == (2, 2)
    assert index.model.read(large / "0.jpg").tobytes() == open_image(large / "0.jpg", 2).tobytes()
    assert torch.equal(index.model.encode(large / "0.jpg").local, model.encode(open_image(large / "0.jpg", 2)).local)
    Image.open(large / "0.jpg").rotate(180).save(large / "3.jpg", quality=92)
    assert (index.add(large).added, index.stats().decoding) == (1, 2)
    assert all(torch.equal(index.maps(name).local, local) for name, local in before.items())
    of_file = model.encode(open_image(large / "3.jpg", 2))
    torch.testing.assert_close(index.maps("3.jpg").local, of_file.local, atol=2e-3, rtol=2e-3)


def test_images_in_a_tar(drafting, tmp_path, large):
    with tarfile.open(tmp_path / "large.tar", "w") as tar:
        for file in sorted(large.iterdir()):
            tar.add(file, file.name)
    packed = Index.create(tmp_path / "packed.diml", drafting.model)
    packed.add(open_packed(tmp_path / "large.tar"))
    names = [entry.path for entry in packed.entries(limit=3)]
    assert len(names) == 3
    for name in names:
        assert torch.equal(packed.maps(name).local, drafting.maps(name.split("/")[-1]).local)


@pytest.mark.parametrize("box", [(0, 0, 200, 150), (300, 200, 402, 301)])
def test_regions_and_masks_are_in_pixels_of_the_original(model, large, box):
    file, complete = large / "0.jpg", model.with_decoding(2)
    one, other = (each.query(file, regions=[box]).part for each in (model, complete))
    assert torch.equal(one.weights, other.weights)
    assert one.to_dict() == other.to_dict()
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    assert torch.equal(model.query(file, mask=mask).part.weights, complete.query(file, mask=mask).part.weights)
    assert torch.equal(model.query(model.read(file), regions=[box]).part.weights, one.weights)
    torch.testing.assert_close(one.weights.flatten(), mask_weights(model.encode(file), mask).flatten())


def test_a_part_of_another_size_is_refused(model, large):
    with pytest.raises(UsageError, match="402"):
        model.query(large / "0.jpg", regions=[(0, 0, 403, 10)])
    with pytest.raises(UsageError):
        model.query(large / "0.jpg", mask=np.ones(DRAFTED[::-1], np.uint8))


def test_images_that_a_caller_decoded_are_taken_as_they_are(model, large):
    with Image.open(large / "0.jpg") as opened:
        assert model.read(opened).size == SIZE
    values = np.asarray(open_image(large / "0.jpg", 2))
    assert model.read(values).size == SIZE


def test_explanations_are_in_pixels_of_the_original_and_sum_up(model, large):
    files = large / "0.jpg", large / "1.jpg"
    one, other = (explain_pair(each, *files) for each in (model, model.with_decoding(2)))
    assert one.match.contributions.sum().item() == pytest.approx(one.similarity, abs=1e-12)
    assert sum(part.contribution for part in one.parts()) == pytest.approx(one.similarity, abs=1e-12)
    boxes = [{(part.a, part.a_box, part.b, part.b_box) for part in each.parts()} for each in (one, other)]
    assert boxes[0] == boxes[1]
    assert one.similarity == pytest.approx(other.similarity, abs=2e-3)


def test_pictures_show_boxes_where_the_parts_are(model, tmp_path):
    """A white square on black in the cell (1, 2) of 4 x 4: the box around that cell is white in the picture."""
    image = Image.new("RGB", SIZE)
    image.paste("white", (202, 76, 301, 150))
    for name in "ab":
        image.save(tmp_path / f"{name}.jpg", quality=95)
    explanation = explain_pair(model, tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert explanation.a.picture.size == DRAFTED
    figure = pair_figure(explanation, 6)
    axes = [each for each in figure.axes if each.images]
    for panel in axes[:2]:
        assert panel.images[0].get_extent() == [0, SIZE[0], SIZE[1], 0]
        shown = np.asarray(panel.images[0].get_array())
        down, across = shown.shape[0] / SIZE[1], shown.shape[1] / SIZE[0]
        cell = shown[round(85 * down) : round(140 * down), round(212 * across) : round(290 * across)]
        assert cell.min() > 200
        assert shown[:, : round(190 * across)].max() < 60
        for patch in panel.patches:
            if patch.get_gid() == "part":
                assert 0 <= patch.get_x() < patch.get_x() + patch.get_width() <= SIZE[0]
                assert 0 <= patch.get_y() < patch.get_y() + patch.get_height() <= SIZE[1]
    for ending in ("png", "html"):
        explanation.draw(tmp_path / f"why.{ending}")
    page = (tmp_path / "why.html").read_text()
    assert f'viewBox="0 0 1000.0 {1000 * SIZE[1] / SIZE[0]:.1f}"' in page


def test_hits_show_the_image_that_was_embedded(drafting, large, monkeypatch):
    found = drafting.search(large / "0.jpg", k=2)
    assert found.query.image.size == DRAFTED
    monkeypatch.setattr("diml.model.sources.open_image", None)  # nothing is decoded again
    explanation = explain_hit(found, found[0])
    assert explanation.similarity == found[0].similarity
    assert explanation.a.picture is found.query.image
    assert found[0].path in hits_page(found)


def test_cells_without_geometry_lie_in_the_original(model, large):
    shown = model.read(large / "0.jpg")
    bare = model.encode(shown).replace(geometry=None)
    assert original_size(bare, shown) == SIZE
    assert original_size(bare, NamedImage.of(large / "0.jpg", "", model.read).picture) == SIZE
    assert original_size(bare, None) == (400, 400)


@pytest.mark.slow
def test_maps_of_a_real_model_are_close(tmp_path):
    photo = Path(__file__).parents[2] / "sample" / "photos" / "coffee.jpg"
    model = StructuralModel.from_pretrained("lite0").with_weights(None)
    with Image.open(photo) as opened:
        opened.resize((2403, 1602), Image.Resampling.BICUBIC).save(tmp_path / "x.jpg", quality=90)
    assert model.read(tmp_path / "x.jpg").size == (1202, 801)
    one, other = (each.encode(tmp_path / "x.jpg") for each in (model, model.with_decoding(2)))
    assert cosines(one.local, other.local).min() > 0.998
