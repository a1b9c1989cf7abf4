"""Images per second of one process and of a Ray cluster of this machine, and rows per second that its driver can store.

    python benchmarks/ray_engine.py [--images 1200] [--workers 2] [--runs 3] [--model lite0] [--rows 20000]

The images are those of the sample, under as many names as it takes. One process and the cluster take turns to make an
index of them; the head is fitted beforehand, as that happens in one process either way. The time of the cluster is from
the call of `Index.add` on, so that it includes the start of the workers, and is given once more from the first answer
on, as in a long run. Then rows that workers have computed are stored without embedding anything: the most that a driver
takes. Prints Markdown tables. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import torch
from filelock import FileLock

from diml.data.collection import open_folder
from diml.feature_maps import FeatureMaps, Geometry
from diml.markdown import table
from diml.model import StructuralModel
from diml.search import Index, RayEngine
from diml.search.blocks import Block
from diml.search.engine import Embedded, Work
from diml.search.items import FileState, Item, image_id
from diml.search.row_block import Answer
from diml.search.row_form import RowForm
from diml.search.store import Store
from diml.search.writer import Writer

SAMPLE = Path(__file__).parents[1] / "sample"
# Images in one answer of a worker, and bytes of a thumbnail: as `diml index` has them, and as the sample has.
TASK, THUMBNAIL = 128, 3726


class Timed:
    """A Ray engine that notes when its first answer came and how many images came after it."""

    def __init__(self, engine: RayEngine) -> None:
        self.engine = engine

    def blocks(self, work: Work) -> Generator[Embedded, None, None]:
        self.first, self.after = 0.0, 0
        for block in self.engine.blocks(work):
            if self.first:
                self.after += len(block)
            self.first = self.first or time.monotonic()
            yield block


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="lite0")
    parser.add_argument("--rows", type=int, default=20_000)
    options = parser.parse_args()
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with tempfile.TemporaryDirectory() as place:
        images, model = repeated(Path(place) / "images", options.images), fitted(options.model)
        with RayEngine(workers=options.workers) as engine:
            rates = [turn(Path(place), run, images, model, engine) for run in range(options.runs)]
        stored = driver(Path(place), options.rows)
    local, cluster, later = (statistics.median(column) for column in zip(*rates, strict=True))
    print(f"{options.images} images, {options.model}, medians of {options.runs} runs\n")
    lines = [
        ["one process", f"{local:.1f}", ""],
        [f"{options.workers} workers, with their start", f"{cluster:.1f}", f"{cluster / local:.2f}"],
        [f"{options.workers} workers, from the first answer on", f"{later:.1f}", f"{later / local:.2f}"],
        ["rows that a driver stores", f"{stored:,.0f}", ""],
    ]
    print(table(["", "images/s", "times as fast"], lines))


def repeated(folder: Path, count: int) -> Path:
    """Links to the images of the sample, as often as it takes."""
    collection = open_folder(SAMPLE)
    folder.mkdir()
    for number in range(count):
        file = (collection.root / collection.paths[number % len(collection)]).absolute()
        (folder / f"{number:06}{file.suffix}").hardlink_to(file)
    return folder


def fitted(name: str) -> StructuralModel:
    files = [open_folder(SAMPLE).file(at) for at in range(len(open_folder(SAMPLE)))]
    model = StructuralModel.from_pretrained(name).fit_head(files, dim=64)
    return model if model.weights_ready else model.fit_weights(files)


def turn(place: Path, run: int, images: Path, model: StructuralModel, engine: RayEngine) -> tuple[float, float, float]:
    """Images per second of one process, of the cluster, and of the cluster from its first answer on."""
    started = time.monotonic()
    count = Index.create(place / f"local{run}.diml", model).add(images).added
    local = count / (time.monotonic() - started)
    timed, started = Timed(engine), time.monotonic()
    assert Index.create(place / f"ray{run}.diml", model).add(images, engine=timed).added == count
    end = time.monotonic()
    return local, count / (end - started), timed.after / (end - timed.first)


def driver(place: Path, rows: int) -> float:
    """Rows per second from answers of workers to the table, in commits of ten answers."""
    form = RowForm()
    store = Store.create(place / "rows", form.schema(128, 16, [], True), form)
    writer = Writer(store, StructuralModel.from_pretrained("lite0"), FileLock(place / "rows" / "lock"))
    answers = [(items, answer(items, form)) for items in items_of(rows)]
    started = time.monotonic()
    for at in range(0, len(answers), 10):
        writer.store_embedded([reply.read(items)[0] for items, reply in answers[at : at + 10]])
    return store.count() / (time.monotonic() - started)


def items_of(rows: int) -> list[list[Item]]:
    paths = [f"{number:06}.jpg" for number in range(rows)]
    items = [Item(image_id(path), path, Path(path), {"label": "x"}) for path in paths]
    return [items[at : at + TASK] for at in range(0, rows, TASK)]


def answer(items: list[Item], form: RowForm) -> Answer:
    n = len(items)
    size, visible = torch.full((n, 2), 224), torch.tensor([[0.0, 0.0, 224.0, 224.0]], dtype=torch.float64)
    maps = FeatureMaps(torch.randn(n, 16, 128), (4, 4), None, Geometry(size, visible.repeat(n, 1)), torch.rand(n, 16))
    states = [FileState(1, 1, item.id * 4) for item in items]
    block = Block(items, states, maps, [os.urandom(THUMBNAIL) for _ in items], [])
    return Answer.of(items, [block], form, [], ["torch"])


if __name__ == "__main__":
    main()
