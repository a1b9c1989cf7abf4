"""kill -9 at random moments over the whole life of an index: nothing committed is lost, and the rerun completes.

`python tests/search/test_kills.py [MOMENTS]` prints the table of docs/reliability.md.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diml.errors import StoreError
from diml.search import Index

HERE = Path(__file__).parent
FORMATS = HERE.parent / "formats"
STEPS = ("create", "add", "prune", "earlier format", "vector index")
MOMENTS = 20
IMAGES = 48
SEED = 20261125


def write_images(folder: Path, numbers: range) -> None:
    for number in numbers:
        file = folder / "abc"[number % 3] / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 50)).save(file)


@dataclass
class Life:
    """A step of an index's life that is killed and run again."""

    step: str
    place: Path
    images: Path = field(init=False)
    index: Path = field(init=False)

    def __post_init__(self) -> None:
        self.images, self.index = self.place / "images", self.place / "life.diml"
        self.images.mkdir(parents=True)

    def prepare(self) -> None:
        """Bring the index to the state before the step."""
        write_images(self.images, range(IMAGES))
        if self.step == "earlier format":
            shutil.copytree(FORMATS / "v1" / "index.diml", self.index)
        elif self.step in ("add", "prune"):
            half = self.place / "half"
            # Pruning starts from everything; what the folder then lacks is dropped.
            source = self.images if self.step == "prune" else half
            if self.step == "add":
                write_images(half, range(IMAGES // 2))
            self.run(source)
            if self.step == "prune":
                for file in sorted(self.images.rglob("*.png"))[::2]:
                    file.unlink()

    def start(self, images: Path | None = None) -> subprocess.Popen[str]:
        kind = {"prune": "prune", "vector index": "graph"}.get(self.step, "add")
        command = [sys.executable, str(HERE / "life_process.py"), kind, str(images or self.images), str(self.index)]
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

    def run(self, images: Path | None = None) -> float:
        """To the end; its seconds."""
        process = self.start(images)
        started = time.monotonic()
        self.go(process)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output == "done\n"
        return time.monotonic() - started

    def kill_after(self, seconds: float) -> bool:
        """Kill the step after so many seconds; whether it was still running."""
        process = self.start()
        self.go(process)
        time.sleep(seconds)
        running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return running

    def rows(self) -> dict[str, bytes]:
        """What is stored and can be read: path to the bytes of its map; nothing where there is no index yet."""
        try:
            index = Index.open(self.index, backbone=_backbone())
        except StoreError:
            return {}
        paths = index.paths
        if not paths:
            return {}
        maps = index.maps(paths).local
        return {path: maps[k].numpy().tobytes() for k, path in enumerate(paths)}


def _backbone():
    sys.path.insert(0, str(HERE))
    from life_process import backbone

    return backbone()


@dataclass(frozen=True)
class Kill:
    """What a kill left: rows before it, after it, and after the rerun."""

    moment: float
    running: bool
    before: int
    after: int
    final: int


def live(step: str, place: Path, moment: float, wanted: dict[str, bytes] | None) -> tuple[Kill, dict[str, bytes]]:
    """Prepare, kill at a moment, check, run again, check again. The rows at the end are the second result.

    Raises:
        AssertionError: a committed row is lost or changed, or the rerun does not arrive at the rows of an unbroken run.
    """
    life = Life(step, place)
    life.prepare()
    before = life.rows()
    running = life.kill_after(moment)
    after = life.rows()
    for path, stored in after.items():
        assert path not in before or stored == before[path], f"{path} was changed"
    if step != "prune":
        assert before.keys() <= after.keys(), "a committed row is lost"
    else:
        kept = {file.relative_to(life.images).as_posix() for file in life.images.rglob("*.png")}
        assert kept & before.keys() <= after.keys(), "a row that is in the folder is lost"
    life.run()
    final = life.rows()
    # Rows that were committed before the kill stay as they are; a head fitted anew gives the same bits.
    assert after.keys() <= final.keys() or step == "prune"
    if wanted is not None:
        assert final == wanted, "the rerun does not end where an unbroken run ends"
    return Kill(moment, running, len(before), len(after), len(final)), final


def moments(seconds: float, count: int, step: str) -> list[float]:
    """One at random in each of as many equal pieces of the duration."""
    rng = random.Random(f"{SEED} {step}")
    return [seconds * (k + rng.random()) / count for k in range(count)]


def lives(step: str, place: Path, count: int) -> list[Kill]:
    unbroken = Life(step, place / "unbroken")
    unbroken.prepare()
    seconds = unbroken.run()
    wanted = unbroken.rows()
    return [
        live(step, place / f"life{number}", moment, wanted)[0]
        for number, moment in enumerate(moments(seconds, count, step))
    ]


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_nothing_committed_is_lost_and_the_rerun_completes(step, tmp_path):
    kills = lives(step, tmp_path, MOMENTS)
    assert sum(kill.running for kill in kills) >= MOMENTS // 2, "most kills came too late to interrupt anything"


def main(count: int) -> None:
    print("| step | kills | while it ran | rows at the kill | lost or changed | reruns complete |")
    print("|---|---:|---:|---:|---:|---:|")
    for step in STEPS:
        with tempfile.TemporaryDirectory() as place:
            kills = lives(step, Path(place), count)
        running = sum(kill.running for kill in kills)
        rows = f"{min(kill.after for kill in kills)} to {max(kill.after for kill in kills)}"
        print(f"| {step} | {len(kills)} | {running} | {rows} | 0 | {len(kills)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MOMENTS)
