"""kill -9 at random moments of a run on a Ray cluster: a lost worker costs its task, a lost driver what it held."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diml.model import StructuralModel
from diml.search import Index, index_folder

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from ray_process import Slow  # noqa: E402 (beside this file)

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]
IMAGES = 90
SEED = 20261127
ROUNDS = 3


def write_image(folder: Path, number: int) -> None:
    file = folder / "abc"[number % 3] / f"{number:03}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((40, 50)).save(file)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        write_image(folder, number)
    return folder


@pytest.fixture(scope="module")
def wanted(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """What one process stores."""
    model = StructuralModel.wrap(Slow(0.0), grid=(3, 3), name="slow")
    place = tmp_path_factory.mktemp("local") / "wanted.diml"
    return index_folder(images, place, model=model, dim=0, labels_from="folder")[0]


def rows(index: Index) -> list[tuple[object, ...]]:
    """All that is stored of each image but its map; every row, so that one stored twice is there twice."""
    store = index._state.require().store
    table = store.scan([name for name in store.schema.names if name not in ("map", "pooled")]).sort_by("id")
    return [tuple(map(str, row.values())) for row in table.to_pylist()]


def check_equal(found: Index, wanted: Index) -> None:
    assert rows(found) == rows(wanted)
    torch.testing.assert_close(found.maps(found.paths).local, wanted.maps(wanted.paths).local, atol=1e-3, rtol=0)


def opened(place: Path) -> Index:
    return Index.open(place, backbone=Slow(0.0))


@contextmanager
def running(images: Path, into: Path, seconds: float = 0.1, *more: str) -> Iterator[subprocess.Popen[str]]:
    """The process, its cluster up, in a session of its own."""
    command = [sys.executable, str(HERE / "ray_process.py"), str(images), str(into), str(seconds), *more]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    # A folder of its own for the files of the cluster, with a name as short as sockets in it need.
    with (
        tempfile.TemporaryDirectory(prefix="dr-", dir="/tmp", ignore_cleanup_errors=True) as place,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "TMPDIR": place},
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def descendants(pid: int) -> dict[int, str]:
    """Processes below another, with what they call themselves."""
    parents, names = dict[int, int](), dict[int, str]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                names[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {each: names[each] for each in found - {pid}}


def gone(pids: set[int], within: float = 120.0) -> set[int]:
    """Which of these processes still run after some seconds; Ray's agents notice after a minute."""
    end = time.monotonic() + within
    while (left := {pid for pid in pids if _runs(pid)}) and time.monotonic() < end:
        time.sleep(0.2)
    return left


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until_stored(process: subprocess.Popen[str], count: int) -> list[str]:
    """The paths of the first rows that were committed."""
    assert process.stdout is not None
    paths: list[str] = []
    while len(paths) < count:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        if line.startswith("stored "):
            paths.append(line.removeprefix("stored ").strip())
    return paths


@pytest.mark.parametrize("round", range(ROUNDS))
def test_a_worker_that_is_killed_costs_its_task_alone(round, images, wanted, tmp_path):
    rng = random.Random(f"worker {SEED} {round}")
    with running(images, tmp_path / "killed.diml") as process:
        until_stored(process, 1 + rng.randrange(IMAGES // 3))
        time.sleep(rng.random() / 2)
        workers = [pid for pid, name in descendants(process.pid).items() if name.startswith("ray::MapWorker")]
        assert workers
        os.kill(rng.choice(workers), signal.SIGKILL)
        out, errors = process.communicate(timeout=180)
    assert out.splitlines()[-1] == f"done {IMAGES} 0", errors
    check_equal(opened(tmp_path / "killed.diml"), wanted)


@pytest.mark.parametrize("round", range(ROUNDS))
def test_a_driver_that_is_killed_keeps_what_it_committed_and_goes_on(round, images, wanted, tmp_path):
    rng = random.Random(f"driver {SEED} {round}")
    place = tmp_path / "killed.diml"
    with running(images, place) as process:
        committed = until_stored(process, 1 + rng.randrange(IMAGES // 2))
        time.sleep(rng.random() / 2)
        cluster = set(descendants(process.pid))
        process.kill()
        committed += [
            line.removeprefix("stored ") for line in process.communicate()[0].splitlines() if "stored " in line
        ]
    index = opened(place)
    assert len(committed) < IMAGES, "killed too late to interrupt anything"
    assert set(committed) <= set(index.paths)
    before = len(index)
    with running(images, place, 0.0) as process:
        out, errors = process.communicate(timeout=180)
    assert out.splitlines()[-1] == f"done {IMAGES - before} {before}", errors
    check_equal(opened(place), wanted)
    assert not gone(cluster), "the cluster outlives its driver"


def test_an_interrupt_keeps_what_was_embedded_and_stops_the_cluster(images, wanted, tmp_path):
    place = tmp_path / "interrupted.diml"
    with running(images, place) as process:
        until_stored(process, 4)
        temporary = Path(dict(environment_of(process.pid))["TMPDIR"])
        assert list(temporary.glob("diml-ray-*"))
        cluster = set(descendants(process.pid))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to every process
        process.communicate(timeout=60)
        assert not list(temporary.glob("diml-ray-*"))
    assert process.returncode != 0
    assert not gone(cluster)
    assert 4 <= len(opened(place)) < IMAGES


def test_an_image_that_ends_every_worker_ends_the_run_with_a_sentence(tmp_path):
    for number in range(20):
        write_image(tmp_path / "images", number)
    Image.new("RGB", (40, 50), "black").save(tmp_path / "images" / "a" / "black.png")
    with running(tmp_path / "images", tmp_path / "ended.diml", 0.05, "end") as process:
        out, errors = process.communicate(timeout=240)
    # Ray itself prints lines that begin with "(raylet)", also after ours.
    said = [line for line in out.splitlines() if line.startswith(("error ", "done "))]
    assert len(said) == 1, (out, errors)
    assert said[0].startswith("error the workers of the cluster ended 4 times at one task"), (out, errors)
    stored = opened(tmp_path / "ended.diml").paths
    assert 0 < len(stored) <= 20
    assert "a/black.png" not in stored
    assert f"{21 - len(stored)} images are left, the first is " in said[0]


def environment_of(pid: int) -> Iterator[list[str]]:
    for entry in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0"):
        if "=" in entry:
            yield entry.split("=", 1)
