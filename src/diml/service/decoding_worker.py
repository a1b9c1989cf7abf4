"""What runs in the processes that decode: one image after the other, as raw pixels through a pipe."""

from __future__ import annotations

import contextlib
import os
import signal
from multiprocessing.connection import Connection

from diml.data import NamedBytes, open_image, open_mask
from diml.errors import DimlError

# Beyond the memory that an image of the largest size takes several times over.
BASE_MEMORY = 1 << 30
BYTES_A_PIXEL = 32


def serve(pipe: Connection, max_pixels: int) -> None:
    """Answer requests `(kind, data, name, decoding, bit_depth)` until the pipe is closed.

    An answer is `(mode, size)` followed by the pixels, or the sentence of an error.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent closes the pipe
    _limit_memory(BASE_MEMORY + BYTES_A_PIXEL * max_pixels)
    with contextlib.suppress(EOFError, OSError):
        while True:
            kind, data, name, decoding, bit_depth = pipe.recv()
            source = NamedBytes(data, name)
            try:
                if kind == "mask":
                    image = open_mask(source, max_pixels)
                else:
                    image = open_image(source, decoding, bit_depth, max_pixels)
                answer = (image.mode, image.size, image.getpalette())
            except DimlError as error:
                pipe.send(str(error))
                continue
            except MemoryError:
                pipe.send(f"{name}: does not fit into memory; make it smaller first")
                continue
            pipe.send(answer)
            pipe.send_bytes(image.tobytes())
            del data, source, image


def _limit_memory(size: int) -> None:
    """So that what decompresses without end fails here, and does not take the memory of the machine."""
    if os.name == "posix":
        import resource

        with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
