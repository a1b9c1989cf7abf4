"""The server process: how it starts, and how it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from diml.cli import main
from tests.service.running import running

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_it_stops_with_requests_in_flight(emoji_index, emoji, tmp_path):
    files = sorted(emoji.glob("*/*.png"))[:12]
    with running(emoji_index, log=tmp_path / "log") as server:
        answers = []

        def ask(file):
            sent = {"image": (file.name, file.read_bytes())}
            with httpx.Client(timeout=60) as client:
                answers.append(client.post(f"{server.url}/v1/indexes/emoji/search", files=sent, data={"explain": 10}))

        threads = [threading.Thread(target=ask, args=(file,)) for file in files]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 20
        while len(answers) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.monotonic() - start < 10
        for thread in threads:
            thread.join(10)
        assert [answer.status_code for answer in answers] == [200] * len(files)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
        events = [line["event"] for line in server.log]
        assert "index opened" in events
        assert not [line for line in server.log if line["level"] == "error"]


def test_it_stops_before_it_is_ready(emoji_index, tmp_path):
    with running(emoji_index, log=tmp_path / "log", wait=False) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(15) == 0


@pytest.mark.long  # test_decoding has it for one process
def test_no_process_is_left(emoji_index, tmp_path):
    with running(emoji_index, log=tmp_path / "log") as server:
        children = _children(server.process.pid)
        assert len(children) >= 2  # those that decode
        server.process.kill()  # as the system does when memory is short
        server.process.wait()
        end = time.monotonic() + 10
        while any(map(_lives, children)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(map(_lives, children))


def _children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "expected at least one index to serve; name one, or set DIML_SERVE_INDEXES"),
        (["x.diml", "--host", "0.0.0.0"], "--host 0.0.0.0 lets other machines in, which needs a --token-file"),
        (["x.diml", "--writable"], "--writable needs a --token-file"),
        (["x.diml", "--queue", "0"], "queue: input should be greater than or equal to 1, got 0"),
        (["a/x.diml", "b/x.diml"], "two indices have the name x"),
        (["x.diml", "--host", "203.0.113.1", "--token-file", "TOKEN"], "cannot listen on 203.0.113.1, port 8000"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments, sentence, tmp_path, monkeypatch, capsys):
    """In this process: what is refused starts nothing."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123")
    token.chmod(0o600)
    given = [str(token) if each == "TOKEN" else each for each in arguments]
    monkeypatch.setattr("diml.service.server._share_memory", lambda: None)  # a setting of the whole process
    monkeypatch.setattr(sys, "argv", ["diml", "serve", *given])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert err.startswith("diml: ")
    assert sentence in err
    assert err.count("\n") == 1
