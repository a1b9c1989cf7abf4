"""Dynamic batching: images of concurrent requests are embedded together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from diml.embedding import Encoder, Pixels
from diml.feature_maps import FeatureMaps


@dataclass(frozen=True)
class Waiting:
    """An image that waits to be embedded."""

    pixels: Pixels
    maps: asyncio.Future[FeatureMaps]


class Batcher:
    """Embeds the images of one encoder, as many together as wait when the encoder becomes free.

    While a batch is embedded the next one gathers. An image that finds the encoder free waits for others only if they
    are expected, and at most `wait` milliseconds. An image whose request was given up is not embedded.

    Args:
        encoder: embeds.
        thread: of a single worker, which all encoders share: two of them would compete for the same cores.
        size: images of a batch; 1 gives the same bits as embedding each image by itself.
        wait: milliseconds.
        expected: how many more images may arrive soon: those that are being decoded.
        report: called with the size of each batch and the seconds that it took.
    """

    def __init__(
        self,
        encoder: Encoder,
        thread: ThreadPoolExecutor,
        size: int = 32,
        wait: float = 5.0,
        expected: Callable[[], int] = lambda: 0,
        report: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._encoder, self._thread = encoder, thread
        self._size, self._wait = size, wait / 1000
        self._expected, self._report = expected, report
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Images that no batch has taken yet."""
        return self._queue.qsize()

    async def embed(self, pixels: Pixels) -> FeatureMaps:
        """The feature maps of one image; to be cancelled by whoever does not want it any more."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        waiting = Waiting(pixels, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        return await waiting.maps

    async def close(self) -> None:
        """Stop; images that still wait get no answer."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [each for each in await self._gather() if not each.maps.done()]
            if not batch:
                continue
            start = loop.time()
            try:
                pixels = [each.pixels for each in batch]
                maps = await loop.run_in_executor(self._thread, self._encoder.embed, pixels)
            except Exception as error:  # every waiting request gets the error, and the next batch its chance
                for each in batch:
                    if not each.maps.done():
                        each.maps.set_exception(error)
                continue
            self._report(len(batch), loop.time() - start)
            for i, each in enumerate(batch):
                if not each.maps.done():
                    each.maps.set_result(maps[i])

    async def _gather(self) -> list[Waiting]:
        """What waits now, and what arrives within the waiting time, as long as more is expected."""
        loop = asyncio.get_running_loop()
        batch = [await self._queue.get()]
        end = loop.time() + self._wait
        while len(batch) < self._size:
            if not self._queue.empty():
                batch.append(self._queue.get_nowait())
                continue
            left = end - loop.time()
            if left <= 0 or not self._expected():
                break
            try:
                batch.append(await asyncio.wait_for(self._queue.get(), left))
            except TimeoutError:
                break
        return batch
