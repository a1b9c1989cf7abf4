"""The service is killed while images are added: what was stored is there, once, and the same upload continues.

`python tests/service/test_kill.py [KILLS] [SEED]` prints the figures as a table.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from diml.search import Index, index_folder
from tests.service.running import Running, running

pytestmark = pytest.mark.long

SAMPLE = Path(__file__).parents[2] / "sample" / "emoji"
TOKEN = "0123456789abcdef0123"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
BEFORE, ADDED = 24, 60
KILLS, SEED = 5, 1
OPEN = ("waiting", "running")


@dataclass
class Kill:
    """What was found after one kill.

    Attributes:
        early: the job was not done.
        listed: images that an answer of the service had listed before.
        stored: images in the index afterwards.
        lost: listed before, and not stored, or not the best hit of their own features.
        twice: rows beyond one for each image.
        complete: the same upload, sent again, added what was missing and nothing else.
    """

    early: bool
    listed: int
    stored: int
    lost: int
    twice: int
    complete: bool


def kill_once(place: Path, made: Path, delay: float) -> Kill:
    """Post images, kill the server after `delay` seconds of the job, look, start it again and post them again."""
    index, token = place / "emoji.diml", place / "token"
    shutil.copytree(made, index)
    token.write_text(TOKEN)
    token.chmod(0o600)
    arguments = (index, "--writable", "--token-file", token)
    files = sorted(SAMPLE.glob("*/*.png"))[-ADDED:]
    sent = [("image", (f"new/{i}.png", file.read_bytes())) for i, file in enumerate(files)]
    listed: set[str] = set()
    job = {"state": "waiting"}
    with running(*arguments, log=place / "log") as server, _client(server) as client:
        answer = _sent(client, sent)
        end = time.monotonic() + delay
        while time.monotonic() < end and job["state"] in OPEN:
            job = client.get(answer.headers["location"]).json()
            images = client.get("/v1/indexes/emoji/images", params={"limit": 1000}).json()["images"]
            listed |= {image["id"] for image in images}
        server.process.kill()
        server.process.wait()
    after = Index.open(index)
    entries = list(after)
    stored = {entry.id for entry in entries}
    found = {id for id in stored if after.search(after.maps(id), k=1)[0].id == id}
    with running(*arguments, log=place / "log") as server, _client(server) as client:
        answer = _sent(client, sent)
        again = {"state": "waiting"}
        while again["state"] in OPEN:
            again = client.get(answer.headers["location"]).json()
            time.sleep(0.05)
    missing = BEFORE + ADDED - len(stored)
    complete = again["state"] == "done" and again["report"]["added"] == missing
    complete = complete and len(Index.open(index)) == len(set(Index.open(index).paths)) == BEFORE + ADDED
    lost = len(listed - found) + len(stored - found - listed)
    return Kill(job["state"] in OPEN, len(listed), len(stored), lost, len(entries) - len(stored), complete)


def _client(server: Running) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers=HEADERS, timeout=120)


def _sent(client: httpx.Client, files) -> httpx.Response:
    answer = client.post("/v1/indexes/emoji/images", files=files)
    assert answer.status_code == 202, answer.text
    return answer


def kills(place: Path, number: int, seed: int) -> list[Kill]:
    folder = place / "emoji"
    for each in sorted(SAMPLE.iterdir())[: BEFORE // 4]:
        shutil.copytree(each, folder / each.name)
    made = place / "made.diml"
    index_folder(folder, made, labels_from="folder")
    rng = random.Random(seed)
    found = []
    for i in range(number):
        (place / str(i)).mkdir()
        found.append(kill_once(place / str(i), made, rng.uniform(0.1, 6)))
    return found


def test_kills(tmp_path):
    found = kills(tmp_path, KILLS, SEED)
    assert [(each.lost, each.twice, each.complete) for each in found] == [(0, 0, True)] * KILLS
    assert any(each.early for each in found)


def main(number: int = KILLS, seed: int = SEED) -> None:
    with tempfile.TemporaryDirectory() as place:
        found = kills(Path(place), number, seed)
    print("| kills | before the job was done | images at the kill | lost | twice | reruns complete |")
    print("|---|---|---|---|---|---|")
    stored = [each.stored for each in found]
    numbers = [sum(getattr(each, name) for each in found) for name in ("early", "lost", "twice", "complete")]
    early, lost, twice, complete = numbers
    print(f"| {number} | {early} | {min(stored)} to {max(stored)} | {lost} | {twice} | {complete} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
