"""Fine-tuning on emoji across designers: two losses, on pooled vectors and on matched parts, over seeds.

    python benchmarks/emoji/build.py
    python benchmarks/emoji/train.py [--seeds 0 1 2] [--jobs 2]

Every run is one `diml train` with recipe.toml, one thread and its own folder; a finished run is not repeated, and a
stopped run is resumed. At the end the initial model of all runs is measured, and `diml report` prints the table. The
pooled runs give two rows of it: the baseline, and the method applied at test time only.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA, RECIPE = HERE / "data" / "data.csv", HERE / "recipe.toml"
LOSSES = ("margin", "multisimilarity")
SIMILARITIES = ("pooled", "structural")


def diml(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from diml.cli import main; main()", *arguments]
    return subprocess.run(command, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def train(folder: Path, loss: str, similarity: str, changes: list[str]) -> str:
    """Run it, and return how long it took or why it failed."""
    arguments = ["train", str(DATA), "--recipe", str(RECIPE), "--loss", loss, "--similarity", similarity]
    arguments += [f"--set={change}" for change in changes] + ["--out", str(folder)]
    if (folder / "settings.toml").exists():
        arguments.append("--resume")
    started = time.perf_counter()
    done = diml(*arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    minutes = (time.perf_counter() - started) / 60
    return f"{folder.name}: " + (f"{minutes:.1f} min" if done.returncode == 0 else done.stderr.strip())


def untrained() -> str:
    """The results of the initial model on the test half."""
    from diml.evaluation import evaluate
    from diml.learning import load_settings
    from diml.learning.run.prepared_run import PreparedRun

    run = PreparedRun.of(load_settings(RECIPE, [f"data.spec={DATA}"]))
    assert run.splits.test is not None
    found = evaluate(run.splits.test, run.initial_model("untrained"), shortlists=(0, 100))
    return f"{found.summary()}\n\n{found.table()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    parser.add_argument("--similarities", nargs="+", choices=SIMILARITIES, default=SIMILARITIES)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, a thread each")
    parser.add_argument("--out", type=Path, default=HERE / "runs")
    parser.add_argument(
        "--set", action="append", default=[], help="a setting, such as loss.marginals=cross_correlation"
    )
    options = parser.parse_args()
    runs = [
        (options.out / f"{loss}-{similarity}-{seed}", loss, similarity, [f"run.seed={seed}", *options.set])
        for seed, loss, similarity in itertools.product(options.seeds, options.losses, options.similarities)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        for job in [pool.submit(train, *run) for run in runs]:
            print(job.result(), file=sys.stderr, flush=True)
    print(untrained() + "\n", flush=True)
    folders = [str(folder) for folder, *_ in runs]
    sys.exit(diml("report", *folders, "--csv", str(options.out / "report.csv")).returncode)


if __name__ == "__main__":
    main()
