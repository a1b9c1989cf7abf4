"""The real server process, as `diml serve` starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

STARTING = 120


class Running:
    """A server process.

    Attributes:
        url: its address.
        process: its process.
    """

    def __init__(self, process: subprocess.Popen[str], url: str, log: Path) -> None:
        self.process, self.url, self._log = process, url, log

    @property
    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def wait_until_ready(self) -> None:
        end = time.monotonic() + STARTING
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(self._log.read_text())


@contextmanager
def running(*arguments: object, log: Path, wait: bool = True) -> Iterator[Running]:
    """Start `diml serve ARGUMENTS --port 0`; kill it at the end."""
    command = [sys.executable, "-c", "from diml.cli import main; main()", "serve", *map(str, arguments), "--port", "0"]
    # Compiling takes seconds, and is not what these tests are about.
    environment = {"DIML_SERVE_BACKEND": "torch", **os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("http://"), (first, log.read_text())
        server = Running(process, first.split()[0], log)
        if wait:
            server.wait_until_ready()
        yield server
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
