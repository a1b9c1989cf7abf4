"""kill -9 at random moments over the whole life of an index: nothing committed is lost, and the rerun completes.

`python tests/search/test_kills.py [MOMENTS [STEP ...]]` prints the table of docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from diml.errors import StoreError
from diml.search import Index
from diml.search.manifest import is_index

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from life_process import backbone  # noqa: E402 (beside this file)

FORMATS = HERE.parent / "formats"
# Creation commits nothing before the head is fitted on all of the images; without a head it commits each batch.
STEPS = ("create", "create without head", "add", "prune", "earlier format", "vector index")
MOMENTS = 20
IMAGES = 48
SEED = 20261125


def write_images(folder: Path, numbers: range) -> None:
    for number in numbers:
        file = folder / "abc"[number % 3] / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 50)).save(file)


class Moment(NamedTuple):
    """So many seconds after so many rows were committed: not after the start, as a busy machine takes longer."""

    rows: int
    seconds: float


@dataclass
class Life:
    """A step of an index's life that is killed and run again."""

    step: str
    place: Path
    images: Path = field(init=False)
    index: Path = field(init=False)

    def __post_init__(self) -> None:
        self.images, self.index = self.place / "images", self.place / "life.diml"

    def copy(self, place: Path) -> Life:
        """The same state in another folder."""
        shutil.copytree(self.place, place)
        return Life(self.step, place)

    def prepare(self) -> None:
        """Bring the index to the state before the step."""
        write_images(self.images, range(IMAGES))
        if self.step == "earlier format":
            shutil.copytree(FORMATS / "v1" / "index.diml", self.index)
        elif self.step == "add":
            half = self.place / "half"
            write_images(half, range(IMAGES // 2))
            self.run(half)
        elif self.step == "prune":
            self.run()
            for file in sorted(self.images.rglob("*.png"))[::2]:
                file.unlink()
        elif self.step == "vector index":
            self.run()
            # As if the rows had been stored up to the limit of exact search: what remains is to build the graph.
            manifest = json.loads((self.index / "manifest.json").read_text())
            (self.index / "manifest.json").write_text(json.dumps({**manifest, "exact_limit": IMAGES // 2}))

    def start(self, images: Path | None = None) -> subprocess.Popen[str]:
        kind, dim = "prune" if self.step == "prune" else "add", "0" if self.step == "create without head" else "4"
        places = [str(images or self.images), str(self.index)]
        command = [sys.executable, str(HERE / "life_process.py"), kind, *places, dim]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def go(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    def run(self, images: Path | None = None) -> list[float]:
        """To the end; the seconds until each row was committed, and until all was done."""
        process = self.start(images)
        assert process.stdout is not None
        started, seconds = time.monotonic(), list[float]()
        self.go(process)
        while (line := process.stdout.readline()) not in ("done\n", ""):
            assert line.startswith("stored ")
            seconds.append(time.monotonic() - started)
        seconds.append(time.monotonic() - started)
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors
        return seconds

    def kill_at(self, moment: Moment) -> tuple[bool, set[str]]:
        """Kill the step; whether it was still at work, and the paths of the rows that it had committed."""
        process = self.start()
        assert process.stdout is not None
        self.go(process)
        lines = [process.stdout.readline().strip() for _ in range(moment.rows)]
        time.sleep(moment.seconds)
        process.send_signal(signal.SIGKILL)
        lines += process.communicate()[0].splitlines()
        return "done" not in lines, {line.removeprefix("stored ") for line in lines if line.startswith("stored ")}

    def kept(self, before: dict[str, bytes], committed: set[str]) -> set[str]:
        """The paths that have to be stored after a kill; pruning may drop what the folder lacks."""
        files = {file.relative_to(self.images).as_posix() for file in self.images.rglob("*.png")}
        return committed | (before.keys() & files if self.step == "prune" else before.keys())

    def opened(self) -> Index | None:
        """The index as it is now; None where there is none yet."""
        try:
            return Index.open(self.index, backbone=backbone())
        except StoreError:
            # Only an index that was never complete may fail to open.
            if not self.step.startswith("create") or is_index(self.index):
                raise
            return None

    def rows(self) -> dict[str, bytes]:
        """What is stored and found by a search: path to the bytes of its map; nothing where there is no index yet."""
        index = self.opened()
        if index is None or not index.paths:
            return {}
        query = self.images / "c" / "047.png"
        found = {hit.path for hit in index.search(query, k=len(index), shortlist="all")}
        maps = index.maps(index.paths).local
        return {path: maps[k].numpy().tobytes() for k, path in enumerate(index.paths) if path in found}


@dataclass(frozen=True)
class Kill:
    """What a kill left.

    Attributes:
        running: whether the step was still at work.
        committed: rows that were stored before the step, or that it had committed, and that had to remain.
        lost: of these, the ones that are gone or have another map.
        complete: whether the rerun ended where an unbroken run ends.
    """

    running: bool
    committed: int
    lost: int
    complete: bool


def live(life: Life, moment: Moment, before: dict[str, bytes], wanted: dict[str, bytes]) -> Kill:
    """Kill at a moment, look, run again, look again."""
    running, committed = life.kill_at(moment)
    after, kept = life.rows(), life.kept(before, committed)
    lost = {path for path in kept if path not in after or after[path] != before.get(path, wanted.get(path))}
    life.run()
    index = life.opened()
    graph = index is not None and index.stats().graph
    complete = life.rows() == wanted and graph == (life.step == "vector index")
    return Kill(running, len(kept), len(lost), complete)


def moments(seconds: list[float], count: int, step: str) -> list[Moment]:
    """One at random in each of as many equal pieces of the duration; `seconds` are those of an unbroken run."""
    rng = random.Random(f"{SEED} {step}")
    times = [seconds[-1] * (k + rng.random()) / count for k in range(count)]
    rows = [sum(stored <= at for stored in seconds[:-1]) for at in times]
    return [Moment(n, at - (seconds[n - 1] if n else 0.0)) for n, at in zip(rows, times, strict=True)]


def lives(step: str, place: Path, count: int) -> list[Kill]:
    prepared = Life(step, place / "prepared")
    prepared.prepare()
    before, unbroken = prepared.rows(), prepared.copy(place / "unbroken")
    seconds, wanted = unbroken.run(), unbroken.rows()
    assert wanted
    times = moments(seconds, count, step)
    return [live(prepared.copy(place / f"life{at}"), moment, before, wanted) for at, moment in enumerate(times)]


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_nothing_committed_is_lost_and_the_rerun_completes(step, tmp_path):
    kills = lives(step, tmp_path, MOMENTS)
    assert sum(kill.running for kill in kills) >= MOMENTS // 2, "most kills came too late to interrupt anything"
    assert [kill.lost for kill in kills] == [0] * MOMENTS
    assert all(kill.complete for kill in kills)


def main(count: int, steps: Sequence[str]) -> None:
    print("| step | kills | before it was done | committed rows at the kill | lost or changed | reruns complete |")
    print("|---|---:|---:|---:|---:|---:|")
    for step in steps:
        with tempfile.TemporaryDirectory() as place:
            kills = lives(step, Path(place), count)
        running, complete = sum(kill.running for kill in kills), sum(kill.complete for kill in kills)
        rows = f"{min(kill.committed for kill in kills)} to {max(kill.committed for kill in kills)}"
        lost = sum(kill.lost for kill in kills)
        print(f"| {step} | {len(kills)} | {running} | {rows} | {lost} | {complete} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MOMENTS, sys.argv[2:] or STEPS)
