"""What the load benchmark compares the service with: decoding, batched embedding and search in one process.

    python -m benchmarks.service_loop INDEX PICTURE.. --seconds 20 [--batch 32]

Prints one JSON document.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import time
from pathlib import Path

from diml.search import Index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    index = Index.open(given.index)
    model = index.model
    model.encoder.prepare()  # as the service does, with the same backend
    for result in index.search_many(given.pictures[: given.batch]):  # what is compiled and read first does not count
        result.to_dict()
    start, before, images = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF), 0
    for batch in model.stream(itertools.cycle(given.pictures), batch_size=given.batch):
        for i in range(len(batch.maps)):
            index.search(batch.maps[i])
        images += len(batch.maps)
        if time.perf_counter() - start >= given.seconds:
            break
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"images": images, "seconds": seconds, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main()
