"""How many images a second `diml serve` answers, and how fast, beside a loop in one process on the same index.

    python -m benchmarks.service --data FOLDER [--images 10000] [--clients 1 8 64] [--seconds 60] [--batch 4]
    python -m benchmarks.service --data FOLDER --memory-minutes 10

The pictures and their index are made once in FOLDER. Loop and service take turns; a figure is the median of the rounds,
latencies are those of all rounds. Every answer is checked: it must be about the picture that was sent, and have that
picture as its first hit. A sample is compared with the library's answer in full. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service_pictures import build
from benchmarks.service_process import Served
from diml.search import Index
from diml.service.settings import ServiceSettings

QUERIES = 512
COMPARED = 20
TOLERANCE = 1e-5


def run(module: str, *arguments: object) -> dict[str, Any]:
    """What another process of this benchmark printed."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    document: dict[str, Any] = json.loads(printed)
    return document


def differences(index: Index, pictures: Path, kept: dict[str, Any]) -> float:
    """The largest difference between a score of the service and that of the library, hits compared by their ids."""
    largest = 0.0
    for name, answer in kept.items():
        ours = {hit["id"]: hit for hit in index.search(pictures / name, k=len(answer["hits"]) + 5).to_dict()["hits"]}
        for hit in answer["hits"]:
            for score in ("similarity", "structural", "pooled"):
                largest = max(largest, abs(hit[score] - ours[hit["id"]][score]))
    return largest


def row_of(clients: int, runs: list[dict[str, Any]], loops: list[dict[str, Any]]) -> str:
    rate = statistics.median(len(each["latencies"]) / each["seconds"] for each in runs)
    loop = statistics.median(each["images"] / each["seconds"] for each in loops)
    p50, p95, p99 = 1000 * np.percentile([t for each in runs for t in each["latencies"]], [50, 95, 99])
    counts = [sum(each[name] for each in runs) for name in ("refused", "wrong", "failed")]
    cpu = 100 * sum(each["cpu_seconds"] for each in runs) / sum(each["seconds"] for each in runs)
    answered = sum(len(each["latencies"]) for each in runs)
    work = 1000 * sum(each["served_cpu_seconds"] for each in runs) / max(1, answered)
    cells = [clients, f"{rate:.1f}", f"{rate / loop:.0%}", *(f"{p:.0f} ms" for p in (p50, p95, p99)), *counts]
    return "| " + " | ".join(map(str, [*cells, f"{work:.1f} ms", f"{cpu:.1f} %"])) + " |"


def load(given: argparse.Namespace, pictures: Path, path: Path, names: list[Path]) -> None:
    """Loop and service in turns, and a table."""
    seconds = given.seconds / given.rounds
    loops: list[dict[str, Any]] = []
    runs: dict[int, list[dict[str, Any]]] = {clients: [] for clients in given.clients}
    with Served(path, given.data / "service.log", "--batch", str(given.batch), *given.serve) as served:
        run("service_load", served.port, path.stem, *names, "--clients", 8, "--seconds", 5)  # does not count
        before = served.memory()
        for _ in range(given.rounds):
            loops.append(run("service_loop", path, *names, "--seconds", seconds, "--batch", given.batch))
            for clients in given.clients:
                arguments = ["--clients", clients, "--seconds", seconds, "--keep", COMPARED]
                used = served.cpu_seconds()
                done = run("service_load", served.port, path.stem, *names, *arguments)
                runs[clients].append({**done, "served_cpu_seconds": served.cpu_seconds() - used})
        after = served.memory()
    loop = statistics.median(each["images"] / each["seconds"] for each in loops)
    work = 1000 * sum(each["cpu_seconds"] for each in loops) / sum(each["images"] for each in loops)
    print(f"\nThe loop answers {loop:.1f} images a second, and takes {work:.1f} ms of CPU for each.\n")
    print(
        "| clients | images/s | of the loop | p50 | p95 | p99 | 429 | wrong | failed | CPU an image "
        "| CPU of the clients |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for clients, each in runs.items():
        print(row_of(clients, each, loops))
    everything = [one for each in runs.values() for one in each]
    kept = {name: document for each in everything for name, document in each["kept"].items()}
    largest = differences(Index.open(path), pictures, kept)
    print(f"\nMemory of the service: {before:.0f} MB before, {after:.0f} MB after.")
    print(f"{len(kept)} answers differ from the library's by at most {largest:.2g} (allowed: {TOLERANCE:g}).")
    for problem in {each["first_problem"] for each in everything} - {""}:
        print(f"A request went wrong: {problem}")


def memory(given: argparse.Namespace, path: Path, names: list[Path]) -> None:
    """Memory while eight clients ask for some minutes."""
    with Served(path, given.data / "service.log", "--batch", str(given.batch), *given.serve) as served:
        run("service_load", served.port, path.stem, *names, "--clients", 8, "--seconds", 20)  # does not count
        seconds = 60 * given.memory_minutes
        arguments = ["--clients", 8, "--seconds", seconds, "--keep", 0]
        command = [sys.executable, "-m", "benchmarks.service_load", served.port, path.stem, *names, *arguments]
        values = [served.memory()]
        with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as clients:
            end = time.monotonic() + seconds - 5
            while time.monotonic() < end and clients.poll() is None:
                time.sleep(5)
                values.append(served.memory())
            document = json.loads(clients.communicate()[0])
    answered = len(document["latencies"])
    print(f"\n{answered} answers in {document['seconds'] / 60:.1f} minutes, {document['refused']} refused, ", end="")
    print(f"{document['wrong']} wrong, {document['failed']} failed.")
    print(f"Memory: {values[0]:.0f} MB at the start, {values[-1]:.0f} MB at the end, ", end="")
    print(f"between {min(values):.0f} and {max(values):.0f} MB.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder for the pictures and their index")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=60, help="for each number of clients, over all rounds")
    parser.add_argument("--rounds", type=int, default=3)
    batch = ServiceSettings.model_fields["batch"].default
    parser.add_argument(
        "--batch", type=int, default=batch, help="images embedded together, in the loop and the service"
    )
    parser.add_argument("--memory-minutes", type=float, default=0, help="watch the memory for so long instead")
    parser.add_argument(
        "--serve", action="append", default=[], help="further argument of diml serve: --serve=--batch=1"
    )
    given = parser.parse_args()
    pictures, path = build(given.data, given.images)
    step = max(1, given.images // QUERIES)
    names = sorted(pictures.glob("*.jpg"))[::step][:QUERIES]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before the start", flush=True)
    if given.memory_minutes:
        memory(given, path, names)
    else:
        load(given, pictures, path, names)


if __name__ == "__main__":
    main()
