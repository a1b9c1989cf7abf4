"""2,000 mutated inputs: no traceback, no hang, bounded memory, and exit codes as documented.

`python tests/fuzz/test_fuzz.py [INPUTS] [SEED]` runs as many inputs as wanted and prints the figures as a table.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import seeds
from mutations import mutate, text_pieces
from watched_commands import Commands, Outcome

pytestmark = pytest.mark.long
# Shares of the inputs; images are what users have most of.
SHARES = {"images": 0.5, "masks": 0.125, "tables": 0.125, "filters": 0.125, "checkpoints": 0.125}
INPUTS, SEED = 2000, 20261125
PREPARE_SECONDS = 180.0
Arguments = Iterator[list[str]]


def prepare(commands: Commands, place: Path) -> None:
    """A collection, a model folder and an index, made by the commands under test."""
    from diml.model import StructuralModel

    seeds.collection(place / "collection")
    StructuralModel.from_pretrained("timm:test_vit?weights=random").save_pretrained(place / "model")
    seeds.picture().save(place / "good.png")
    collection, model = str(place / "collection"), str(place / "model")
    # The first evaluation may compile the kernel, which takes longer than an input may.
    for argv in (
        ["index", collection, "--into", str(place / "index.diml"), "-m", model, "--labels-from", "folder"],
        ["evaluate", collection, "-m", model, "--dim", "0"],
    ):
        made = commands.run(argv, seconds=PREPARE_SECONDS)
        assert made.code == 0, made.stderr


def images(place: Path, rng: random.Random) -> Arguments:
    for number, (name, data) in enumerate(seeds.cycled(seeds.images())):
        file = place / f"{number}-{name}"
        file.write_bytes(mutate(data, rng))
        yield ["explain", str(place / "good.png"), str(file), "-m", str(place / "model"), "--json"]


def masks(place: Path, rng: random.Random) -> Arguments:
    good = str(place / "good.png")
    for number, (name, data) in enumerate(seeds.cycled(seeds.images())):
        file = place / f"mask{number}-{name}"
        file.write_bytes(mutate(data, rng))
        yield ["explain", good, good, "-m", str(place / "model"), "--mask", str(file), "--json"]


def tables(place: Path, rng: random.Random) -> Arguments:
    home = place / "collection"
    for number, (name, data) in enumerate(seeds.cycled(seeds.tables())):
        file = home / f"{number}-{name}"
        mutated = mutate(data, rng) if rng.random() < 0.7 else data[: rng.randrange(40)] + _table_text(rng)
        file.write_bytes(mutated)
        if number % 2:
            yield ["evaluate", str(file), "-m", str(place / "model"), "--dim", "0"]
        else:
            yield ["index", str(file), "--into", str(place / f"table{number}.diml"), "-m", str(place / "model")]
        file.unlink()


def _table_text(rng: random.Random) -> bytes:
    return text_pieces(seeds.TABLE_PIECES, rng, most=40).encode("utf-8", "surrogatepass")


def filters(place: Path, rng: random.Random) -> Arguments:
    while True:
        where = text_pieces(seeds.FILTER_PIECES, rng)
        yield ["search", str(place / "index.diml"), str(place / "good.png"), f"--where={where}"]


def checkpoints(place: Path, rng: random.Random) -> Arguments:
    good = str(place / "good.png")
    for number, (name, data) in enumerate(seeds.cycled(seeds.checkpoints(place))):
        file = place / f"{number}-{name}"
        file.write_bytes(mutate(data, rng))
        if number % 4:
            yield ["explain", good, good, "-m", f"timm:test_vit?weights={file}"]
        else:
            yield ["import-checkpoint", str(file), "--out", str(place / f"imported{number}")]
        file.unlink()


KINDS: dict[str, Callable[[Path, random.Random], Arguments]] = {
    "images": images,
    "masks": masks,
    "tables": tables,
    "filters": filters,
    "checkpoints": checkpoints,
}


def run_kind(kind: str, count: int, seed: int, place: Path, commands: Commands) -> list[Outcome]:
    arguments = KINDS[kind](place, random.Random(f"{seed} {kind}"))
    return [commands.run(next(arguments)) for _ in range(count)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def commands(place):
    running = Commands()
    prepare(running, place)
    yield running
    running.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_inputs_end_in_a_sentence(kind, place, commands):
    outcomes = run_kind(kind, round(INPUTS * SHARES[kind]), SEED, place, commands)
    faults = [outcome for outcome in outcomes if outcome.fault]
    assert not faults, "\n\n".join(f"{f.fault}: {' '.join(f.argv)}\n{f.stderr[-1500:]}" for f in faults[:5])
    assert any(outcome.code for outcome in outcomes), "no mutation was refused, so nothing was tested"


def report(inputs: int, seed: int) -> int:
    """Print a table of what came of the inputs of each kind; the number of faults."""
    commands, faults, started = Commands(), [], time.monotonic()
    print("| kind | inputs | read | refused | faults | largest memory |\n|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        prepare(commands, Path(folder))
        for kind, share in SHARES.items():
            outcomes = run_kind(kind, round(inputs * share), seed, Path(folder), commands)
            codes = Counter("read" if o.code == 0 else "refused" for o in outcomes if not o.fault)
            found = [o for o in outcomes if o.fault]
            peak = max(o.peak_mb for o in outcomes)
            print(f"| {kind} | {len(outcomes)} | {codes['read']} | {codes['refused']} | {len(found)} | {peak:.0f} MB |")
            faults += found
    commands.stop()
    print(f"\nSeed {seed}, {time.monotonic() - started:.0f} s.")
    for fault in faults:
        print(f"\n{fault.fault}: {' '.join(fault.argv)}\n{fault.stderr[-1500:]}")
    return len(faults)


if __name__ == "__main__":
    wanted = [int(argument) for argument in sys.argv[1:]]
    sys.exit(bool(report(*(wanted + [INPUTS, SEED][len(wanted) :]))))
