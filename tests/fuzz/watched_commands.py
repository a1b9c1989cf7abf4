"""A worker process under a watch: commands in, what came of them out; one that hangs or dies is replaced."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
SECONDS = 10.0
START_SECONDS = 90.0
MEGABYTES = 2048
DOCUMENTED = (0, 1, 2)


@dataclass(frozen=True)
class Outcome:
    """What a command did. `code` is None where it hung, negative where a signal ended the process."""

    argv: list[str]
    code: int | None
    stderr: str
    peak_mb: float

    @property
    def fault(self) -> str | None:
        """What is wrong with it, in words; None where the command behaved."""
        if self.code is None:
            return f"hung for more than {SECONDS:g} s"
        if self.code not in DOCUMENTED:
            return f"exit code {self.code}"
        if "Traceback" in self.stderr or "panicked at" in self.stderr:
            return "a traceback"
        if self.code and not self.stderr.strip():
            return "failed without a word"
        if self.peak_mb > MEGABYTES:
            return f"{self.peak_mb:.0f} MB of memory"
        return None


class Commands:
    """Runs commands one after the other in a worker process; the first start imports torch and may take a minute."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, argv: list[str], seconds: float = SECONDS) -> Outcome:
        seconds = max(seconds, START_SECONDS) if self._process is None else seconds
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write((json.dumps({"argv": argv}) + "\n").encode())
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        line = process.stdout.readline() if ready else b""
        if line:
            reply = json.loads(line)
            return Outcome(argv, reply["code"], reply["stderr"] + self._native_words(), reply["peak_mb"])
        code = None if not ready else process.wait()
        words = self._native_words()
        self.stop()
        return Outcome(argv, code, words, 0.0)

    def _started(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONFAULTHANDLER": "1"}
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, str(WORKER)], stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        return process

    def _native_words(self) -> str:
        """What libraries below Python printed to the process's own standard error."""
        assert self._process is not None
        assert self._process.stderr is not None
        return (self._process.stderr.read() or b"").decode("utf-8", "replace")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
