"""Decoding in processes of their own: an image that hangs, crashes or exhausts its decoder takes nothing else down."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from operator import index
from typing import Any

from PIL import Image

from diml.errors import ImageError
from diml.image_sizes import Original, Size, Wanted, note_original
from diml.service.decoding_worker import READY, Request, serve
from diml.service.problems import RequestError

# For a process to start and to import what it needs; this does not count for the image that waits for it.
STARTING = 60.0
# Of a pixel, in the widest mode that comes back; and of an answer that says what comes.
BYTES_A_PIXEL = 4
ANSWER = 1 << 16

Target = Callable[[Connection, int], None]


class Decoders:
    """Processes that decode images, a fixed number of them; a process that fails is replaced.

    Pixels come back bit for bit as `diml.data.open_image` gives them.

    Args:
        processes: how many.
        seconds: within which an image must be decoded, from the moment that a process takes it.
        max_pixels: larger images are refused.
        target: what a process runs: `diml.service.decoding_worker.serve`, or a stand-in in tests.
    """

    def __init__(self, processes: int, seconds: float, max_pixels: int, target: Target = serve) -> None:
        self._all = [Worker(seconds, max_pixels, target) for _ in range(processes)]
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="diml-decode")

    def start(self) -> None:
        """Start the processes; each is ready after about half a second."""
        for _ in self._all:  # by their own threads: a process ends with the thread that started it
            self._threads.submit(self._start_one)

    def close(self) -> None:
        """Stop the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._all:
            worker.stop()

    async def decode(
        self,
        data: bytes,
        name: str,
        decoding: int = 3,
        bit_depth: int | None = None,
        wanted: Wanted | None = None,
    ) -> Image.Image:
        """The image in the content of a file, RGB and upright; see `diml.data.open_image`.

        Raises:
            ImageError: it cannot be read, or its decoder failed.
        """
        return await self._ask(Request(data, name, False, decoding, bit_depth, wanted))

    async def decode_mask(self, data: bytes, name: str) -> Image.Image:
        """The mask in the content of a file; see `diml.data.open_mask`.

        Raises:
            ImageError: it cannot be read, or its decoder failed.
        """
        return await self._ask(Request(data, name, mask=True))

    async def _ask(self, request: Request) -> Image.Image:
        # A thread waits for the answer to its end, also when nobody wants it any more: the next request of that
        # process cannot get the answer of another.
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, request)

    def _answer(self, request: Request) -> Image.Image:
        with self._worker() as worker:
            return worker.ask(request)

    def _start_one(self) -> None:
        with self._worker() as worker:
            worker.ready()

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        worker = self._free.get_nowait()  # there are as many threads as processes
        try:
            yield worker
        finally:
            self._free.put(worker)


class Worker:
    """One process, used by one thread at a time."""

    def __init__(self, seconds: float, max_pixels: int, target: Target) -> None:
        self._seconds, self._max_pixels, self._target = seconds, max_pixels, target
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._stopped = False

    def ready(self) -> Connection:
        """The pipe to the process, which is started if it is not there.

        Raises:
            RequestError: 503, the service stops, or the process does not start.
        """
        if self._process is None or not self._process.is_alive() or self._pipe is None:
            self._discard()
            if self._stopped:
                raise RequestError(503, "the service is stopping; ask again later")
            self._pipe = self._start()
        return self._pipe

    def stop(self) -> None:
        """Kill the process; it holds nothing that is worth saving."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def ask(self, request: Request) -> Image.Image:
        """Send a request and wait for its answer.

        Raises:
            ImageError: the image cannot be read, takes too long, or ended its decoder.
        """
        pipe = self.ready()
        late = threading.Event()
        try:
            with self._within_time(late):
                pipe.send(tuple(request))
                answer = json.loads(pipe.recv_bytes(ANSWER))
                image = None if "error" in answer else _image(answer, pipe.recv_bytes(BYTES_A_PIXEL * self._max_pixels))
        except (
            EOFError,
            OSError,
            KeyError,
            TypeError,
            ValueError,
        ):  # it was killed, by us or otherwise, or sent something else
            self._discard()
            remedy = "save it as a plain JPEG or PNG"
            if late.is_set():
                raise ImageError(f"{request.name}: could not be decoded within {self._seconds:g} s; {remedy}") from None
            raise ImageError(f"{request.name}: its decoder failed, or it does not fit into memory; {remedy}") from None
        if late.is_set():  # at the very end; the process is gone
            self._discard()
        if image is None:
            raise ImageError(answer["error"])
        return image

    @contextmanager
    def _within_time(self, late: threading.Event) -> Iterator[None]:
        """Kill the process if the block takes too long, whatever it waits for, and set `late`: the pipe breaks then."""
        process = self._process
        assert process is not None

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._seconds, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")  # inherits no sockets, and no locks that another thread holds
        ours, theirs = context.Pipe()
        self._process = context.Process(target=self._target, args=(theirs, self._max_pixels), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process ends the pipe
        try:
            if ours.poll(STARTING) and ours.recv_bytes(ANSWER) == READY:
                return ours
        except (EOFError, OSError):
            pass
        ours.close()
        self._discard()
        raise RequestError(503, "an image decoder does not start, see the log; free some memory, and ask again")

    def _discard(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _image(answer: dict[str, Any], pixels: bytes) -> Image.Image:
    image = Image.frombytes(answer["mode"], tuple(answer["size"]), pixels)
    if answer["palette"] is not None:
        image.putpalette(answer["palette"])
    note_original(image, _original(answer, image.size))
    return image


def _original(answer: dict[str, Any], decoded: Size) -> Original:
    """What the answer says of the original, on which later stages rely.

    Raises:
        KeyError, TypeError, ValueError: it says nothing, or what cannot be.
    """
    size, box = tuple(map(index, answer["original"])), tuple(map(float, answer["box"]))
    for k, side in enumerate(decoded):
        if not (len(size) == 2 and len(box) == 4 and side <= size[k] <= 8 * side and 0 <= box[k] < box[k + 2] <= side):
            raise ValueError(f"expected the original of an image of {decoded}, got {size} at {box}")
    return Original((size[0], size[1]), (box[0], box[1], box[2], box[3]), decoded)
