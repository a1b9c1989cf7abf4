"""Decoding in processes of their own: an image that hangs, crashes or exhausts its decoder takes nothing else down."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from PIL import Image

from diml.errors import ImageError, StoreError
from diml.service.decoding_worker import serve

# For a process to start and import what it needs, before the seconds of its first image count.
STARTING = 60.0


class Decoders:
    """Processes that decode images, a fixed number of them; a process that fails is replaced.

    Pixels come back bit for bit as `diml.data.open_image` gives them.

    Args:
        processes: how many.
        seconds: within which an image must be decoded.
        max_pixels: larger images are refused.
        target: what a process runs: `diml.service.decoding_worker.serve`, or a stand-in in tests.
    """

    def __init__(
        self, processes: int, seconds: float, max_pixels: int, target: Callable[[Connection, int], None] = serve
    ) -> None:
        self._free = [Worker(seconds, max_pixels, target) for _ in range(processes)]
        self._all = list(self._free)
        self._changing = threading.Lock()
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="diml-decode")

    def start(self) -> None:
        """Start the processes; each is ready after about half a second."""
        for worker in self._all:
            worker.start()

    def close(self) -> None:
        """Stop the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._all:
            worker.stop()

    async def decode(self, data: bytes, name: str, decoding: int = 2, bit_depth: int | None = None) -> Image.Image:
        """The image in the content of a file, RGB and upright; see `diml.data.open_image`.

        Raises:
            ImageError: it cannot be read, or its decoder failed.
        """
        return await self._ask(("image", data, name, decoding, bit_depth))

    async def decode_mask(self, data: bytes, name: str) -> Image.Image:
        """The mask in the content of a file; see `diml.data.open_mask`.

        Raises:
            ImageError: it cannot be read, or its decoder failed.
        """
        return await self._ask(("mask", data, name, 2, None))

    async def _ask(self, request: tuple[Any, ...]) -> Image.Image:
        # A thread waits for the answer to its end, also when nobody wants it any more: the next request of that
        # process cannot get the answer of another.
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, request)

    def _answer(self, request: tuple[Any, ...]) -> Image.Image:
        with self._changing:
            worker = self._free.pop()  # there are as many threads as processes
        try:
            return worker.ask(request)
        finally:
            with self._changing:
                self._free.append(worker)


class Worker:
    """One process, used by one thread at a time."""

    def __init__(self, seconds: float, max_pixels: int, target: Callable[[Connection, int], None]) -> None:
        self._seconds, self._max_pixels, self._target = seconds, max_pixels, target
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._fresh = True
        self._stopped = False

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")  # inherits no sockets, and no locks that another thread holds
        ours, theirs = context.Pipe()
        process = context.Process(target=self._target, args=(theirs, self._max_pixels), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process ends the pipe
        self._process, self._pipe, self._fresh = process, ours, True

    def stop(self) -> None:
        """Kill the process; it holds nothing that is worth saving."""
        self._stopped = True
        self._kill()

    def ask(self, request: tuple[Any, ...]) -> Image.Image:
        """Send a request and wait for its answer."""
        name = request[2]
        if self._process is None or not self._process.is_alive():
            self._restart()
        assert self._pipe is not None
        try:
            end = time.monotonic() + self._seconds + (STARTING if self._fresh else 0)
            self._pipe.send(request)
            answer = self._received(self._pipe.recv, end)
            self._fresh = False
            if isinstance(answer, str):
                raise ImageError(answer)
            pixels = self._received(self._pipe.recv_bytes, end)
        except TimeoutError:
            self._restart()
            raise ImageError(
                f"{name}: could not be decoded within {self._seconds:g} s; save it as a plain JPEG or PNG"
            ) from None
        except (EOFError, OSError):
            self._restart()
            raise ImageError(
                f"{name}: its decoder failed, or it does not fit into memory; save it as a plain JPEG or PNG"
            ) from None
        mode, size, palette = answer
        image = Image.frombytes(mode, size, pixels)
        if palette is not None:
            image.putpalette(palette)
        return image

    def _received(self, receive: Callable[[], Any], end: float) -> Any:
        assert self._pipe is not None
        if not self._pipe.poll(max(0.0, end - time.monotonic())):
            raise TimeoutError
        return receive()

    def _restart(self) -> None:
        self._kill()
        if self._stopped:
            raise StoreError("the service is stopping; ask again later")
        self.start()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None
