"""Dynamic batching: images that wait are embedded together, each gets its own maps, given-up ones are left out."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from torch import nn

from diml.embedding import Encoder, Preprocessing
from diml.errors import ModelError
from diml.service.batching import Batcher
from tests.service.in_a_loop import run_async


class Gate(nn.Conv2d):
    """A backbone that waits before each pass, and fails where it is told to."""

    def __init__(self):
        super().__init__(3, 4, 8, 8)
        self.open = threading.Event()
        self.sizes = []
        self.broken = False

    def forward(self, pixels):
        assert self.open.wait(30)
        if self.broken:
            raise ModelError("broken")
        self.sizes.append(len(pixels))
        return super().forward(pixels)


@pytest.fixture
def gate():
    torch.manual_seed(0)
    return Gate()


def pixels(encoder, n):
    return [encoder.preprocessing(Image.new("RGB", (20, 20), (10 * i, 255 - 10 * i, 0))) for i in range(n)]


def run(gate, use, **settings):
    encoder = Encoder(gate, Preprocessing(size=(16, 16)), grid=(2, 2)).eval()

    async def main():
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(encoder, thread, **settings)
            try:
                return await use(batcher, encoder)
            finally:
                await batcher.close()

    return run_async(main())


def test_each_image_gets_its_own_maps(gate):
    async def use(batcher, encoder):
        images = pixels(encoder, 9)
        tasks = [asyncio.create_task(batcher.embed(each)) for each in images]
        await asyncio.sleep(0.05)
        gate.open.set()
        found = await asyncio.gather(*tasks)
        for each, maps in zip(images, found, strict=True):
            torch.testing.assert_close(maps.local, encoder.embed([each]).local, atol=1e-6, rtol=0)
        return batcher.waiting

    assert run(gate, use, size=4, wait=0) == 0
    assert gate.sizes[:3] == [4, 4, 1]  # all of them waited when the first batch was taken


def test_while_a_batch_runs_the_next_one_gathers(gate):
    async def use(batcher, encoder):
        images = pixels(encoder, 6)
        first = asyncio.create_task(batcher.embed(images[0]))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(batcher.embed(each)) for each in images[1:]]
        await asyncio.sleep(0.05)
        gate.open.set()
        await asyncio.gather(first, *rest)

    run(gate, use, size=32, wait=0)
    assert gate.sizes == [1, 5]


def test_an_image_waits_for_those_that_are_expected(gate):
    gate.open.set()
    expected = [1]

    async def use(batcher, encoder):
        images = pixels(encoder, 2)
        first = asyncio.create_task(batcher.embed(images[0]))
        await asyncio.sleep(0.01)
        expected[0] = 0
        await asyncio.gather(first, batcher.embed(images[1]))

    run(gate, use, wait=1000, expected=lambda: expected[0])
    assert gate.sizes == [2]


def test_an_image_that_nobody_wants_is_not_embedded(gate):
    async def use(batcher, encoder):
        images = pixels(encoder, 3)
        tasks = [asyncio.create_task(batcher.embed(each)) for each in images]
        await asyncio.sleep(0.05)
        tasks.append(asyncio.create_task(batcher.embed(images[0])))
        tasks.append(asyncio.create_task(batcher.embed(images[1])))
        await asyncio.sleep(0)
        tasks[3].cancel()
        gate.open.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(gate, use, size=3, wait=0)
    assert gate.sizes == [3, 1]


def test_an_error_reaches_all_of_its_batch_and_not_the_next(gate):
    gate.broken = True

    async def use(batcher, encoder):
        images = pixels(encoder, 2)
        tasks = [asyncio.create_task(batcher.embed(each)) for each in images]
        await asyncio.sleep(0.02)
        gate.open.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        gate.broken = False
        return found, await batcher.embed(images[0])

    found, maps = run(gate, use)
    assert [str(each) for each in found] == ["broken", "broken"]
    assert len(maps) == 1
