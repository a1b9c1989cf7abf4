"""The stages of an answer: decoding, embedding together with other requests, searching and explaining in threads."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from PIL import Image
from starlette.requests import Request

from diml.embedding import Pixels, parse_backend
from diml.errors import StoreError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel
from diml.model.devices import parse_device
from diml.search import Index
from diml.search.stages import reporting, stage
from diml.service.admission import Admission
from diml.service.batching import Batcher
from diml.service.decoding import Decoders
from diml.service.indexes import ServedIndex, serve_indexes
from diml.service.metrics import Metrics
from diml.service.problems import RequestError
from diml.service.request_log import current_record
from diml.service.settings import ServiceSettings

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Used:
    """An index that a request uses, under its name and opened."""

    served: ServedIndex
    index: Index


class Answering:
    """What all routes share: the indices, the processes and threads that work, and the limits.

    Attributes:
        settings: of the service.
        metrics: of its work.
        indexes: by name.
        admission: of requests that compute.
        embedding: the one thread in which models run.
        opening: held while an image is in memory at its full size, so that a full queue of large images fits into it.
    """

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.indexes = serve_indexes(
            settings.named, parse_device(settings.device, "the device"), parse_backend(settings.backend)
        )
        self.admission = Admission(settings.queue, metrics.refused)
        metrics.watch_queue(lambda: self.admission.active)
        self._decoders = Decoders(settings.decoders, settings.decode_seconds, settings.pixels)
        self._decoding = 0
        self.opening = asyncio.Semaphore(2 * settings.decoders)
        self._threads = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="diml-search")
        # Reading is mostly waiting, and must not wait for searches.
        self._reading = ThreadPoolExecutor(8, thread_name_prefix="diml-read")
        self.embedding = ThreadPoolExecutor(1, thread_name_prefix="diml-embed")
        self._batchers: WeakKeyDictionary[StructuralModel, Batcher] = WeakKeyDictionary()

    def start(self) -> None:
        """Start the processes that decode."""
        self._decoders.start()

    async def close(self) -> None:
        """Stop all that was started."""
        for batcher in list(self._batchers.values()):
            await batcher.close()
        self._decoders.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.embedding.shutdown(wait=False, cancel_futures=True)
        self._reading.shutdown(wait=False, cancel_futures=True)

    def served(self, name: str | None) -> ServedIndex:
        """One of the indices; where there is one only, it need not be named.

        Raises:
            RequestError: 404, there is none of this name; 422, none is named and there are several.
        """
        if not name and len(self.indexes) > 1:
            raise RequestError(422, f"expected the name of an index, one of {', '.join(self.indexes)}, got none")
        name = name or next(iter(self.indexes))
        if name not in self.indexes:
            raise RequestError(404, f"there is no index {name!r} here; expected one of {', '.join(self.indexes)}")
        if record := current_record():
            record.index = name
        return self.indexes[name]

    @asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[Used]:
        """An index, as it is now. If it fails within the block, that is noted, and the request is answered by 503.

        Raises:
            RequestError: as `served`; 503, the index cannot be used now.
        """
        served = self.served(name)
        try:
            yield Used(served, await self.run(served.current))
        except StoreError as error:
            raise served.lost(error) from error

    # Work

    async def compute(self, work: Callable[[], T]) -> T:
        """Run something that computes in a thread, one for each core; it knows the request that it works for."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: context.run(work))

    async def run(self, work: Callable[[], T]) -> T:
        """The same for something that mostly reads."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._reading, lambda: context.run(work))

    async def answered(self, request: Request, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work of a request that computes, unless there is too much, it takes too long or the client leaves.

        Raises:
            RequestError: 429, the queue is full; 504, it took too long; 499, nobody waits for it any more.
        """
        with self.admission.admitted():
            return await self._within_time(request, asyncio.ensure_future(work()))

    async def _within_time(self, request: Request, task: asyncio.Future[T]) -> T:
        gone = asyncio.create_task(_gone(request))
        try:
            waiting: set[asyncio.Future[Any]] = {task, gone}
            await asyncio.wait(waiting, timeout=self.settings.seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise RequestError(499, "the client closed the connection before the answer")
            raise RequestError(
                504, f"the answer took longer than {self.settings.seconds:g} s; ask for less, or ask again later"
            )
        finally:
            for each in (task, gone):
                each.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await gone

    # Images

    async def decode(self, index: Index, data: bytes, name: str) -> Image.Image:
        """An image as the model of an index decodes it.

        Raises:
            ImageError: it cannot be read.
        """
        used = index.model.encoder.preprocessing
        return await self._decode(lambda: self._decoders.decode(data, name, used.decoding, used.bit_depth, used.wanted))

    async def decode_mask(self, data: bytes, name: str) -> Image.Image:
        """A mask.

        Raises:
            ImageError: it cannot be read.
        """
        return await self._decode(lambda: self._decoders.decode_mask(data, name))

    async def _decode(self, decode: Callable[[], Awaitable[Image.Image]]) -> Image.Image:
        self._decoding += 1
        try:
            with reporting(note_stage), stage("decode"):
                return await decode()
        finally:
            self._decoding -= 1

    async def preprocess(self, index: Index, image: Image.Image) -> Pixels:
        """A decoded image at the size of the model's input."""
        preprocessing = index.model.encoder.preprocessing
        return await self.compute(lambda: preprocessing(image))

    async def embed(self, used: Used, pixels: Pixels) -> FeatureMaps:
        """The feature maps of one image, embedded together with those of other requests."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        maps = await self._batcher(used.served.encoder_model).embed(pixels)
        if record := current_record():
            record.waited("embed", loop.time() - start)
        return maps

    def _batcher(self, model: StructuralModel) -> Batcher:
        found = self._batchers.get(model)
        if found is None:
            found = Batcher(
                model.encoder,
                self.embedding,
                self.settings.batch,
                self.settings.batch_wait,
                lambda: self._decoding,
                self.metrics.batch,
            )
            self._batchers[model] = found
        return found


def note_stage(name: str, seconds: float) -> None:
    """Note a stage of the request that is answered."""
    if record := current_record():
        record.stage(name, seconds)


async def _gone(request: Request) -> None:
    """Wait until the client has closed the connection; the body must have been read."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await request.receive()
