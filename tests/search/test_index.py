"""An index: add, change, prune, relabel, remove, search."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from diml.data.collection import open_folder, open_table
from diml.errors import DatasetError, ImageError, StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel
from diml.search import Index, index_folder
from diml.search.items import image_id
from diml.search.stored_maps import stored_maps
from diml.search.writer import Writer

Make = Callable[..., Path]


def all_maps(index: Index) -> dict[str, FeatureMaps]:
    """The stored maps by id."""
    manifest, store = index._state.require()
    rows = store.rows(sorted(store.ids()))
    maps = stored_maps(rows, manifest)
    return {id: maps[i] for i, id in enumerate(rows["id"].to_pylist())}


class TestAdd:
    def test_first_add_takes_all(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        index = Index.create(tmp_path / "photos.diml", model)
        assert len(index) == 0
        assert not (tmp_path / "photos.diml").exists()
        report = index.add(photos, labels_from="folder")
        assert (report.added, report.changed, report.unchanged, report.skipped) == (12, 0, 0, [])
        assert report.images_per_second > 0
        assert len(index) == 12

    def test_second_add_embeds_nothing(self, index: Index, photos: Path, backbone: Any) -> None:
        before = backbone.images
        report = index.add(photos)
        assert (report.added, report.changed, report.unchanged, report.relabelled) == (0, 0, 12, 0)
        assert report.images_per_second == 0
        assert backbone.images == before

    def test_touched_file_is_not_embedded_again(self, index: Index, photos: Path, backbone: Any) -> None:
        before = backbone.images
        os.utime(photos / "a" / "0000.png", ns=(1, 1))
        assert index.add(photos).unchanged == 12
        assert backbone.images == before
        known = index._state.require().store.known()[image_id("a/0000.png")]
        assert known.mtime_ns == 1  # so that the next time it need not even be read
        assert known.meta == {"label": "a"}

    def test_changed_file_is_embedded_anew_and_keeps_its_label(
        self, index: Index, photos: Path, write_image: Any
    ) -> None:
        write_image(photos / "a" / "0000.png", "another")
        report = index.add(photos)
        assert (report.added, report.changed, report.unchanged) == (0, 1, 11)
        hit = index.search(photos / "a" / "0000.png", k=1)[0]
        assert (hit.path, hit.label) == ("a/0000.png", "a")
        assert hit.pooled == pytest.approx(1, abs=1e-5)
        assert len(index) == 12

    def test_prune_drops_what_is_gone_and_only_then(self, index: Index, photos: Path) -> None:
        (photos / "b" / "0001.png").unlink()
        assert index.add(photos).removed == 0
        assert len(index) == 12
        assert index.add(photos, prune=True).removed == 1
        assert "b/0001.png" not in {hit.path for hit in index.search(photos / "a" / "0000.png", k=50)}

    def test_relabelled_without_embedding(self, index: Index, photos: Path, tmp_path: Path, backbone: Any) -> None:
        before = backbone.images
        table = tmp_path / "labels.csv"
        table.write_text("path,label\n" + "".join(f"{p},new\n" for p in open_folder(photos).paths[:5]))
        report = index.add(photos, labels_from=table)
        assert (report.relabelled, report.unchanged, report.added) == (5, 12, 0)  # the others keep their label
        assert backbone.images == before
        hits = index.search(photos / "a" / "0000.png", k=12)
        assert sorted(h.path for h in hits if h.label == "new") == open_folder(photos).paths[:5]
        assert all(h.label == ("new" if h.path in open_folder(photos).paths[:5] else h.path[0]) for h in hits)
        assert index.add(photos).relabelled == 0  # no labels given: they stay

    def test_unreadable_files_are_listed_every_time(self, index: Index, photos: Path, write_image: Any) -> None:
        (photos / "a" / "text.jpg").write_text("no image")
        (photos / "a" / "empty.png").touch()
        write_image(photos / "c" / "late.png", "late")
        for added in (1, 0):
            report = index.add(photos)
            assert report.added == added
            assert sorted(skipped.path for skipped in report.skipped) == ["a/empty.png", "a/text.jpg"]
            assert all("a/" in skipped.reason for skipped in report.skipped)
        assert len(index) == 13

    def test_an_image_that_became_unreadable_keeps_its_row(self, index: Index, photos: Path) -> None:
        (photos / "a" / "0000.png").write_text("no image any more")
        report = index.add(photos, prune=True)
        assert [skipped.path for skipped in report.skipped] == ["a/0000.png"]
        assert (len(index), report.removed) == (12, 0)

    def test_strict_fails_and_keeps_what_was_embedded(
        self, tmp_path: Path, model: StructuralModel, photos: Path
    ) -> None:
        (photos / "z.jpg").write_text("no image")
        index = Index.create(tmp_path / "strict.diml", model)
        with pytest.raises(ImageError, match=r"z\.jpg"):
            index.add(photos, strict=True, batch_size=4)
        assert len(Index.open(tmp_path / "strict.diml", model=model)) == 12

    def test_nothing_readable(self, tmp_path: Path, model: StructuralModel) -> None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "text.jpg").write_text("no image")
        with pytest.raises(DatasetError, match=r"none of the 1 images .*text\.jpg"):
            Index.create(tmp_path / "bad.diml", model).add(tmp_path / "bad")

    @pytest.mark.parametrize("strict", [False, True])
    def test_a_first_add_that_stores_nothing_leaves_no_index(
        self, tmp_path: Path, model: StructuralModel, photos: Path, strict: bool
    ) -> None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "text.jpg").write_text("no image")
        index = Index.create(tmp_path / "own.diml", model, dim=6)
        with pytest.raises(ImageError if strict else DatasetError, match=r"text\.jpg"):
            index.add(tmp_path / "bad", strict=strict)
        assert {file.name for file in (tmp_path / "own.diml").iterdir()} <= {"adding.lock", "writer.lock"}
        assert index.add(photos).added == 12  # the same object begins anew, too
        assert index.stats().dim == 6

    def test_a_failure_leaves_what_others_stored(
        self, tmp_path: Path, model: StructuralModel, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "text.jpg").write_text("no image")
        into, run = tmp_path / "own.diml", Writer.run

        def beaten(self: Writer, *args: Any, **options: Any) -> None:
            monkeypatch.setattr(Writer, "run", run)
            assert Index.open(into, model=model).add(photos).added == 12
            run(self, *args, **options)

        monkeypatch.setattr(Writer, "run", beaten)
        with pytest.raises(ImageError):
            Index.create(into, model, dim=0).add(tmp_path / "bad", strict=True)
        assert len(Index.open(into, model=model)) == 12

    def test_an_index_that_was_taken_back_gets_no_rows(
        self, tmp_path: Path, model: StructuralModel, photos: Path
    ) -> None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "text.jpg").write_text("no image")
        into, joined = tmp_path / "own.diml", list[Index]()
        with pytest.raises(DatasetError):
            Index.create(into, model, dim=0).add(
                tmp_path / "bad", progress=lambda *_: joined.append(Index.open(into, model=model))
            )
        with pytest.raises(StoreError, match="taken back"):
            joined[0].add(photos)
        assert not (into / "manifest.json").exists()

    def test_a_grid_that_the_backbone_lacks_leaves_nothing(
        self, tmp_path: Path, model: StructuralModel, photos: Path
    ) -> None:
        with pytest.raises(UsageError, match="9x9"):
            index_folder(photos, tmp_path / "own.diml", model=model, grid=9)
        assert not (tmp_path / "own.diml").exists()

    def test_progress_ends_at_the_total(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        for dim in (0, 4):  # without and with a sample that is embedded first
            calls: list[tuple[int, int]] = []
            index = Index.create(tmp_path / f"{dim}.diml", model, dim=dim)
            index.add(photos, batch_size=5, progress=lambda done, total, calls=calls: calls.append((done, total)))
            assert calls[-1] == (12, 12)
            assert [done for done, _ in calls] == sorted(done for done, _ in calls)

    def test_commits_are_single_and_in_time(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        index = Index.create(tmp_path / "often.diml", model, dim=0)
        seen: list[int] = []
        index.add(photos, batch_size=3, commit_seconds=0, progress=lambda *_: seen.append(len(index)))
        assert seen == [0, 0, 3, 6, 9]

    def test_many_commits_are_compacted(self, tmp_path: Path, model: StructuralModel, make_folder: Make) -> None:
        index = Index.create(tmp_path / "many.diml", model, dim=0)
        index.add(make_folder(40), batch_size=1, commit_seconds=0)
        assert len(index) == 40
        assert len(list((tmp_path / "many.diml" / "images.lance" / "data").iterdir())) == 1

    def test_folders_side_by_side(self, index: Index, make_folder: Make) -> None:
        assert index.add(make_folder(6, "more", prefix="x")).added == 6
        assert len(index) == 18


class TestHead:
    @pytest.mark.slow
    def test_fitted_once_from_twice_dim_images(
        self, tmp_path: Path, model: StructuralModel, photos: Path, backbone: Any, make_folder: Make
    ) -> None:
        index = Index.create(tmp_path / "h.diml", model, dim=6)
        index.add(photos)
        assert index.stats().dim == index.model.dim == 6
        assert "12 of the 12 images" in index.stats().head
        assert not model.head_fitted  # the caller's model is left alone
        stored, fresh = all_maps(index), index.model.encode([photos / p for p in open_folder(photos).paths])
        for i, path in enumerate(open_folder(photos).paths):
            torch.testing.assert_close(stored[image_id(path)].local, fresh[i].local, rtol=2e-3, atol=2e-3)
        head = index.model.encoder.head
        index.add(make_folder(9, "more", prefix="x"))
        again = Index.open(tmp_path / "h.diml", backbone=backbone).model.encoder.head
        assert torch.equal(head.weight, again.weight)  # type: ignore[union-attr]

    def test_the_sample_is_not_embedded_twice(
        self, tmp_path: Path, model: StructuralModel, photos: Path, backbone: Any
    ) -> None:
        Index.create(tmp_path / "h.diml", model, dim=6).add(photos)
        assert backbone.images <= 12 + 3  # and a blank image or two to learn the channels

    def test_too_few_images_keep_the_channels(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        (photos / "z.jpg").write_text("no image")
        for dim in (7, None):
            index = Index.create(tmp_path / f"{dim}.diml", model, dim=dim)
            index.add(photos)
            assert (index.stats().dim, index.stats().head) == (12, "none")

    def test_sample_counts_readable_images(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        (photos / "z.jpg").write_text("no image")
        (photos / "a" / "0000.png").write_text("no image")
        index = Index.create(tmp_path / "h.diml", model, dim=6)
        report = index.add(photos)
        assert (report.added, len(report.skipped), index.stats().head) == (11, 2, "none")

    def test_model_with_a_head_is_taken_as_it_is(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        model.fit_head([photos / p for p in open_folder(photos).paths], dim=5, on="something")
        index = Index.create(tmp_path / "h.diml", model)
        index.add(photos)
        assert (index.stats().dim, index.stats().head) == (5, "something")
        with pytest.raises(UsageError, match=r"expected dim 5, .* got 6"):
            Index.create(tmp_path / "i.diml", model, dim=6)


class TestSearch:
    def test_scores_are_those_of_explain(self, index: Index, photos: Path) -> None:
        """The law of this room: a hit's numbers and its explanation are the same."""
        query = index.model.encode(photos / "b" / "0004.png")
        stored = all_maps(index)
        result = index.search(query, k=7, shortlist=9)
        assert [hit.rank for hit in result] == list(range(1, 8))
        for hit in result:
            match = index.model.explain(query, stored[hit.id])
            for name in ("similarity", "structural", "pooled"):
                shown = getattr(hit, name)
                assert shown == pytest.approx(getattr(match, name).item(), abs=1e-12)
                assert shown == pytest.approx(getattr(hit.match, name).item(), abs=1e-12)
            assert hit.match.contributions.sum().item() == pytest.approx(hit.similarity, abs=1e-10)
            assert len(hit.match.parts(3)) == 3
        scores = [hit.similarity for hit in result]
        assert scores == sorted(scores, reverse=True)

    def test_full_shortlist_is_exhaustive_matching(self, index: Index, photos: Path) -> None:
        query = index.model.encode(photos / "b" / "0004.png")
        every = {id: index.model.explain(query, maps).similarity.item() for id, maps in all_maps(index).items()}
        hits = index.search(query, k=12, shortlist=12).hits
        assert [hit.id for hit in hits] == sorted(every, key=lambda id: (-every[id], id))

    @pytest.mark.parametrize("k", [1, 5, 12])
    def test_all_images_are_matched_batch_by_batch(
        self, index: Index, photos: Path, k: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        query = photos / "a" / "0000.png"
        wanted = index.search(query, k=k, shortlist=12)
        monkeypatch.setattr("diml.search.ranking.BATCH", 5)
        found = index.search(query, k=k, shortlist="all")
        assert [(hit.id, hit.similarity) for hit in found] == [(hit.id, hit.similarity) for hit in wanted]
        assert found.shortlist == 12
        some = index.search(query, k=k, shortlist="all", where="label = 'a'")
        assert {hit.label for hit in some} == {"a"}

    def test_shortlist_only_permutes_the_pooled_ranking(self, index: Index, photos: Path) -> None:
        query = photos / "b" / "0004.png"
        coarse = index.search(query, k=6, shortlist=0)
        assert coarse.shortlist == 0
        assert [hit.pooled for hit in coarse] == sorted((hit.pooled for hit in coarse), reverse=True)
        fine = index.search(query, k=6, shortlist=6)
        assert {hit.id for hit in fine} == {hit.id for hit in coarse}
        assert fine.shortlist == 6

    def test_agrees_with_explaining_the_file(self, index: Index, photos: Path) -> None:
        for hit in index.search(photos / "a" / "0000.png", k=3):
            a, b = index.model.encode(photos / "a" / "0000.png"), index.model.encode(photos / hit.path)
            assert hit.similarity == pytest.approx(index.model.explain(a, b).similarity.item(), abs=2e-3)

    @pytest.mark.parametrize(
        ("k", "shortlist", "hits", "effective"), [(1, 5, 1, 5), (5, 1, 5, 5), (99, 3, 12, 12), (3, 99, 3, 12)]
    )
    def test_effective_shortlist(
        self, index: Index, photos: Path, k: int, shortlist: int, hits: int, effective: int
    ) -> None:
        result = index.search(photos / "a" / "0000.png", k=k, shortlist=shortlist)
        assert (len(result), result.k, result.shortlist) == (hits, k, effective)
        assert len({hit.id for hit in result}) == hits

    def test_hit_carries_what_is_stored(self, index: Index, photos: Path) -> None:
        hit = index.search(photos / "a" / "0000.png", k=1)[0]
        assert (hit.path, hit.label, hit.size, hit.columns) == ("a/0000.png", "a", (40, 50), {})
        assert hit.id == image_id("a/0000.png")
        assert Image.open(io.BytesIO(hit.thumbnail)).size == (40, 50)
        boxes = hit.match.maps_b.boxes(0)
        assert boxes is not None
        assert boxes[-1].tolist() == [30.0, 37.5, 40.0, 50.0]

    def test_to_dict(self, index: Index, photos: Path) -> None:
        document = index.search(photos / "a" / "0000.png", k=2).to_dict(index="i", query="q")
        assert list(document) == ["index", "query", "query_size", "where", "k", "shortlist", "hits"]
        assert document["query_size"] == [40, 50]
        described = ["rank", "id", "path", "label"]
        numbers = ["similarity", "structural", "pooled", "pooled_rank", "margin", "concentration"]
        assert [list(hit) for hit in document["hits"]] == [[*described, *numbers, "size", "columns"]] * 2

    def test_bad_numbers(self, index: Index, photos: Path) -> None:
        with pytest.raises(UsageError, match="expected k >= 1, got 0"):
            index.search(photos / "a" / "0000.png", k=0)
        with pytest.raises(UsageError, match="expected shortlist >= 0 or 'all', got -1"):
            index.search(photos / "a" / "0000.png", shortlist=-1)

    @pytest.mark.parametrize("where", ["colour = 'x'", "label =", "label", "label = 'a'; DROP TABLE images", "", "'"])
    def test_wrong_where(self, index: Index, photos: Path, where: str) -> None:
        with pytest.raises(UsageError, match=r"cannot be used \(.*columns id, path, label, hash") as caught:
            index.search(photos / "a" / "0000.png", where=where)
        assert "\n" not in str(caught.value)
        assert ".rs" not in str(caught.value)

    def test_where_that_nothing_meets(self, index: Index, photos: Path) -> None:
        result = index.search(photos / "a" / "0000.png", where="label = 'none'")
        assert (result.hits, result.shortlist, result.where) == ([], 0, "label = 'none'")
        assert result.to_dict(index="i", query="q")["where"] == "label = 'none'"

    def test_query_that_does_not_fit(self, index: Index) -> None:
        with pytest.raises(UsageError, match="got grid 2x2"):
            index.search(FeatureMaps(torch.ones(1, 4, 12), (2, 2)))
        with pytest.raises(UsageError, match="dim 5"):
            index.search(FeatureMaps(torch.ones(1, 16, 5), (4, 4)))
        with pytest.raises(UsageError, match="2 images"):
            index.search(FeatureMaps(torch.ones(2, 16, 12), (4, 4)))
        with pytest.raises(UsageError, match="expected a finite feature map"):
            index.search(FeatureMaps(torch.full((1, 16, 12), torch.nan), (4, 4)))

    def test_matcher_of_the_caller(self, index: Index, photos: Path, model: StructuralModel) -> None:
        other = Index.open(index.path, model=model.with_matcher(weight=1.0))
        for hit in other.search(photos / "a" / "0000.png", k=3):
            assert hit.similarity == pytest.approx(hit.structural)

    def test_emptied_index_has_no_hits(self, index: Index, photos: Path) -> None:
        assert index.remove([*open_folder(photos).paths[1:], image_id(open_folder(photos).paths[0])]) == 12
        assert index.search(photos / "a" / "0000.png").hits == []
        assert len(Index.open(index.path, model=index.model)) == 0
        assert index.add(photos).added == 12

    def test_remove_unknown_removes_nothing(self, index: Index) -> None:
        with pytest.raises(UsageError, match=r"nobody\.png is not in"):
            index.remove(["a/0000.png", "nobody.png"])
        assert len(index) == 12


class TestIndexFolder:
    def test_creates_then_adds(self, tmp_path: Path, model: StructuralModel, make_folder: Make) -> None:
        photos = make_folder(6)
        index, report = index_folder(photos, tmp_path / "n.diml", model=model, dim=3, labels_from="folder")
        assert (report.added, index.stats().labels, index.stats().dim) == (6, 3, 3)
        make_folder(8)
        index, report = index_folder(photos, tmp_path / "n.diml", model=model, dim=3)
        assert (report.added, report.unchanged) == (2, 6)

    def test_refuses_other_models_grids_and_dims(self, index: Index, photos: Path, model: StructuralModel) -> None:
        other = StructuralModel.wrap(torch.nn.Conv2d(3, 12, 8, 8), model.encoder.preprocessing, name="other")
        with pytest.raises(StoreError, match=r"made with the model tiny .* got other"):
            index_folder(photos, index.path, model=other)
        with pytest.raises(StoreError, match=r"expected grid 4x4, .* got 2x2"):
            index_folder(photos, index.path, model=model, grid=2)
        with pytest.raises(StoreError, match=r"expected dim 12, .* got 7"):
            index_folder(photos, index.path, model=model, dim=7)

    def test_refuses_folders_of_others(self, photos: Path, model: StructuralModel) -> None:
        with pytest.raises(StoreError, match="holds 'a' and is not an index"):
            index_folder(photos, photos, model=model)
        with pytest.raises(StoreError, match="is a file"):
            index_folder(photos, photos / "a" / "0000.png", model=model)

    def test_grid(self, tmp_path: Path, photos: Path, model: StructuralModel) -> None:
        index, _ = index_folder(photos, tmp_path / "g.diml", model=model, grid=(1, 2))
        assert index.stats().to_dict()["grid"] == [1, 2]
        assert index_folder(photos, tmp_path / "g.diml", model=model)[1].unchanged == 12

    def test_csv(self, tmp_path: Path, photos: Path, model: StructuralModel) -> None:
        (photos / "two.csv").write_text("path,label\na/0000.png,x\nb/0001.png,y\n")
        index, report = index_folder(open_table(photos / "two.csv"), tmp_path / "c.diml", model=model)
        assert (report.added, index.stats().labels) == (2, 2)


def test_stats(index: Index, photos: Path) -> None:
    stats = index.stats().to_dict()
    assert {"images": 12, "model": "tiny", "grid": [4, 4], "dim": 12, "format": 1, "labels": 3}.items() <= stats.items()
    assert stats["collection"] == str(photos)
    assert stats["bytes"] > 12 * 16 * 12 * 2


def test_pooled_vector_of_the_models_own(
    tmp_path: Path, photos: Path, model: StructuralModel, backbone_class: Any
) -> None:
    """A model that brings one: scores and residual are those of the model, not of the mean."""

    class WithPooled(backbone_class):
        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            maps = super().forward(pixels)
            return maps, maps.amax(dim=(2, 3))

    model = StructuralModel.wrap(WithPooled(), model.encoder.preprocessing, grid=(4, 4), name="max")
    index = Index.create(tmp_path / "max.diml", model, dim=4)
    index.add(photos)
    query = index.model.encode(photos / "a" / "0000.png")
    for hit in index.search(query, k=5):
        fresh = index.model.explain(query, index.model.encode(photos / hit.path))
        assert hit.similarity == pytest.approx(fresh.similarity.item(), abs=2e-3)
        assert hit.match.residual.item() == pytest.approx(fresh.residual.item(), abs=2e-3)
        assert hit.rank == 1 or abs(hit.match.residual.item()) > 1e-3


def test_index_is_a_model_anywhere(index: Index, backbone: Any, tmp_path: Path, photos: Path) -> None:
    shutil.copytree(index.path, tmp_path / "elsewhere.diml")
    shutil.rmtree(index.path)
    copy = Index.open(tmp_path / "elsewhere.diml", backbone=backbone)
    assert copy.search(photos / "c" / "0002.png", k=1)[0].path == "c/0002.png"
    loaded = StructuralModel.from_pretrained(tmp_path / "elsewhere.diml", backbone=backbone)
    assert loaded.fingerprint == copy.model.fingerprint
