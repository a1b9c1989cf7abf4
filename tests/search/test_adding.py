"""Adding to an index: what is new, changed, gone or unreadable; and the head that is fitted on the first images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diml.data.collection import open_folder
from diml.errors import DatasetError, ImageError, StoreError, UsageError
from diml.model import StructuralModel
from diml.search import Index, index_folder
from diml.search.items import image_id
from diml.search.writer import Writer

Make = Callable[..., Path]


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

    def test_it_says_what_has_embedded_its_images(self, tmp_path: Path, model: StructuralModel, photos: Path) -> None:
        index, _ = index_folder(photos, tmp_path / "photos.diml", model=model.with_backend("openvino"))
        assert index.stats().backends == ("openvino",)
        assert Index.open(index.path, model=model).add(photos).unchanged == 12
        assert Index.open(index.path).stats().backends == ("openvino",)
        (photos / "new.png").write_bytes((photos / "a" / "0000.png").read_bytes())
        again = Index.open(index.path, model=model.with_backend("torch"))
        assert again.add(photos).added == 1
        assert Index.open(index.path).stats().backends == ("openvino", "torch")
        first = again.search(photos / "new.png", k=2)
        assert {hit.path for hit in first} == {"new.png", "a/0000.png"}
        assert first[0].similarity == pytest.approx(first[1].similarity, abs=1e-3)

    def test_maps_of_a_reduced_precision_are_not_mixed_with_others(
        self, tmp_path: Path, model: StructuralModel, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Every processor can do this; what is stored is what counts here.
        monkeypatch.setattr("diml.embedding.inference.inference._compiled", lambda backend, backbone, pixels: backbone)
        reduced = model.with_backend("openvino-bf16")
        index, _ = index_folder(photos, tmp_path / "photos.diml", model=reduced)
        assert index.stats().backends == ("openvino-bf16",)
        (photos / "new.png").write_bytes((photos / "a" / "0000.png").read_bytes())
        with pytest.raises(
            UsageError, match=r"was embedded by openvino-bf16, whose maps are not those of auto; add with"
        ):
            Index.open(index.path, model=model).add(photos)
        assert Index.open(index.path, model=reduced).add(photos).added == 1
        other, _ = index_folder(photos, tmp_path / "other.diml", model=model.with_backend("torch"))
        with pytest.raises(
            UsageError, match=r"was embedded by torch, whose maps are not those of openvino-bf16; add with"
        ):
            Index.open(other.path, model=reduced).add(photos)

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
        stored, fresh = (
            {entry.id: index.maps(entry.id) for entry in index},
            index.model.encode([photos / p for p in open_folder(photos).paths]),
        )
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
