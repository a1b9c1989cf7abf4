"""Matches a second of codes, from stored bytes to scores, beside those of float maps in memory.

    OMP_NUM_THREADS=1 python -m benchmarks.code_speed [--rows 100000] [--runs 5] [--codes int8 pq64 ...]

Synthetic maps of 4x4 parts and 128 numbers, mixtures of 64 random ones, so that nothing is embedded; what codes keep
of real maps is measured by `benchmarks.codes`. One query is compared with all images, 4,096 at a time as an exhaustive
search reads them, by the defaults of an untrained model. "Read" is what a search does: codes are read where they are
compared. "Decoded first" computes the maps, then compares them. "Float maps" are in memory as float32, neither stored
nor prepared. All take turns; the numbers are medians. Encoding is timed once, in one process. Prints a Markdown table.
Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from diml.feature_maps import FeatureMaps
from diml.markdown import table
from diml.matching import CodedMaps, Matcher
from diml.search.codes import Codec, parse_codes

CODES = ("float16", "int8", "int4", "pq64", "pool8+pq31")
GRID, PARTS, DIM = (4, 4), 16, 128
BATCH = 4096
SAMPLE = 1000
MATCHER = Matcher(transport="one-sided", weight=0.85)

Way = Callable[[slice], FeatureMaps | CodedMaps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--codes", nargs="+", default=list(CODES))
    options = parser.parse_args()
    maps = synthetic(options.rows)
    ways: dict[tuple[str, str], Way] = {("float maps", ""): lambda piece: maps[piece]}
    encoded: dict[str, float] = {}
    for name in options.codes:
        codec = codec_of(name, maps)
        start = time.perf_counter()
        codes = codec.encode(maps.local, maps.weights_or_uniform)
        encoded[name] = options.rows / (time.perf_counter() - start)
        ways[name, "read"] = reading(codec, codes, maps)
        ways[name, "decoded"] = decoding(codec, codes, maps)
    rates = speeds(ways, maps[0], options.rows, options.runs)
    plain = rates["float maps", ""]
    print(
        f"{options.rows:,} synthetic maps of {PARTS} parts and {DIM} numbers, {torch.get_num_threads()} threads, "
        f"medians of {options.runs} runs\n"
    )
    lines = [["float maps", "", f"{plain:,.0f}", "1.00", "", ""]]
    for name in options.codes:
        read, decoded = rates[name, "read"], rates[name, "decoded"]
        shown = [f"{read:,.0f}", f"{read / plain:.2f}", f"{decoded:,.0f}", f"{decoded / plain:.2f}"]
        lines.append([name, f"{encoded[name]:,.0f}", *shown])
    header = ["codes", "rows encoded/s", "read, matches/s", "of float maps", "decoded first", "of float maps"]
    print(table(header, lines))


def synthetic(n: int) -> FeatureMaps:
    """Weighted maps, each near one of 64."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(64, PARTS, DIM, generator=generator)
    local = torch.randn(n, PARTS, DIM, generator=generator).mul_(0.7).add_(kinds[torch.arange(n) % 64])
    return FeatureMaps(local, GRID, weights=0.2 + torch.rand(n, PARTS, generator=generator))


def codec_of(name: str, maps: FeatureMaps) -> Codec:
    codec = parse_codes(name, PARTS, DIM)
    sample = maps[:SAMPLE]
    return codec if codec.fitted else codec.fit(sample.local, sample.weights_or_uniform, "")


def reading(codec: Codec, codes: torch.Tensor, maps: FeatureMaps) -> Way:
    def way(piece: slice) -> CodedMaps:
        weights = None if maps.weights is None else maps.weights[piece]
        return CodedMaps(codes[piece].numpy(), codec.layout, GRID, codec.decode, weights=weights)

    return way


def decoding(codec: Codec, codes: torch.Tensor, maps: FeatureMaps) -> Way:
    def way(piece: slice) -> FeatureMaps:
        return FeatureMaps(codec.decode(codes[piece]), GRID, weights=maps.weights_or_uniform[piece])

    return way


def speeds(ways: dict[tuple[str, str], Way], query: FeatureMaps, rows: int, runs: int) -> dict[tuple[str, str], float]:
    """Matches a second of each."""
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):  # the first one compiles
        for name, way in ways.items():
            start = time.perf_counter()
            for at in range(0, rows, BATCH):
                maps = way(slice(at, min(at + BATCH, rows)))
                MATCHER.rerank(query, maps, torch.arange(len(maps))[None])
            if run:
                seconds[name].append(time.perf_counter() - start)
    return {name: rows / statistics.median(each) for name, each in seconds.items()}


if __name__ == "__main__":
    main()
