"""A running `diml serve`, and the memory and processor time that it takes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SERVE = [sys.executable, "-c", "from diml.cli import main; main()", "serve"]


class Served:
    """`diml serve INDEX` on a free port of this machine, until the end of the block."""

    def __init__(self, index: Path, log: Path, *arguments: str) -> None:
        self.index, self.arguments, self.log = index, arguments, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    def __enter__(self) -> Served:
        command = [*SERVE, str(self.index), "--port", str(self.port), *self.arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        end = time.monotonic() + 120
        while not self._healthy():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the service did not start; its log is {self.log}")
            time.sleep(0.1)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def memory(self) -> float:
        """MB that the service and its processes take, pages that several share counted once."""
        return memory_of(self.process.pid)

    def cpu_seconds(self) -> float:
        """Seconds of processor time that the service and its processes have used."""
        return sum(_ticks(pid) for pid in _tree(self.process.pid)) / os.sysconf("SC_CLK_TCK")

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def memory_of(pid: int) -> float:
    """MB that a process and those that it started take, pages that several share counted once."""
    return sum(_pss(each) for each in _tree(pid)) / 1e6


def _tree(root: int) -> list[int]:
    parents = {}
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit():
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended
            continue
    tree = [root]
    for pid in tree:  # grows while it is read
        tree.extend(child for child, parent in parents.items() if parent == pid)
    return tree


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
