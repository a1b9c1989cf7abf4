"""The service under requests of all kinds: none is a 500, memory stays flat, and it is healthy afterwards.

`python tests/fuzz/test_service.py [CASES] [UPLOADS] [SEED]` sends so many generated requests to each route and so many
mutated images, in each of three rounds, and prints the figures as a table.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis.errors import Unsatisfiable

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
import seeds
from mutations import mutate

from benchmarks.service_process import memory_of
from diml.search import index_folder
from tests.service.running import Running, running

SAMPLE = Path(__file__).parents[2] / "sample" / "emoji"
TOKEN = "0123456789abcdef0123"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
SEED = 20261126
# Rows of the pictures that are sent: of no class that the index has, so that its own images stay.
SENT = sorted(SAMPLE.glob("*/noto.png"))[-8:]
# Requests of all kinds are sent so often, so that what is compiled and loaded once is told from what grows.
ROUNDS = 3
# Bytes of a request's first line and headers that the HTTP server reads.
LONGEST_HEAD = 60_000
VALID, INVALID = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
# Every answer that a route without an error gives is wanted at least once from these.
ANSWERED = {
    "DELETE /v1/indexes/{name}/images": 202,
    "GET /v1/jobs/{id}": 200,
    "GET /v1/jobs/{id}/events": 200,
    "POST /v1/embed": 200,
    "POST /v1/explain": 200,
    "POST /v1/indexes/{name}/images": 202,
    "POST /v1/indexes/{name}/search": 200,
}


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


class Repairs:
    """Puts what exists in the place of some generated values: names and ids that are made up all end in a refusal."""

    def __init__(self, server: Running, seed: int) -> None:
        self.rng = random.Random(seed)
        self.client = httpx.Client(base_url=server.url, headers=HEADERS, timeout=60)
        self.job = self._add()

    def __call__(self, case) -> None:
        path = case.operation.path
        if case.path_parameters:
            known = {"name": "emoji", "id": self.job if "/jobs/" in path else self._image()}
            self._put(case.path_parameters, known, 0.75)
        if case.operation.method.upper() == "DELETE" and self.rng.random() < 0.5:
            self._add()
            case.query = {"id": [self._image("new/")]}
        if case.operation.method.upper() == "POST":
            if self.rng.random() < 0.5:  # a form of right fields alone
                case.body, case.media_type = {}, "multipart/form-data"
            if isinstance(case.body, dict):
                self._put(case.body, self._fields(path), 0.8)

    def _fields(self, path: str) -> dict[str, object]:
        image = self.rng.choice(SENT).read_bytes()
        if path.endswith("/search"):
            sent = {"image": image} if self.rng.random() < 0.5 else {"id": self._image()}
            absent = dict.fromkeys({"image", "id", "mask"} - {*sent})
            return {**sent, **absent, "k": 3, "explain": 1, "shortlist": "5", "where": "width > 1", "region": []}
        if path.endswith("/explain"):
            absent = dict.fromkeys(("a_id", "b", "rather_than", "rather_than_id", "mask"))
            return {"a": image, "b_id": self._image(), **absent, "index": "emoji", "region": ["0,0,64,64"]}
        if path.endswith("/embed"):
            return {"image": [image], "index": "emoji"}
        return {"image": [image], "label": ["new"]}

    def _put(self, into: dict[str, object], known: dict[str, object], share: float) -> None:
        whole = self.rng.random() < 0.5  # all of it, so that some requests are right
        for name, value in known.items():
            if whole or self.rng.random() < share:
                into.pop(name, None)
                if value is not None:
                    into[name] = value

    def _add(self) -> str:
        """A job that adds an image, when it has ended."""
        sent = [("image", (f"new/{self.rng.randrange(9)}.png", SENT[0].read_bytes()))]
        answer = self.client.post("/v1/indexes/emoji/images", files=sent)
        assert answer.status_code == 202, answer.text
        while self.client.get(answer.headers["location"]).json()["state"] in ("waiting", "running"):
            time.sleep(0.02)
        return answer.json()["job"]

    def _image(self, start: str = "") -> str:
        images = self.client.get("/v1/indexes/emoji/images", params={"limit": 1000}).json()["images"]
        return self.rng.choice([image["id"] for image in images if image["path"].startswith(start)])


def requests(server: Running, cases: int, seed: int) -> Counter[tuple[str, int]]:
    """Generated requests to every route, valid and invalid; returns how often each status was answered."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=HEADERS)
    operations = [result.ok() for result in schema.get_all_operations()]
    seen: Counter[tuple[str, int]] = Counter()
    repair = Repairs(server, seed)
    for operation in operations:
        _ask(operation, VALID, server, cases, seed, seen, repair)
        # A route without parameters cannot be asked wrongly.
        with suppress(Unsatisfiable):
            _ask(operation, INVALID, server, cases, seed, seen, repair)
    assert {label for label, _ in seen} == {operation.label for operation in operations}
    return seen


def _ask(operation, mode, server: Running, cases: int, seed: int, seen: Counter[tuple[str, int]], repair) -> None:
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
        if mode is VALID:
            repair(case)
        answer = case.call(base_url=server.url, headers=HEADERS, timeout=60)
        seen[operation.label, answer.status_code] += 1
        assert answer.status_code < 500, (answer.status_code, answer.text[:500], case.as_curl_command())
        if answer.status_code == 400 and len(answer.request.path_url) > LONGEST_HEAD:
            assert answer.text == "Invalid HTTP request received."  # by the HTTP server, which reads no more of it
        elif answer.status_code >= 400 and case.method.upper() != "HEAD":
            kind = answer.headers["content-type"][0]
            assert kind == "application/problem+json", (operation.label, kind, answer.status_code)
            assert answer.json()["status"] == answer.status_code

    ask()


def uploads(server: Running, number: int, seed: int, adding: bool = True) -> Counter[tuple[str, int]]:
    """Mutated images, to each route that takes one, or all but adding; returns how often each status was answered."""
    rng, seen = random.Random(seed), Counter()
    good = next(SAMPLE.glob("*/noto.png")).read_bytes()
    with httpx.Client(base_url=server.url, headers=HEADERS, timeout=60) as client:
        for at, (name, data) in enumerate(seeds.cycled(seeds.images())):
            if at >= number:
                return seen
            changed = (name, mutate(data, rng))
            sent = [
                ("/v1/indexes/emoji/search", [("image", changed)]),
                ("/v1/indexes/emoji/search", [("image", ("good.png", good)), ("mask", changed)]),
                ("/v1/explain", [("a", changed), ("b", ("good.png", good))]),
                ("/v1/embed", [("image", changed)]),
                ("/v1/indexes/emoji/images", [("image", changed)]),
            ]
            route, files = sent[at % (len(sent) if adding else len(sent) - 1)]
            answer = client.post(route, files=files, data={"k": 2} if route.endswith("search") else {})
            seen[route, answer.status_code] += 1
            assert answer.status_code in (200, 202, 422), (name, at, answer.status_code, answer.text[:500])
            if answer.status_code == 422:
                assert name in answer.json()["detail"] or "mask" in answer.json()["detail"]
                assert "\n" not in answer.json()["detail"]
            elif answer.status_code == 202:
                _check_job(client, answer.headers["location"], name)
    raise AssertionError("unreachable")


def _check_job(client: httpx.Client, location: str, name: str) -> None:
    while (job := client.get(location).json())["state"] in ("waiting", "running"):
        time.sleep(0.01)
    assert job["state"] == "done" or job["error"].startswith("none of the images can be read; the first: " + name), job


def check_healthy(server: Running) -> None:
    assert server.process.poll() is None
    assert httpx.get(f"{server.url}/health", timeout=30).json()["status"] == "ok"
    assert not [line for line in server.log if line["level"] == "error"]


class Sent(NamedTuple):
    """How often each status was answered, by route, and the memory in MB after each round."""

    generated: Counter[tuple[str, int]]
    mutated: Counter[tuple[str, int]]
    memory: list[float]


def send(server: Running, cases: int, images: int, seed: int) -> Sent:
    """Rounds of requests and of images, none of them sent twice."""
    sent = Sent(Counter(), Counter(), [])
    for at in range(ROUNDS):
        sent.generated.update(requests(server, cases, seed + at))
        sent.mutated.update(uploads(server, images, seed + at))
        sent.memory.append(memory_of(server.process.pid))
    check_answered(sent.generated)
    check_healthy(server)
    return sent


def check_answered(seen: Counter[tuple[str, int]]) -> None:
    """Not everything was refused: the routes have done what they are for."""
    assert not [(label, status) for label, status in ANSWERED.items() if not seen[label, status]]


@pytest.mark.long
def test_a_few_requests(tmp_path):
    with start(tmp_path) as server:
        check_answered(requests(server, cases=6, seed=SEED))
        uploads(server, 60, SEED)
        check_healthy(server)


@pytest.mark.long
def test_many_requests(tmp_path):
    with start(tmp_path) as server:
        send(server, 40, 2000, SEED)


@pytest.mark.long
def test_all_but_adding_takes_no_memory(tmp_path):
    with start(tmp_path) as server:
        uploads(server, 400, SEED, adding=False)  # what is compiled and loaded once
        before = memory_of(server.process.pid)
        uploads(server, 2000, SEED + 1, adding=False)
        assert memory_of(server.process.pid) - before < 50


def main(cases: int = 40, images: int = 2000, seed: int = SEED) -> None:
    with tempfile.TemporaryDirectory() as place, start(Path(place)) as server:
        before, began = memory_of(server.process.pid), time.monotonic()
        sent = send(server, cases, images, seed)
        seconds = time.monotonic() - began
        print("| route | requests | answered with |\n|---|---|---|")
        for title, seen in (("", sent.generated), ("mutated images to ", sent.mutated)):
            for label in sorted({label for label, _ in seen}):
                found = {status: count for (name, status), count in sorted(seen.items()) if name == label}
                answers = ", ".join(f"{status}: {count}" for status, count in found.items())
                print(f"| {title}{label} | {sum(found.values())} | {answers} |")
        after = ", ".join(f"{each:.0f}" for each in sent.memory)
        print(f"\nMemory: {before:.0f} MB at the start, {after} MB after each round; {seconds:.0f} s.")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
