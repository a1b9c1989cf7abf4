"""Indices whose maps are codes: all numbers come from what is stored, and an account sums to its similarity."""

import json
import shutil

import numpy as np
import pytest
import torch

from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.search import Index, index_folder, recode

NAMES = ["int8", "int4", "pq4", "pool8+int8", "pool7+pq3"]


@pytest.fixture
def many(make_folder):
    """256 parts and more, which product codes need."""
    return make_folder(40)


def assert_numbers(index, query, k=5):
    """Hits have the numbers of an explanation of the stored maps, which sums to the similarity."""
    for shortlist in (0, 7, "all"):
        hits = index.search(query, k=k, shortlist=shortlist)
        assert len(hits) == k
        for hit in hits:
            match = index.model.explain(hits.query.maps, index.maps(hit.path))
            assert hit.similarity == pytest.approx(match.similarity.item(), abs=1e-9)
            assert match.contributions.sum().item() + match.residual.item() == pytest.approx(hit.similarity, abs=1e-9)


@pytest.mark.parametrize(
    ("codes", "weights"), [*((codes, "norm*rarity") for codes in NAMES), ("int8", None), ("pool7+pq3", None)]
)
def test_hits_have_the_numbers_of_an_explanation(codes, weights, tmp_path, model, many, backbone_class):
    made = Index.create(tmp_path / "i.diml", model.with_weights(weights), codes=codes, dim=8)
    made.add(many)
    index = Index.open(tmp_path / "i.diml", backbone=backbone_class())
    assert index.stats().codes.startswith(codes)
    assert index.stats().format == 3
    assert_numbers(index, many / "a" / "0000.png")
    # The stored pooled vector is that of the stored map.
    store = index._state.require().store
    rows = store.scan(["id", "pooled"])
    pooled = torch.tensor(np.stack(rows["pooled"].to_pylist()), dtype=torch.float32)
    torch.testing.assert_close(pooled, index.maps(rows["id"].to_pylist()).pooled)


@pytest.mark.parametrize("codes", NAMES)
def test_an_image_that_is_added_later_has_the_codes_of_the_index(codes, tmp_path, model, many, make_folder):
    index = Index.create(tmp_path / "i.diml", model, codes=codes, dim=0)
    index.add(many)
    before = index.maps(index.paths).local
    make_folder(44)
    again, report = index_folder(many, tmp_path / "i.diml", model=model)
    assert report.added == 4
    assert len(again) == 44
    kept = [path for path in again.paths if int(path[-8:-4]) < 40]
    assert again.maps(kept).local.equal(before)
    fresh = Index.create(tmp_path / "j.diml", model, dim=0)
    fresh.add(many)
    new = [path for path in again.paths if path not in kept]
    codec = again._state.require().store.codec
    exact = fresh.maps(new)
    assert again.maps(new).local.equal(codec.decode(codec.encode(exact.local, exact.weights_or_uniform)))


@pytest.mark.parametrize("codes", NAMES)
def test_a_copy_in_codes_has_all_but_the_maps(codes, tmp_path, index, make_folder, model):
    shutil.rmtree(index.path)
    index = Index.create(tmp_path / "a.diml", model.with_weights("norm"))
    index.add(make_folder(40), labels_from="folder")
    seen = []
    small = recode(index.path, tmp_path / "b.diml", codes, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (40, 40)
    assert [entry.to_dict() for entry in small] == [entry.to_dict() for entry in index]
    assert small.thumbnail("a/0000.png") == index.thumbnail("a/0000.png") != b""
    assert small.maps(small.paths).weights.equal(index.maps(index.paths).weights)
    small = Index.open(small.path, model=model.with_weights("norm"))
    assert_numbers(small, tmp_path / "photos" / "a" / "0000.png")
    # Nothing is embedded again for it, and its images are known.
    again, report = index_folder(tmp_path / "photos", small.path, model=model.with_weights("norm"))
    assert (report.added, report.unchanged, len(again)) == (0, 40, 40)


def test_a_copy_of_a_copy(tmp_path, index, backbone_class):
    half = recode(index.path, tmp_path / "8.diml", "int8", thumbnails=False)
    assert half.stats().row_bytes["thumbnail"] == 0
    assert half.thumbnail(half.paths[0]) == b""
    quarter = recode(half.path, tmp_path / "4.diml", "int4")
    assert quarter.stats().codes == "int4"
    assert quarter.stats().row_bytes["thumbnail"] == 0
    with pytest.raises(UsageError, match="expected codes of fewer bytes than int4"):
        recode(quarter.path, tmp_path / "x.diml", "int8")
    with pytest.raises(UsageError, match="has the codes int4 already"):
        recode(quarter.path, tmp_path / "x.diml", "int4")
    with pytest.raises(StoreError, match="is an index already"):
        recode(index.path, half.path, "int8")
    with pytest.raises(UsageError, match="at least 256 parts"):
        recode(index.path, tmp_path / "x.diml", "pq4")
    assert not (tmp_path / "x.diml").exists()


def test_an_interrupted_copy_is_no_index_and_can_be_made_again(tmp_path, index):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recode(index.path, tmp_path / "b.diml", "int8", progress=stop)
    with pytest.raises(StoreError):
        Index.open(tmp_path / "b.diml")
    assert len(recode(index.path, tmp_path / "b.diml", "int8")) == 12


def test_given_maps(tmp_path):
    maps = FeatureMaps(torch.randn(80, 4, 8, generator=torch.Generator().manual_seed(0)), (2, 2))
    index = Index.create(tmp_path / "i.diml", codes="pq4")
    index.add_maps(maps, paths=[f"{i}" for i in range(80)], sizes=[(64, 64)] * 80)
    assert index.stats().codes == "pq4, fitted on the first 80 feature maps"
    assert index.search(maps[3], k=1)[0].path == "3"
    few = Index.create(tmp_path / "j.diml", codes="pq4")
    with pytest.raises(UsageError, match="at least 256 parts to fit the codes pq4 on, got 8"):
        few.add_maps(maps[:2], paths=["0", "1"], sizes=[(64, 64)] * 2)
    assert len(few) == 0
    few.add_maps(maps, paths=[f"{i}" for i in range(80)], sizes=[(64, 64)] * 80)
    assert len(few) == 80


def test_a_pooled_vector_of_the_model_stays_as_it_is(tmp_path):
    generator = torch.Generator().manual_seed(0)
    maps = FeatureMaps(torch.randn(5, 4, 8, generator=generator), (2, 2), torch.randn(5, 8, generator=generator))
    index = Index.create(tmp_path / "i.diml", codes="int4")
    index.add_maps(maps, paths=list("abcde"), sizes=[(64, 64)] * 5)
    assert index.maps(list("abcde")).pooled.equal(maps.pooled)
    assert_numbers(index, maps[0], k=3)


def test_an_index_without_codes_is_written_as_before(index):
    known = json.loads((index.path / "manifest.json").read_text())
    assert known["version"] == 1
    assert not {"codes", "codes_digest", "codes_fitted_on", "thumbnails"} & set(known)


def test_other_codes_than_the_index_has(tmp_path, model, photos):
    index_folder(photos, tmp_path / "i.diml", model=model, codes="int8", thumbnails=False)
    with pytest.raises(StoreError, match=r"expected codes int8, those of .*, got int4; leave the codes out"):
        index_folder(photos, tmp_path / "i.diml", model=model, codes="int4")
    with pytest.raises(StoreError, match="was made with no thumbnails"):
        index_folder(photos, tmp_path / "i.diml", model=model, thumbnails=True)
    again, report = index_folder(photos, tmp_path / "i.diml", model=model)
    assert report.unchanged == 12
    assert again.thumbnail(again.paths[0]) == b""


@pytest.mark.parametrize("damage", ["missing", "other", "short"])
def test_centroids_that_are_not_those_of_the_index(damage, tmp_path, model, many):
    Index.create(tmp_path / "i.diml", model, codes="pq4").add(many)
    file = tmp_path / "i.diml" / "codes.safetensors"
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(data[:-1] + b"x" if damage == "other" else data[:100])
    with pytest.raises(StoreError, match=r"codes\.safetensors (is missing|is not the one)"):
        Index.open(tmp_path / "i.diml")


@pytest.mark.parametrize("codes", ["int4", "pq4", "pool7+pq3"])
def test_pairs_and_many_queries(codes, tmp_path, model, many):
    index = Index.create(tmp_path / "i.diml", model.with_weights("norm"), codes=codes)
    index.add(many)
    maps = index.maps(index.paths)
    found = {(pair.a, pair.b): pair.similarity for pair in index.pairs(above=0.5)}
    a, b = torch.triu_indices(40, 40, 1)
    every = index.model.explain(maps[a], maps[b]).similarity
    expected = {(index.paths[i], index.paths[j]) for i, j, s in zip(a, b, every, strict=True) if s >= 0.5}
    assert set(found) == expected
    assert expected
    results = index.search_many([many / path for path in index.paths[:5]], k=3)
    for path, result in zip(index.paths, results, strict=False):
        single = index.search(result.query.maps, k=3)
        assert [hit.to_dict() for hit in result] == [hit.to_dict() for hit in single], path
