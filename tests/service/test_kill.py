"""The service is killed while images are added: what was stored is there, once, and the same upload continues.

`python tests/service/test_kill.py [KILLS] [SEED]` prints the figures as a table.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from diml.search import Index, index_folder
from tests.service.running import running

pytestmark = pytest.mark.long

SAMPLE = Path(__file__).parents[2] / "sample" / "emoji"
TOKEN = "0123456789abcdef0123"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
BEFORE, ADDED = 24, 60
KILLS, SEED = 5, 1


def kill_once(place: Path, made: Path, delay: float) -> dict[str, int | bool]:
    """Post images, kill the server after `delay` seconds of the job, look, start it again and post them again."""
    index, token = place / "emoji.diml", place / "token"
    shutil.copytree(made, index)
    token.write_text(TOKEN)
    token.chmod(0o600)
    arguments = (index, "--writable", "--token-file", token)
    files = sorted(SAMPLE.glob("*/*.png"))[-ADDED:]
    sent = [("image", (f"new/{i}.png", file.read_bytes())) for i, file in enumerate(files)]
    with running(*arguments, log=place / "log") as server:
        answer = httpx.post(f"{server.url}/v1/indexes/emoji/images", files=sent, headers=HEADERS, timeout=120)
        assert answer.status_code == 202, answer.text
        end, stated = time.monotonic() + delay, 0
        job = {}
        while time.monotonic() < end and job.get("state") not in ("done", "failed"):
            job = httpx.get(server.url + answer.headers["location"], headers=HEADERS, timeout=30).json()
            images = httpx.get(f"{server.url}/v1/indexes", headers=HEADERS, timeout=30).json()["indexes"][0]["images"]
            stated = max(stated, images)  # what was found is stored
        server.process.kill()
        server.process.wait()
    after = Index.open(index)
    paths = after.paths
    found = {"before it was done": job.get("state") != "done", "stored at the kill": len(paths)}
    assert len(set(paths)) == len(paths)
    assert len(paths) >= max(stated, BEFORE)
    entry = after.entries(limit=1)[0]
    assert after.search(after.maps(entry.id), k=1)[0].id == entry.id
    with running(*arguments, log=place / "log") as server:
        answer = httpx.post(f"{server.url}/v1/indexes/emoji/images", files=sent, headers=HEADERS, timeout=120)
        job = {}
        while job.get("state") not in ("done", "failed"):
            job = httpx.get(server.url + answer.headers["location"], headers=HEADERS, timeout=30).json()
            time.sleep(0.05)
    assert job["state"] == "done", job
    assert job["report"]["added"] == BEFORE + ADDED - len(paths)
    assert len(Index.open(index)) == BEFORE + ADDED
    return found


def kills(place: Path, number: int, seed: int) -> list[dict[str, int | bool]]:
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
    assert len(found) == KILLS


def main(number: int = KILLS, seed: int = SEED) -> None:
    with tempfile.TemporaryDirectory() as place:
        found = kills(Path(place), number, seed)
    stored = [each["stored at the kill"] for each in found]
    print("| kills | before the job was done | images at the kill | lost | twice | reruns complete |")
    print("|---|---|---|---|---|---|")
    early = sum(each["before it was done"] for each in found)
    print(f"| {number} | {early} | {min(stored)} to {max(stored)} | 0 | 0 | {number} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
