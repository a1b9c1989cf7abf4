"""Fine-tuning on emoji across designers: two losses, each on pooled vectors and on matched parts, over seeds.

    python benchmarks/emoji/build.py
    python benchmarks/emoji/train.py [--seeds 0 1 2] [--jobs 2]

Every run is one `diml train` with recipe.toml, one thread and a folder of its own; a run that is whole is not repeated and
one that was stopped goes on. At the end `diml report` prints the table. The pooled runs give two rows: the baseline, and
the method at test time alone.
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
LOSSES = ("margin", "multisimilarity")
SIMILARITIES = ("pooled", "structural")


def train(folder: Path, loss: str, similarity: str, seed: int, changes: list[str]) -> str:
    """Run it, and say how long it took or why it failed."""
    settings = [f"--set={change}" for change in (f"run.seed={seed}", *changes)]
    command = ["train", str(HERE / "data" / "data.csv"), "--recipe", str(HERE / "recipe.toml"), "--loss", loss]
    command += ["--similarity", similarity, "--out", str(folder), *settings, *["--resume"] * (folder / "settings.toml").exists()]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", "from diml.cli import main; main()", *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    minutes = (time.perf_counter() - started) / 60
    return f"{folder.name}: {minutes:.1f} min" if done.returncode == 0 else f"{folder.name}: {done.stderr.strip()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    parser.add_argument("--similarities", nargs="+", choices=SIMILARITIES, default=SIMILARITIES)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, a thread each")
    parser.add_argument("--out", type=Path, default=HERE / "runs")
    parser.add_argument("--set", action="append", default=[], help="a setting, such as loss.marginals=cross_correlation")
    options = parser.parse_args()
    runs = list(itertools.product(options.seeds, options.losses, options.similarities))
    folders = [options.out / f"{loss}-{similarity}-{seed}" for seed, loss, similarity in runs]
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(train, folder, loss, similarity, seed, options.set)
            for folder, (seed, loss, similarity) in zip(folders, runs, strict=True)
        ]
        for job in jobs:
            print(job.result(), file=sys.stderr, flush=True)
    report = ["report", *(str(folder) for folder in folders), "--csv", str(options.out / "report.csv")]
    sys.exit(subprocess.run([sys.executable, "-c", "from diml.cli import main; main()", *report], check=False).returncode)


if __name__ == "__main__":
    main()
