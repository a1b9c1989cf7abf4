"""Writers beside writers, readers beside writers, and writers that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diml.data.collection import open_folder
from diml.errors import StoreError
from diml.model import StructuralModel
from diml.search import AddReport, Index, index_folder
from diml.search.items import image_id
from diml.search.manifest import LOCK, is_index

Make = Callable[..., Path]
Start = Callable[..., "subprocess.Popen[str]"]
PATIENCE = 120


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start(folder, index, dim, seconds): a process that is about to add; `go` lets it."""
    running: list[subprocess.Popen[str]] = []

    def begin(folder: Path, into: Path, dim: int = 0, seconds: float = 0.0) -> subprocess.Popen[str]:
        script = Path(__file__).with_name("adding_process.py")
        command = [sys.executable, str(script), str(folder), str(into), str(dim), str(seconds)]
        path = os.pathsep.join(sys.path)
        running.append(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
        )
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(output)
    return found


def stored_paths(index: Index) -> list[str]:
    return sorted(index._state.require().store.scan(["path"])["path"].to_pylist())


def add_in_threads(into: Path, model: StructuralModel, folders: list[Path], dim: int) -> list[AddReport]:
    """Each thread with an index of its own, none of which is there at first."""
    reports: list[AddReport] = []
    barrier = threading.Barrier(len(folders))

    def work(folder: Path) -> None:
        own = model.with_grid(model.grid)
        index = Index.create(into, own, dim=dim)
        barrier.wait()
        reports.append(index.add(folder, batch_size=2, commit_seconds=0))

    threads = [threading.Thread(target=work, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return reports


@pytest.mark.parametrize("dim", [0, 4])
def test_two_writers_of_one_folder(tmp_path: Path, model: StructuralModel, make_folder: Make, dim: int) -> None:
    photos = make_folder(30)
    reports = add_in_threads(tmp_path / "two.diml", model, [photos, photos], dim)
    assert [r.added + r.unchanged for r in reports] == [30, 30]
    assert sum(r.added for r in reports) == 30
    index = Index.open(tmp_path / "two.diml", model=model)
    assert stored_paths(index) == open_folder(photos).paths


def test_three_writers_of_different_folders(tmp_path: Path, model: StructuralModel, make_folder: Make) -> None:
    folders = [make_folder(10, name, prefix=name) for name in ("x", "y", "z")]
    reports = add_in_threads(tmp_path / "many.diml", model, folders, 4)
    assert [r.added for r in reports] == [10, 10, 10]
    index = Index.open(tmp_path / "many.diml", model=model)
    assert stored_paths(index) == sorted(path for folder in folders for path in open_folder(folder).paths)


def test_a_row_that_another_writer_stored_is_left_out(
    tmp_path: Path, model: StructuralModel, make_folder: Make, backbone: Any
) -> None:
    """Writer A is held between embedding and commit while B stores everything."""
    photos = make_folder(8)
    first = Index.create(tmp_path / "x.diml", model, dim=0)
    first.add(make_folder(1, "one", prefix="q"))
    second = Index.open(tmp_path / "x.diml", model=model)
    inner: list[AddReport] = []

    def progress(done: int, total: int) -> None:
        if done and not inner:
            inner.append(second.add(photos))

    report = first.add(photos, batch_size=2, progress=progress)
    assert (inner[0].added, report.added, report.unchanged) == (8, 0, 8)
    assert len(first) == 9


def test_second_writer_begins_at_the_other_end(tmp_path: Path, model: StructuralModel, make_folder: Make) -> None:
    photos = make_folder(8)
    first = Index.create(tmp_path / "x.diml", model, dim=0)
    first.add(make_folder(1, "one", prefix="q"))
    second = Index.open(tmp_path / "x.diml", model=model)
    seen: list[list[str]] = []

    def inner(done: int, total: int) -> None:
        if done == 4:  # the first batch is stored, the second waits
            seen.append(stored_paths(second))
            raise KeyboardInterrupt

    def outer(done: int, total: int) -> None:
        if done == 2 and not seen:
            with pytest.raises(KeyboardInterrupt):
                second.add(photos, batch_size=2, commit_seconds=0, progress=inner)

    report = first.add(photos, batch_size=2, commit_seconds=0, progress=outer)
    assert set(open_folder(photos).paths[-2:]) < set(seen[0])
    assert report.added == 4  # what the other embedded before it was broken off, was stored
    assert len(first) == 9


@pytest.mark.slow
@pytest.mark.parametrize("dim", [pytest.param(0, marks=pytest.mark.long), 4])
def test_two_processes_on_an_index_that_does_not_exist(
    tmp_path: Path, model: StructuralModel, make_folder: Make, start: Start, dim: int
) -> None:
    photos, into = make_folder(40), tmp_path / "two.diml"
    processes = [start(photos, into, dim, 0.02), start(photos, into, dim, 0.02)]
    go(*processes)
    reports = [report_of(process) for process in processes]
    assert sum(r["added"] for r in reports) == 40
    assert [r["added"] + r["unchanged"] for r in reports] == [40, 40]
    assert stored_paths(Index.open(into, model=model)) == open_folder(photos).paths


@pytest.mark.long
def test_two_processes_with_different_folders(
    tmp_path: Path, model: StructuralModel, make_folder: Make, start: Start
) -> None:
    folders, into = [make_folder(20, name, prefix=name) for name in "xy"], tmp_path / "two.diml"
    processes = [start(folder, into, 4, 0.02) for folder in folders]
    go(*processes)
    assert [report_of(process)["added"] for process in processes] == [20, 20]
    assert len(Index.open(into, model=model)) == 40


@pytest.mark.slow
def test_killed_while_it_adds(
    tmp_path: Path, model: StructuralModel, make_folder: Make, start: Start, backbone: Any
) -> None:
    photos, into = make_folder(40), tmp_path / "killed.diml"
    process = start(photos, into, 0, 0.3)
    go(process)
    wait_until(lambda: is_index(into))
    reader = Index.open(into, model=model)
    wait_until(lambda: len(reader) >= 6)  # a reader sees what is committed while the writer goes on
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    committed = stored_paths(reader)
    index = Index.open(into, model=model)
    assert stored_paths(index) == committed
    assert 6 <= len(index) < 40
    hits = index.search(photos / committed[0], k=100).hits
    assert sorted(hit.path for hit in hits) == committed
    before = backbone.images
    report = index_folder(photos, into, model=model)[1]
    assert (report.added, report.unchanged) == (40 - len(committed), len(committed))
    assert backbone.images - before == 40 - len(committed)
    assert stored_paths(index) == open_folder(photos).paths


@pytest.mark.long
def test_killed_while_it_is_made(tmp_path: Path, model: StructuralModel, make_folder: Make, start: Start) -> None:
    photos, into = make_folder(20), tmp_path / "killed.diml"
    process = start(photos, into, 4, 0.5)
    go(process)
    wait_until((into / LOCK).exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(StoreError, match="interrupted; run the same `diml index` command again"):
        Index.open(into)
    index, report = index_folder(photos, into, model=model, dim=4)
    assert (report.added, index.stats().dim) == (20, 4)


@pytest.mark.long
def test_readers_are_not_broken_by_a_process_that_tidies_up(
    tmp_path: Path, model: StructuralModel, make_folder: Make, start: Start
) -> None:
    photos, into = make_folder(60), tmp_path / "busy.diml"
    index = index_folder(make_folder(3, "first", prefix="f"), into, model=model, dim=0)[0]
    process = start(photos, into)
    go(process)
    check_reading(index, photos, lambda: process.poll() is None)


@pytest.mark.slow
def test_readers_are_not_broken_by_a_writer_that_tidies_up(
    tmp_path: Path, model: StructuralModel, make_folder: Make
) -> None:
    photos, into = make_folder(60), tmp_path / "busy.diml"
    index = index_folder(make_folder(3, "first", prefix="f"), into, model=model, dim=0)[0]
    writer = Index.open(into, model=model.with_grid(model.grid))
    thread = threading.Thread(target=lambda: writer.add(photos, batch_size=2, commit_seconds=0))
    thread.start()
    check_reading(index, photos, thread.is_alive)


def check_reading(index: Index, photos: Path, at_work: Callable[[], bool]) -> None:
    """Searches while 60 images are added."""
    sizes = [len(index)]
    while at_work():
        hits = index.search(photos / "a" / "0000.png", k=1000).hits
        assert len({hit.id for hit in hits}) == len(hits)
        sizes.append(len(hits))
    assert sizes == sorted(sizes)
    assert len(index) == 63
    assert image_id("a/0000.png") in {hit.id for hit in index.search(photos / "a" / "0000.png", k=1)}
