"""Decoding in processes of their own: the same pixels, and nothing that an image can take down."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from diml.data import NamedBytes, open_image, open_mask
from diml.errors import DimlError, ImageError
from diml.service.decoding import Decoders
from diml.service.decoding_worker import serve
from tests.fuzz.seeds import images
from tests.service.in_a_loop import run_async

SAMPLE = Path(__file__).parents[2] / "sample"


def hanging(pipe, max_pixels):
    """Decodes, but for files called slow."""
    import time

    while True:
        request = pipe.recv()
        if request[2] == "slow":
            time.sleep(60)
        pipe.send(("RGB", (1, 1), None))
        pipe.send_bytes(b"abc")


def dying(pipe, max_pixels):
    import os

    pipe.recv()
    os._exit(11)


def run(use, processes=2, seconds=20.0, max_pixels=40_000_000, target=serve):
    async def main():
        decoders = Decoders(processes, seconds, max_pixels, target)
        decoders.start()
        try:
            return await use(decoders)
        finally:
            decoders.close()

    return run_async(main())


def outcome(source, decoding):
    """The pixels of an image, of a mask for decoding 0, or the sentence of its error."""
    try:
        image = open_image(source, decoding) if decoding else open_mask(source)
    except DimlError as error:
        return str(error)
    return image.mode, image.size, image.tobytes()


@pytest.mark.slow
def test_pixels_are_those_of_the_library():
    files = {file.name: file.read_bytes() for file in sorted(SAMPLE.glob("photos/*.*"))}
    files |= {file.name: file.read_bytes() for file in sorted(SAMPLE.glob("emoji/*/twemoji.png"))[:5]}
    files |= images()

    async def use(decoders):
        found = {}
        for name, data in files.items():
            for decoding in (1, 2):
                try:
                    image = await decoders.decode(data, name, decoding)
                    found[name, decoding] = (image.mode, image.size, image.tobytes())
                except ImageError as error:
                    found[name, decoding] = str(error)
            try:
                mask = await decoders.decode_mask(data, name)
                found[name, 0] = (mask.mode, mask.size, mask.tobytes())
            except ImageError as error:
                found[name, 0] = str(error)
        return found

    found = run(use)
    for (name, decoding), value in found.items():
        assert value == outcome(NamedBytes(files[name], name), decoding), (name, decoding)
    assert sum(isinstance(value, tuple) for value in found.values()) > len(files)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(side):
    """A PNG of black pixels whose bytes are a thousandth of them."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side * 3)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_bombs_are_refused_before_they_are_decoded():
    declared = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    real = bomb(3000)
    assert len(real) < 100_000

    async def use(decoders):
        for name, data in (("declared.png", declared + chunk(b"IDAT", b"")), ("real.png", real)):
            with pytest.raises(ImageError, match=rf"^{name}: has .*more .*than the 1,000,000"):
                await decoders.decode(data, name)
        return await decoders.decode(small(), "small.png")

    assert run(use, max_pixels=1_000_000).size == (3, 2)


def small(colour="red"):
    file = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(file, "PNG")
    return file.getvalue()


def test_an_image_that_hangs_is_given_up_and_the_next_is_decoded(monkeypatch):
    monkeypatch.setattr("diml.service.decoding.STARTING", 5.0)

    async def use(decoders):
        await decoders.decode(b"x", "fast")  # the process has started
        start = time.monotonic()
        with pytest.raises(ImageError, match=r"slow: could not be decoded within 0.5 s; save it as a plain JPEG"):
            await decoders.decode(b"x", "slow")
        assert time.monotonic() - start < 5
        assert (await decoders.decode(b"x", "fast")).tobytes() == b"abc"

    run(use, processes=1, seconds=0.5, target=hanging)


def test_a_process_that_dies_is_replaced():
    async def use(decoders):
        for _ in range(2):
            with pytest.raises(ImageError, match=r"a.png: its decoder failed, or it does not fit into memory"):
                await decoders.decode(b"x", "a.png")

    run(use, processes=1, target=dying)


def test_a_process_that_is_killed_is_replaced():
    async def use(decoders):
        assert (await decoders.decode(small(), "a.png")).size == (3, 2)
        for worker in decoders._all:
            os.kill(worker._process.pid, signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert (await decoders.decode(small(), "a.png")).size == (3, 2)

    run(use, processes=1)


def test_each_request_gets_its_own_image():
    async def use(decoders):
        colours = [(i * 5, 255 - i * 5, i) for i in range(50)]
        wanted = [decoders.decode(small(colour), f"{i}.png") for i, colour in enumerate(colours)]
        wanted[7].close()
        wanted[7] = decoders.decode(b"broken", "7.png")
        found = await asyncio.gather(*wanted, return_exceptions=True)
        assert str(found.pop(7)).startswith("7.png: is not an image")
        del colours[7]
        assert [image.getpixel((0, 0)) for image in found] == colours

    run(use)


def test_a_request_that_is_given_up_does_not_answer_the_next():
    async def use(decoders):
        for i in range(10):
            task = asyncio.create_task(decoders.decode(small("blue"), "blue.png"))
            await asyncio.sleep(0.002 * i)
            task.cancel()
            assert (await decoders.decode(small("red"), "red.png")).getpixel((0, 0)) == (255, 0, 0)

    run(use, processes=1)
