"""What runs in the processes that decode: one image after the other, as raw pixels through a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from diml.data import NamedBytes, open_image, open_mask
from diml.errors import DimlError
from diml.image_sizes import Wanted, original_of

READY = b"ready"
# Beyond the memory that an image of the largest size takes several times over.
BASE_MEMORY = 1 << 30
BYTES_A_PIXEL = 32
# Of linux/prctl.h: a signal to this process when its parent ends.
PR_SET_PDEATHSIG = 1


class Request(NamedTuple):
    """An image to decode; `mask` keeps its own mode, see `diml.data.open_mask`."""

    data: bytes
    name: str
    mask: bool = False
    decoding: int = 3
    bit_depth: int | None = None
    wanted: Wanted | None = None


def serve(pipe: Connection, max_pixels: int) -> None:
    """Answer requests until the pipe is closed, first of all with `READY`.

    An answer is a JSON document: `{"error": sentence}`, or `{"mode", "size", "palette", "original", "box"}` followed by
    the pixels, with what `original_of` knows of the image. What a decoder sends is never unpickled: it has read the
    bytes of strangers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent closes the pipe
    end_with_parent()
    limit_memory(BASE_MEMORY + BYTES_A_PIXEL * max_pixels)
    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(READY)
        while True:
            answer, pixels = decoded(Request(*pipe.recv()), max_pixels)
            pipe.send_bytes(json.dumps(answer).encode())
            if "error" not in answer:
                pipe.send_bytes(pixels)
            del pixels


def decoded(request: Request, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    """The answer to a request, and the pixels."""
    source = NamedBytes(request.data, request.name)
    try:
        if request.mask:
            image = open_mask(source, max_pixels)
        else:
            image = open_image(source, request.decoding, request.bit_depth, max_pixels, request.wanted)
        original = original_of(image)
        answer = {"mode": image.mode, "size": image.size, "palette": image.getpalette()}
        return {**answer, "original": original.size, "box": original.box}, image.tobytes()
    except DimlError as error:
        return {"error": str(error)}, b""
    except MemoryError:
        return {"error": f"{request.name}: does not fit into memory; make it smaller first"}, b""


def end_with_parent() -> None:
    """End when the parent does, however it ends, also in the middle of an image; on Linux."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def limit_memory(size: int) -> None:
    """So that what decompresses without end fails here, and does not take the memory of the machine."""
    if os.name == "posix":
        import resource

        with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
