"""Many threads that search one index find what one thread finds, also while others add."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from diml.model import StructuralModel
from diml.search import Index, SearchResult

Make = Callable[..., Path]
THREADS = 8


@pytest.fixture
def photos(make_folder: Make) -> Path:
    return make_folder(16)


@pytest.fixture
def index(tmp_path: Path, model: StructuralModel, photos: Path) -> Index:
    made = Index.create(tmp_path / "photos.diml", model, dim=4)
    made.add(photos, labels_from="folder")
    return made


def searches(photos: Path, paths: list[str]) -> list[dict[str, Any]]:
    """Searches of every kind, several times each."""
    kinds: list[dict[str, Any]] = [
        {"k": 5},
        {"k": 3, "shortlist": "all"},
        {"k": 4, "shortlist": 0, "where": "label = 'a'"},
        {"k": 4, "regions": [(0, 0, 20, 25)]},
    ]
    return [{"image": photos / path, **kinds[i % 4]} for i, path in enumerate(paths)]


def numbers(found: SearchResult) -> list[tuple[str, float, float]]:
    return [(hit.id, hit.similarity, hit.match.contributions.sum().item()) for hit in found]


@pytest.mark.slow
def test_many_threads(index: Index, photos: Path, backbone: Any) -> None:
    asked = searches(photos, index.paths)
    serial = [numbers(index.search(**each)) for each in asked]
    fresh = Index.open(index.path, backbone=backbone)  # its model is loaded by the threads
    for one in (index, fresh):
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(lambda each, one=one: numbers(one.search(**each)), asked))
        assert found == serial


def test_the_model_is_loaded_once(index: Index, backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    original = StructuralModel.from_pretrained

    def counting(*arguments: Any, **options: Any) -> StructuralModel:
        loaded.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(StructuralModel, "from_pretrained", counting)
    fresh = Index.open(index.path, backbone=backbone)
    with ThreadPoolExecutor(THREADS) as pool:
        models = list(pool.map(lambda _: fresh.model, range(THREADS)))
    assert len(loaded) == len({id(model) for model in models}) == 1


@pytest.mark.slow
def test_while_others_add(index: Index, photos: Path, make_folder: Make) -> None:
    asked = [{**each, "where": "path LIKE '_/0%'"} for each in searches(photos, index.paths)]
    serial = [numbers(index.search(**each)) for each in asked]
    before = set(index.paths)
    folders = [make_folder(12, name, prefix=name) for name in "xy"]
    with ThreadPoolExecutor(THREADS + 2) as pool:
        adding = [pool.submit(index.add, folder, batch_size=1, commit_seconds=0) for folder in folders]
        found = list(pool.map(lambda each: numbers(index.search(**each)), asked))
        listed = pool.submit(lambda: [entry.path for entry in index])
        assert [done.result().added for done in adding] == [12, 12]
    assert found == serial
    assert before <= set(listed.result()) <= set(index.paths)
    assert len(index) == 40


def test_threads_that_make_it(tmp_path: Path, model: StructuralModel, make_folder: Make) -> None:
    folders = [make_folder(8, name, prefix=name) for name in "xyz"]
    index = Index.create(tmp_path / "new.diml", model, dim=3)
    with ThreadPoolExecutor(THREADS) as pool:
        adding = [pool.submit(index.add, folder, batch_size=2, commit_seconds=0) for folder in folders]
        sizes = [len(found) for found in pool.map(lambda _: index.search(folders[0] / "a" / "x0000.png"), range(20))]
        assert [done.result().added for done in adding] == [8, 8, 8]
    assert max(sizes) <= 10
    assert len(index) == 24
