"""Adding and removing over HTTP: jobs, their progress, and what they refuse."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from diml.search import Index
from diml.service.spooling import safe_path

TOKEN = "0123456789abcdef0123"
IMAGES = "/v1/indexes/copy/images"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


@pytest.fixture
def copy(emoji_index, tmp_path):
    path = tmp_path / "copy.diml"
    shutil.copytree(emoji_index, path)
    return path


@pytest.fixture
def writable(serve, copy, token_file):
    client = serve(copy, writable=True, token_file=token_file)
    client.headers["authorization"] = f"Bearer {TOKEN}"
    return client


def uploads(emoji, n, folder="new"):
    files = sorted(emoji.glob("*/noto.png"))[:n]
    return [("image", (f"{folder}/{i}.png", file.read_bytes())) for i, file in enumerate(files)]


def ended(client, answer):
    assert answer.status_code == 202, answer.text
    place = answer.headers["location"]
    assert place == f"/v1/jobs/{answer.json()['job']}"
    end = time.monotonic() + 60
    while (job := client.get(place).json())["state"] in ("waiting", "running"):
        assert time.monotonic() < end
        time.sleep(0.02)
    return job


def test_added_images_are_found_at_once(writable, emoji, copy):
    answer = writable.post(IMAGES, files=uploads(emoji, 3), data={"label": ["a", "b", ""]})
    job = ended(writable, answer)
    assert (job["state"], job["done"], job["total"], job["error"]) == ("done", 3, 3, None)
    assert (job["report"]["added"], job["report"]["skipped"]) == (3, [])
    index = Index.open(copy)
    assert len(index) == 51
    assert [index.entry(f"new/{i}.png").label for i in range(3)] == ["a", "b", None]
    file = sorted(emoji.glob("*/noto.png"))[0]
    found = writable.post("/v1/indexes/copy/search", files={"image": ("q.png", file.read_bytes())}, data={"k": 2})
    assert "new/0.png" in [hit["path"] for hit in found.json()["hits"]]
    place = f"/v1/indexes/copy/images/{index.entry('new/0.png').id}/thumbnail"
    assert writable.get(place).content == index.thumbnail("new/0.png")
    # The same but for the last bits, which depend on the size of the batch, and are stored in half precision.
    stored = index.maps(["new/0.png", file.relative_to(emoji).as_posix()])
    torch.testing.assert_close(stored[0].local, stored[1].local, atol=1e-3, rtol=1e-3)


def test_an_image_of_a_stored_name_takes_its_place(writable, emoji, copy):
    first = ended(writable, writable.post(IMAGES, files=uploads(emoji, 1)))
    other = sorted(emoji.glob("*/twemoji.png"))[3].read_bytes()
    again = ended(writable, writable.post(IMAGES, files=[("image", ("new/0.png", other))]))
    same = ended(writable, writable.post(IMAGES, files=[("image", ("new/0.png", other))]))
    assert [job["report"][name] for job, name in ((first, "added"), (again, "changed"), (same, "unchanged"))] == [1] * 3
    assert len(Index.open(copy)) == 49


def test_removed_images_are_gone_at_once(writable, copy):
    ids = [entry.id for entry in Index.open(copy).entries(limit=3)]
    job = ended(writable, writable.delete(IMAGES, params={"id": ids[:2]}))
    assert (job["state"], job["report"]) == ("done", {"removed": 2})
    assert writable.get("/v1/indexes").json()["indexes"][0]["images"] == 46
    assert writable.get(f"{IMAGES}/{ids[0]}").status_code == 404
    refused = writable.delete(IMAGES, params={"id": [ids[2], ids[0]]})
    assert refused.status_code == 404
    assert ids[0] in refused.json()["detail"]
    assert len(Index.open(copy)) == 46


def test_images_that_cannot_be_read_are_reported(writable, emoji):
    job = ended(writable, writable.post(IMAGES, files=[*uploads(emoji, 1), ("image", ("b.jpg", b"nothing"))]))
    assert (job["state"], job["report"]["added"]) == ("done", 1)
    (skipped,) = job["report"]["skipped"]
    assert skipped["path"] == "b.jpg"
    assert skipped["reason"].startswith("b.jpg: is not an image")
    job = ended(writable, writable.post(IMAGES, files=[("image", ("b.jpg", b"nothing"))]))
    assert job["state"] == "failed"
    assert job["error"].startswith("none of the images can be read; the first: b.jpg: ")


def test_events(writable, emoji):
    answer = writable.post(IMAGES, files=uploads(emoji, 12))
    with writable.stream("GET", f"{answer.headers['location']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = "".join(stream.iter_text())
    events = [block.splitlines() for block in text.strip().split("\n\n")]
    names = [event[0].removeprefix("event: ") for event in events]
    documents = [json.loads(event[1].removeprefix("data: ")) for event in events]
    assert names[-1] == "end"
    assert set(names[:-1]) <= {"progress"}
    assert documents[-1]["state"] == "done"
    done = [document["done"] for document in documents]
    assert done == sorted(done)


def test_uploads_leave_nothing_behind(writable, emoji, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    ended(writable, writable.post(IMAGES, files=uploads(emoji, 2)))
    ended(writable, writable.post(IMAGES, files=[("image", ("b.jpg", b"nothing"))]))
    assert writable.post(IMAGES, files=[("image", ("../b.png", b"x"))]).status_code == 422
    time.sleep(0.1)
    assert list((tmp_path / "spool").iterdir()) == []


REFUSED = [
    (["../a.png"], [], "expected the name of an image such as cats/tom.jpg, got '../a.png'"),
    (["a/../../b.png"], [], "expected the name of an image"),
    (["a.png", "a.png"], [], "two images have the name a.png"),
    (["a.png", "./a.png"], [], "two images have the name a.png"),
    (["a", "a/b.png"], [], "one name is the folder of another image"),
    (["a.png", "b.png"], ["x"], "expected a label for each of the 2 images, or none, got 1"),
]


def test_names_and_labels_that_are_refused(writable, copy):
    for names, labels, sentence in REFUSED:
        answer = writable.post(IMAGES, files=[("image", (name, b"x")) for name in names], data={"label": labels})
        assert answer.status_code == 422, names
        assert sentence in answer.json()["detail"]
        assert len(Index.open(copy)) == 48


@pytest.mark.parametrize("name", ["", ".", "/", "..", "a/..", "a\x00.png", "a\n.png", "x" * 300, "/".join("a" * 20)])
def test_names_that_are_none(name):
    with pytest.raises(ValueError, match="expected the name of an image"):
        safe_path(name)


def test_a_service_that_changes_nothing_says_so(serve, emoji_index, token_file):
    client = serve(emoji_index, token_file=token_file)
    client.headers["authorization"] = f"Bearer {TOKEN}"
    answer = client.post("/v1/indexes/emoji/images", files=[("image", ("a.png", b"x"))])
    assert answer.status_code == 403
    assert "start it with --writable" in answer.json()["detail"]


def test_unknown_jobs(writable):
    for place in ("/v1/jobs/nothing", "/v1/jobs/nothing/events"):
        answer = writable.get(place)
        assert answer.status_code == 404
        assert "what they stored is kept" in answer.json()["detail"]


def test_a_full_disk_is_a_sentence(writable, emoji, copy, monkeypatch):
    from diml.search.store import Store

    def full(self, rows, replacing):
        raise OSError(28, "No space left on device", str(copy))

    monkeypatch.setattr(Store, "put", full)
    job = ended(writable, writable.post(IMAGES, files=uploads(emoji, 2)))
    assert job["state"] == "failed"
    assert job["error"] == f"{copy}: No space left on device; free some space, and send it again"
    assert len(Index.open(copy)) == 48


def test_an_index_on_read_only_media_is_a_sentence(writable, emoji, copy, monkeypatch):
    id = Index.open(copy).entries(limit=1)[0].id
    monkeypatch.setattr("diml.search.adding_lock.os.access", lambda *arguments: False)  # root may write everything
    for answer in (writable.post(IMAGES, files=uploads(emoji, 2)), writable.delete(IMAGES, params={"id": [id]})):
        job = ended(writable, answer)
        assert job["state"] == "failed"
        assert job["error"] == f"{copy} cannot be written (permission denied); give a place that can"
    assert writable.post("/v1/indexes/copy/search", data={"id": id}).status_code == 200


def test_a_full_disk_while_uploads_arrive_is_a_sentence(writable, emoji, monkeypatch):
    import tempfile

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    large = ("image", ("large.png", bytes(2 << 20)))  # larger than what is kept in memory
    for broken, files in (("TemporaryDirectory", uploads(emoji, 2)), ("_TemporaryFileWrapper", [large])):
        with monkeypatch.context() as patched:
            if broken == "TemporaryDirectory":
                patched.setattr(tempfile, broken, full)
            else:
                patched.setattr(tempfile, "TemporaryFile", full)
            answer = writable.post(IMAGES, files=files)
        assert answer.status_code == 507, answer.text
        assert "the upload cannot be kept here (No space left on device); free some space" in answer.json()["detail"]
    assert writable.get("/health").status_code == 200


def test_searches_are_answered_while_a_job_runs(writable, emoji, library):
    answer = writable.post(IMAGES, files=[*uploads(emoji, 12), *uploads(emoji, 12, "more")])
    id = library.entries(limit=1)[0].id
    seconds, states = [], []
    while not states or states[-1] in ("waiting", "running"):
        start = time.monotonic()
        assert writable.post("/v1/indexes/copy/search", data={"id": id, "k": 3}).status_code == 200
        seconds.append(time.monotonic() - start)
        states.append(writable.get(answer.headers["location"]).json()["state"])
    assert states[-1] == "done"


def test_a_stop_ends_a_job_between_two_batches(writable, emoji, copy):
    jobs = writable.app.state.jobs
    seen = threading.Event()
    from diml.service.jobs import Job

    def work(progress):
        progress(1, 5)
        seen.set()
        jobs.stopping.wait(10)
        progress(2, 5)
        raise AssertionError("not reached")

    job = Job("copy", "add", 5)
    jobs.start(job, work)
    assert seen.wait(10)
    jobs.close()
    end = time.monotonic() + 10
    while job.ended is None and time.monotonic() < end:
        time.sleep(0.01)
    assert (job.state, job.done) == ("failed", 2)
    assert "what was committed is kept" in job.error


def test_paths_stay_below_their_folder():
    for name in ("cats/tom.jpg", "/etc/passwd", "C:\\a\\b.png", "猫/图.png", "\u202egnp.exe"):
        path = Path("/spool") / safe_path(name)
        assert path.is_relative_to("/spool")
        assert ".." not in path.parts


def test_jobs_that_wait_at_a_stop_end_and_none_begins(writable):
    from diml.service.jobs import WAITING, Job, Jobs
    from diml.service.metrics import Metrics
    from diml.service.problems import RequestError

    jobs, begun, discarded = Jobs(Metrics()), threading.Event(), []

    def work(progress):
        begun.set()
        jobs.stopping.wait(10)
        return {}

    started = [Job("copy", "add", 1) for _ in range(WAITING)]
    for job in started:
        jobs.start(job, work, discard=lambda: discarded.append(1))
    with pytest.raises(RequestError, match="16 jobs wait already; send this one later") as caught:
        jobs.start(Job("copy", "add", 1), work)
    assert caught.value.status == 429
    assert begun.wait(10)
    jobs.close()
    end = time.monotonic() + 10
    while jobs.waiting and time.monotonic() < end:
        time.sleep(0.01)
    assert [job.state for job in started] == ["done"] + ["failed"] * (WAITING - 1)
    assert all("what was committed is kept" in job.error for job in started[1:])
    assert len(discarded) == WAITING - 1
    with pytest.raises(RequestError, match="the service is stopping"):
        jobs.start(Job("copy", "add", 1), work)
