"""Clients of the load benchmark, a process of their own: they ask without a pause and check every answer.

    python -m benchmarks.service_load PORT INDEX PICTURE.. --clients 8 --seconds 20 [--keep 20]

Prints one JSON document. It speaks HTTP itself, because a client library would take a good part of the two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import resource
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

BOUNDARY = "0123456789abcdef"


@dataclass
class Counts:
    """What the clients saw.

    Attributes:
        latencies: seconds of each request that was answered with 200.
        refused: answers 429.
        wrong: answers that belong to another picture, or whose first hit is not the picture itself.
        failed: other answers, and connections that broke.
        kept: the first answers for some of the pictures, by name, to be compared with the library's.
        first_problem: one of those that are wrong or failed.
    """

    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    wrong: int = 0
    failed: int = 0
    kept: dict[str, Any] = field(default_factory=dict)
    first_problem: str = ""


def request_of(port: int, index: str, picture: Path) -> bytes:
    """A whole request, ready to be sent."""
    body = (
        (
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="image"; filename="{picture.name}"\r\n'
            "content-type: image/jpeg\r\n\r\n"
        ).encode()
        + picture.read_bytes()
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    head = (
        f"POST /v1/indexes/{index}/search HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def client(port: int, requests: list[tuple[str, bytes]], first: int, end: float, keep: int, to: Counts) -> None:
    """Ask for one picture after the other, beginning with `first`, until `end`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    for i in itertools.count(first):
        if time.perf_counter() >= end:
            break
        name, request = requests[i % len(requests)]
        start = time.perf_counter()
        try:
            writer.write(request)
            status, headers, body = await answer(reader)
        except (OSError, EOFError, KeyError) as error:  # an IncompleteReadError is an EOFError
            to.failed, to.first_problem = to.failed + 1, to.first_problem or repr(error)
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
            continue
        if status == 200:
            to.latencies.append(time.perf_counter() - start)
            document = json.loads(body)
            if document["query"] != name or document["hits"][0]["path"] != name:
                to.wrong, to.first_problem = to.wrong + 1, to.first_problem or f"{name}: {body[:300]!r}"
            elif i % len(requests) < keep:
                to.kept.setdefault(name, document)
        elif status == 429:
            to.refused += 1
            await asyncio.sleep(float(headers.get("retry-after", 1)))
        else:
            to.failed, to.first_problem = to.failed + 1, to.first_problem or f"{status}: {body[:300]!r}"
    writer.close()


async def ask(port: int, requests: list[tuple[str, bytes]], clients: int, seconds: float, keep: int) -> Counts:
    counts, end = Counts(), time.perf_counter() + seconds
    step = max(1, len(requests) // clients)
    await asyncio.gather(*[client(port, requests, i * step, end, keep, counts) for i in range(clients)])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("index")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--keep", type=int, default=20, help="answers to print, to be compared with the library's")
    given = parser.parse_args()
    requests = [(path.name, request_of(given.port, given.index, path)) for path in given.pictures]
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    counts = asyncio.run(ask(given.port, requests, given.clients, given.seconds, given.keep))
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({**asdict(counts), "seconds": seconds, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main()
