"""The folder of an index and the table in it: what is refused, what is found, what nothing may lose."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
import torch

from diml.errors import DimlError, StoreError
from diml.feature_maps import FeatureMaps, Geometry
from diml.model import StructuralModel, storable
from diml.search import Index
from diml.search.blocks import Block
from diml.search.coarse import nearest
from diml.search.items import FileState, Item, image_id
from diml.search.row_form import FLOAT16_ROWS
from diml.search.schema import table_schema
from diml.search.store import Store
from diml.search.stored_maps import stored_maps
from diml.search.unreadable import unreadable

Make = Callable[..., Path]
DIM, PARTS = 8, 4


def block_of(local: torch.Tensor, first: int = 0) -> Block:
    """Images of these maps (n, r, d), with the label `even` or `odd`."""
    n = len(local)
    geometry = Geometry(
        torch.full((n, 2), 10), torch.tensor([[0.0, 0.0, 10.0, 10.0]], dtype=torch.float64).expand(n, 4)
    )
    names = [f"{i:06d}.png" for i in range(first, first + n)]
    items = [
        Item(image_id(name), name, Path(name), {"label": ["even", "odd"][i % 2]}) for i, name in enumerate(names, first)
    ]
    states = [FileState(i, i, f"{i:064d}") for i in range(first, first + n)]
    grid = (1, local.shape[1])
    return Block(items, states, FeatureMaps(local, grid, geometry=geometry), [b"jpeg"] * n, [])


def rows_of(block: Block) -> Any:
    schema = table_schema(block.maps.dim, block.maps.parts, [])
    return block.rows(range(len(block)), [item.meta for item in block.items], schema, FLOAT16_ROWS)


def store_of(folder: Path, local: torch.Tensor) -> Store:
    store = Store.create(folder, table_schema(local.shape[2], local.shape[1], []))
    store.put(rows_of(block_of(local)), replacing=False)
    return store


def random_maps(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, PARTS, DIM, generator=torch.Generator().manual_seed(seed))


def cosines(local: torch.Tensor, vector: np.ndarray) -> np.ndarray:
    pooled = torch.nn.functional.normalize(local.double().mean(1), dim=-1)
    return (pooled @ torch.nn.functional.normalize(torch.from_numpy(vector).double(), dim=0)).numpy()


class TestOpen:
    @pytest.fixture
    def path(self, tmp_path: Path, model: StructuralModel, make_folder: Make) -> Path:
        Index.create(tmp_path / "i.diml", model, dim=0).add(make_folder(6))
        return tmp_path / "i.diml"

    def refusal(self, path: Path) -> str:
        with pytest.raises(StoreError) as caught:
            Index.open(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        return str(caught.value)

    def test_nothing_there(self, tmp_path: Path) -> None:
        assert "does not exist; make an index with" in self.refusal(tmp_path / "none.diml")

    def test_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "is a file; expected an index" in self.refusal(tmp_path / "file")
        assert "is not an index" in self.refusal(tmp_path)

    def test_cut_off(self, path: Path) -> None:
        (path / "manifest.json").unlink()
        assert "run the same `diml index` command again" in self.refusal(path)

    def test_model_missing_or_cut(self, path: Path) -> None:
        weights = path / "model" / "model.safetensors"
        data = weights.read_bytes()
        weights.write_bytes(data[:-10])
        assert f"has {len(data) - 10} bytes instead of {len(data)}" in self.refusal(path)
        weights.unlink()
        assert "is missing; copy the index again" in self.refusal(path)

    def test_table_missing_or_cut(self, path: Path, tmp_path: Path) -> None:
        shutil.copytree(path, tmp_path / "copy.diml")
        data = next((path / "images.lance" / "data").iterdir())
        os.truncate(data, data.stat().st_size // 2)
        assert "cannot be read: a file of its table is truncated or damaged (" in self.refusal(path)
        data.unlink()
        assert f"was copied in part: {data.name} of its table is missing; copy the index again" in self.refusal(path)
        shutil.rmtree(tmp_path / "copy.diml" / "images.lance")
        assert "was copied in part: its table is missing; copy the index again" in self.refusal(tmp_path / "copy.diml")

    @pytest.mark.parametrize("part", ["data", "_versions"])
    def test_damaged_files_are_not_called_missing(self, path: Path, part: str) -> None:
        for file in (path / "images.lance" / part).iterdir():
            file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))
        said = self.refusal(path)
        assert "a file of its table is truncated or damaged (" in said
        assert "copied in part" not in said

    def test_no_permission_is_called_so(self, path: Path) -> None:
        said = str(unreadable(path, RuntimeError("lance error: LanceError(IO): Permission denied (os error 13)")))
        assert said == f"{path} cannot be read: permission denied; check the permissions of its files"

    def test_a_table_of_another_program(self, path: Path) -> None:
        shutil.rmtree(path / "images.lance")
        lancedb.connect(path).create_table("images", pa.table({"a": [1]}))
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps({**manifest, "table_version": 0}))
        said = self.refusal(path)
        assert "cannot be read: " in said
        assert "No field named id" in said

    def test_latest_commits_missing(self, path: Path) -> None:
        versions = sorted((path / "images.lance" / "_versions").glob("*.manifest"))
        versions[0].unlink()  # names count downwards
        (path / "images.lance" / "_versions" / "latest_version_hint.json").unlink(missing_ok=True)
        assert "instead of" in self.refusal(path)

    def test_damaged_and_newer_manifests(self, path: Path) -> None:
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
        assert "has format 99, and this diml reads up to 3; upgrade diml" in self.refusal(path)
        (path / "manifest.json").write_text(json.dumps({**manifest, "format": "x"}))
        assert "belongs to another program" in self.refusal(path)
        for text in ("{", "[]", "3", json.dumps({k: v for k, v in manifest.items() if k != "grid"})):
            (path / "manifest.json").write_text(text)
            assert "copy the index again, or make it again" in self.refusal(path)

    def test_other_model(self, path: Path, model: StructuralModel) -> None:
        with pytest.raises(StoreError, match=r"expected grid 4x4, .* got 2x2"):
            Index.open(path, model=model.with_grid((2, 2)))
        with torch.no_grad():
            next(model.parameters()).add_(1)
        with pytest.raises(StoreError, match=r"made with the model tiny \(.{8}\), got tiny \(.{8}\)"):
            Index.open(path, model=model)

    def test_create_over_an_index(self, path: Path, model: StructuralModel) -> None:
        with pytest.raises(StoreError, match="is an index already"):
            Index.create(path, model)

    def test_read_only(self, path: Path, model: StructuralModel, make_folder: Make) -> None:
        for file in [path, *path.rglob("*")]:
            file.chmod(0o555 if file.is_dir() else 0o444)
        index = Index.open(path, model=model)
        assert len(index.search(make_folder(6) / "a" / "0000.png")) == 6
        if os.geteuid():  # root may write anywhere
            with pytest.raises(StoreError, match="cannot be written"):
                index.add(make_folder(7))
        for file in [path, *path.rglob("*")]:
            file.chmod(0o755)


class TestCoarse:
    def test_agrees_with_numpy(self, tmp_path: Path) -> None:
        local = random_maps(300)
        store = store_of(tmp_path, local)
        vector = random_maps(1, 1)[0, 0].numpy()
        found = nearest(store, vector, 20)
        expected = cosines(local, vector)
        assert found["path"].to_pylist() == [f"{i:06d}.png" for i in np.argsort(-expected)[:20]]
        np.testing.assert_allclose(1 - found["_distance"].to_numpy(), np.sort(expected)[::-1][:20], atol=1e-6)

    def test_ties_at_the_end_go_by_id(self, tmp_path: Path) -> None:
        local = random_maps(60)
        local[10:40] = local[10]  # thirty copies of one image
        store = store_of(tmp_path, local)
        vector = local[10].mean(0).numpy()
        copies = sorted(image_id(f"{i:06d}.png") for i in range(10, 40))
        for limit in (1, 7, 29, 30):
            assert nearest(store, vector, limit)["id"].to_pylist() == copies[:limit]
        odd = nearest(store, vector, 5, where="label = 'odd'")
        assert odd["id"].to_pylist() == sorted(image_id(f"{i:06d}.png") for i in range(11, 40, 2))[:5]

    def test_images_without_direction_are_not_lost(self, tmp_path: Path) -> None:
        """The table itself leaves out rows whose cosine is not defined."""
        local = random_maps(20)
        local[5:8] = 0
        store = store_of(tmp_path, local)
        assert len(nearest(store, random_maps(1, 1)[0, 0].numpy(), 20)) == 20
        every = nearest(store, np.zeros(DIM, np.float32), 20)
        assert every["id"].to_pylist() == sorted(store.ids())
        assert set(every["_distance"].to_pylist()) == {1.0}

    def test_amend_keeps_everything_else(self, tmp_path: Path) -> None:
        store = store_of(tmp_path, random_maps(50))
        before = store.rows(sorted(store.ids())).sort_by("id")
        ids = sorted(store.ids())[:7]
        store.amend({id: {"label": None, "mtime_ns": 9} for id in [*ids, "not there"]})
        after = store.rows(sorted(store.ids())).sort_by("id")
        same = [name for name in before.column_names if name not in ("label", "mtime_ns")]
        assert after.select(same).equals(before.select(same))
        assert after["label"].to_pylist() == [None] * 7 + before["label"].to_pylist()[7:]


class TestGraph:
    """Beyond `exact_limit` the coarse search asks an HNSW graph."""

    @pytest.fixture
    def made(self, tmp_path: Path) -> tuple[Store, torch.Tensor]:
        local = random_maps(600)
        store = store_of(tmp_path, local[:500])
        store.tidy(exact_limit=300)
        assert store.has_graph()
        store.put(rows_of(block_of(local[500:], 500)), replacing=False)  # not in the graph
        return store, local

    def test_agrees_with_exact_search(self, made: tuple[Store, torch.Tensor]) -> None:
        store, _ = made
        found = 0
        for seed in range(10):
            vector = random_maps(1, seed + 1)[0, 0].numpy()
            exact, graph = (set(nearest(store, vector, 50, exact=e)["id"].to_pylist()) for e in (True, False))
            assert len(graph) == 50
            found += len(exact & graph)
        assert found >= 475

    def test_conditions_lose_nothing(self, made: tuple[Store, torch.Tensor]) -> None:
        store, _ = made
        vector = random_maps(1, 1)[0, 0].numpy()
        for where in ("mtime_ns < 5", "mtime_ns >= 498", "label = 'odd'"):
            n = store.count(where)
            found = nearest(store, vector, n, where, exact=False)
            assert len(set(found["id"].to_pylist())) == n

    def test_index_below_and_above_the_limit(self, tmp_path: Path, model: StructuralModel, make_folder: Make) -> None:
        index = Index.create(tmp_path / "small.diml", model, dim=0, exact_limit=20)
        index.add(make_folder(20), labels_from="folder")
        assert not index.stats().graph
        photos = make_folder(60)
        exact = [hit.id for hit in index.search(photos / "a" / "0000.png", k=20)]
        index.add(photos, labels_from="folder")
        assert index.stats().graph
        assert len(exact) == 20
        hits = index.search(photos / "a" / "0033.png", k=60, shortlist=60)
        assert len({hit.id for hit in hits}) == 60
        assert hits[0].path == "a/0033.png"
        assert len(index.search(photos / "a" / "0033.png", k=60, where="label = 'b'")) == 20
        index.remove([f"a/{i:04d}.png" for i in range(0, 60, 3)])
        hits = index.search(photos / "a" / "0033.png", k=60)
        assert {hit.label for hit in hits} == {"b", "c"}
        assert len(hits) == 40

    def test_graph_with_images_without_direction(self, tmp_path: Path) -> None:
        local = random_maps(400)
        local[::7] = 0
        store = store_of(tmp_path, local)
        store.tidy(exact_limit=100)
        vector = random_maps(1, 1)[0, 0].numpy()
        exact, graph = (set(nearest(store, vector, 30, exact=e)["id"].to_pylist()) for e in (True, False))
        assert len(exact & graph) >= 28
        assert len(nearest(store, vector, 400, exact=False)) == 400


class TestStorable:
    @pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, 1e5, 1e30])
    def test_any_size_keeps_its_direction(self, size: float) -> None:
        maps = FeatureMaps(random_maps(3) * size, (2, 2))
        local, pooled = storable(maps)
        assert local.isfinite().all()
        expected = torch.nn.functional.normalize(random_maps(3).flatten(1))
        torch.testing.assert_close(
            torch.nn.functional.normalize(local.float().flatten(1)), expected, atol=1e-3, rtol=1e-3
        )
        torch.testing.assert_close(local.float().mean(1), pooled, atol=1e-2, rtol=1e-2)

    def test_usual_maps_are_stored_as_they_are(self) -> None:
        maps = FeatureMaps(random_maps(3), (2, 2))
        assert torch.equal(storable(maps)[0], maps.local.half())

    def test_round_trip(self, tmp_path: Path, model: StructuralModel, make_folder: Make) -> None:
        index = Index.create(tmp_path / "i.diml", model, dim=0)
        photos = make_folder(5)
        index.add(photos)
        manifest, store = index._state.require()
        rows = store.rows(sorted(store.ids()))
        fresh = model.encode([photos / path for path in rows["path"].to_pylist()])
        stored = stored_maps(rows, manifest)
        assert torch.equal(stored.local, fresh.local.half().float())
        assert stored.geometry is not None
        assert fresh.geometry is not None
        assert torch.equal(stored.geometry.visible, fresh.geometry.visible)


def test_store_errors_are_errors_of_diml() -> None:
    assert issubclass(StoreError, DimlError)
