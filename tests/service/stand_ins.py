"""Stand-ins for the process that decodes; this module imports little, because each process starts by importing it."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

from diml.service.decoding_worker import READY, Request, decoded, end_with_parent, limit_memory

ANSWER = {"mode": "RGB", "size": [1, 1], "palette": None, "original": [1, 1], "box": [0, 0, 1, 1]}
# Of a decoder that something has taken over.
IMPOSSIBLE = [
    {"original": None},
    {"original": [1, 9]},
    {"original": [1, 0]},
    {"original": [1, 1, 1]},
    {"original": [1, 1e300]},
    {"original": [1, float("inf")]},
    {"original": ["1", "1"]},
    {"box": [0, 0, 1, 2]},
    {"box": [0, 0, 0, 1]},
    {"box": [-1, 0, 1, 1]},
    {"box": [0, 0, 1]},
    {"box": [0, 0, 1, float("nan")]},
]


def answering(pipe, max_pixels):
    """What it does depends on the name of the file."""
    end_with_parent()
    pipe.send_bytes(READY)
    while True:
        name = pipe.recv()[1]
        if name == "slow":
            time.sleep(60)
        if name == "dying":
            os._exit(11)
        if name == "foreign":
            pipe.send_bytes(b"no answer")
        wrong = IMPOSSIBLE[int(name.removeprefix("impossible"))] if name.startswith("impossible") else {}
        pipe.send_bytes(json.dumps(ANSWER | wrong).encode())
        if name == "half":  # of the pixels: a message of 3 bytes that does not come
            os.write(pipe.fileno(), struct.pack("!i", 3) + b"a")
            time.sleep(60)
        pipe.send_bytes(b"abc")


def eating(pipe, max_pixels):
    """Decodes like the service, with too little memory for the image."""
    pipe.send_bytes(READY)
    limit_memory(_size_of_this_process() + (64 << 20))
    answer, _ = decoded(Request(*pipe.recv()), max_pixels)
    pipe.send_bytes(json.dumps(answer).encode())


def _size_of_this_process():
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def deaf(pipe, max_pixels):
    """Reads nothing."""
    pipe.send_bytes(READY)
    time.sleep(60)


def silent(pipe, max_pixels):
    """Never becomes ready."""
    time.sleep(60)
