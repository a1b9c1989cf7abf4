"""Runs `diml` commands in one process, one JSON line in and one out, so that thousands of inputs need no new process.

In: `{"argv": [...]}`. Out: `{"code": int, "stderr": str, "seconds": float, "peak_mb": float}`. An exception that leaves
`diml.cli.main` is reported as code 70 with its traceback in `stderr`, as a terminal would show it.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import time
import traceback
from pathlib import Path


class _Stream(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode("utf-8", "replace")


def run(argv: list[str]) -> dict[str, object]:
    from diml.cli import main

    out, err, started = _Stream(), _Stream(), time.monotonic()
    sys.argv = ["diml", *argv]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
        except BaseException:
            traceback.print_exc()
            code = 70
    return {"code": code, "stderr": err.text()[-4000:], "seconds": time.monotonic() - started, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """Of this process alone: what `getrusage` tells includes the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    replies = sys.stdout
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line)["argv"])), file=replies, flush=True)
