"""The service under requests of all kinds: none is a 500, memory stays flat, and it is healthy afterwards.

`python tests/fuzz/test_service.py [CASES] [UPLOADS] [SEED]` sends so many generated requests to each route and so many
mutated images, and prints the figures as a table.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
import seeds
from mutations import mutate

from diml.search import index_folder
from tests.service.running import Running, running

SAMPLE = Path(__file__).parents[2] / "sample" / "emoji"
TOKEN = "0123456789abcdef0123"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
SEED = 20261126
MEGABYTE = 1 << 20
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


def start(place: Path):
    """The real server over a copy of some images, everything allowed."""
    folder = place / "emoji"
    for each in sorted(SAMPLE.iterdir())[:6]:
        shutil.copytree(each, folder / each.name)
    index_folder(folder, place / "emoji.diml", labels_from="folder")
    token = place / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    arguments = (place / "emoji.diml", "--writable", "--originals", "--token-file", token, "--decode-seconds", "5")
    return running(*arguments, log=place / "log")


def requests(server: Running, cases: int, seed: int) -> Counter[tuple[str, int]]:
    """Generated requests to every route, valid and invalid; returns how often each status was answered."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=HEADERS)
    seen: Counter[tuple[str, int]] = Counter()
    images = httpx.get(f"{server.url}/v1/indexes/emoji/images", headers=HEADERS, timeout=60).json()["images"]
    known = {"name": "emoji", "id": images[0]["id"]}
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in MODES:
            _ask(operation, mode, server, cases, seed, seen, known)
    return seen


def _ask(operation, mode, server: Running, cases: int, seed: int, seen: Counter[tuple[str, int]], known) -> None:
    @with_seed(seed)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case) -> None:
        # Names and ids that are made up would all end in 404.
        parameters = case.path_parameters or {}
        for name in parameters.keys() & known.keys():
            if seen.total() % 4:
                parameters[name] = known[name]
        answer = case.call(base_url=server.url, headers=HEADERS, timeout=60)
        seen[operation.label, answer.status_code] += 1
        assert answer.status_code < 500, (
            operation.label,
            answer.status_code,
            answer.text[:500],
            case.as_curl_command(),
        )
        if answer.status_code >= 400 and case.method.upper() != "HEAD":
            kind = answer.headers["content-type"][0]
            assert kind == "application/problem+json", (operation.label, kind, answer.status_code)
            assert answer.json()["status"] == answer.status_code

    try:
        ask()
    except schemathesis.errors.SchemathesisError as error:
        # A route without parameters cannot be asked wrongly.
        assert mode is MODES[1], error  # noqa: PT017
    except Exception as error:
        if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):
            raise


def uploads(server: Running, number: int, seed: int) -> Counter[int]:
    """Mutated images, as queries and as masks; returns how often each status was answered."""
    rng, seen = random.Random(seed), Counter()
    good = next(SAMPLE.glob("*/noto.png")).read_bytes()
    with httpx.Client(headers=HEADERS, timeout=60) as client:
        for at, (name, data) in enumerate(seeds.cycled(seeds.images())):
            if at >= number:
                return seen
            changed = mutate(data, rng)
            files = {"image": (name, good), "mask": (name, changed)} if at % 5 == 0 else {"image": (name, changed)}
            answer = client.post(f"{server.url}/v1/indexes/emoji/search", files=files, data={"k": 2})
            seen[answer.status_code] += 1
            assert answer.status_code in (200, 422), (name, at, answer.status_code, answer.text[:500])
            if answer.status_code == 422:
                assert name in answer.json()["detail"] or "mask" in answer.json()["detail"]
                assert "\n" not in answer.json()["detail"]
    raise AssertionError("unreachable")


def memory(server: Running) -> int:
    """Resident bytes of the server process."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def check_healthy(server: Running) -> None:
    assert server.process.poll() is None
    assert httpx.get(f"{server.url}/health", timeout=30).json()["status"] == "ok"
    assert not [line for line in server.log if line["level"] == "error"]


@pytest.mark.slow
def test_a_few_requests(tmp_path):
    with start(tmp_path) as server:
        seen = requests(server, cases=4, seed=SEED)
        assert len({label for label, _ in seen}) >= 12
        uploads(server, 60, SEED)
        check_healthy(server)


@pytest.mark.long
def test_many_requests(tmp_path):
    with start(tmp_path) as server:
        uploads(server, 200, SEED + 1)  # what is loaded and compiled once
        before = memory(server)
        requests(server, cases=100, seed=SEED)
        uploads(server, 2000, SEED)
        check_healthy(server)
        assert memory(server) - before < 50 * MEGABYTE


def main(cases: int = 100, number: int = 2000, seed: int = SEED) -> None:
    with tempfile.TemporaryDirectory() as place, start(Path(place)) as server:
        uploads(server, 200, seed + 1)
        before, began = memory(server), time.monotonic()
        seen = requests(server, cases, seed)
        print("| route | requests | answered with |\n|---|---|---|")
        for label in sorted({label for label, _ in seen}):
            found = {status: count for (name, status), count in sorted(seen.items()) if name == label}
            print(f"| {label} | {sum(found.values())} | {', '.join(f'{s}: {n}' for s, n in found.items())} |")
        found = uploads(server, number, seed)
        print(f"| mutated uploads | {number} | {', '.join(f'{s}: {n}' for s, n in sorted(found.items()))} |")
        check_healthy(server)
        grown = (memory(server) - before) / MEGABYTE
        print(
            f"\nmemory: {before / MEGABYTE:.0f} MB before, {grown:+.0f} MB afterwards; {time.monotonic() - began:.0f} s"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
