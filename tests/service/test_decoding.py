"""Decoding in processes of their own: the same pixels, and nothing that an image can take down."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from diml.data import NamedBytes, open_image, open_mask, original_of
from diml.errors import DimlError, ImageError
from diml.image_sizes import Wanted
from diml.service.decoding import Decoders, _image
from diml.service.decoding_worker import serve
from diml.service.problems import RequestError
from tests.fuzz.seeds import images
from tests.service.in_a_loop import run_async
from tests.service.stand_ins import ANSWER, IMPOSSIBLE, answering, deaf, eating, silent

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[2] / "sample"
WANTED = Wanted(50, 20)


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
    """The pixels of an image and its original, of a mask for decoding 0, or the sentence of its error."""
    try:
        image = open_image(source, decoding, wanted=WANTED) if decoding else open_mask(source)
    except DimlError as error:
        return str(error)
    return image.mode, image.size, image.tobytes(), original_of(image)


def test_pixels_are_those_of_the_library():
    files = {file.name: file.read_bytes() for file in sorted(SAMPLE.glob("photos/*.*"))}
    files |= {file.name: file.read_bytes() for file in sorted(SAMPLE.glob("emoji/*/twemoji.png"))[:5]}
    files |= images()
    large = io.BytesIO()
    Image.linear_gradient("L").resize((403, 302)).save(large, "JPEG")
    files["large.jpg"] = large.getvalue()

    async def use(decoders):
        found = {}
        for name, data in files.items():
            for decoding in (1, 2, 3):
                try:
                    image = await decoders.decode(data, name, decoding, wanted=WANTED)
                    found[name, decoding] = (image.mode, image.size, image.tobytes(), original_of(image))
                except ImageError as error:
                    found[name, decoding] = str(error)
            try:
                mask = await decoders.decode_mask(data, name)
                found[name, 0] = (mask.mode, mask.size, mask.tobytes(), original_of(mask))
            except ImageError as error:
                found[name, 0] = str(error)
        return found

    found = run(use)
    for (name, decoding), value in found.items():
        assert value == outcome(NamedBytes(files[name], name), decoding), (name, decoding)
    assert sum(isinstance(value, tuple) for value in found.values()) > len(files)
    assert [found["large.jpg", decoding][1] for decoding in (2, 3)] == [(403, 302), (101, 76)]
    assert found["large.jpg", 3][3].size == (403, 302)


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


@pytest.mark.parametrize("name", ["slow", "half"])
def test_images_that_hang_are_given_up_one_after_the_other(name):
    async def use(decoders):
        for _ in range(2):  # the first image of a new process has no more time than others
            start = time.monotonic()
            with pytest.raises(ImageError, match=rf"{name}: could not be decoded within 0.5 s; save it as a plain"):
                await decoders.decode(b"x", name)
            assert time.monotonic() - start < 10
        assert (await decoders.decode(b"x", "fast")).tobytes() == b"abc"

    run(use, processes=1, seconds=0.5, target=answering)


def test_more_than_a_pipe_holds_is_sent_within_time_too():
    async def use(decoders):
        with pytest.raises(ImageError, match=r"large.png: could not be decoded within 0.5 s"):
            await decoders.decode(bytes(1 << 22), "large.png")

    run(use, processes=1, seconds=0.5, target=deaf)


def test_a_process_that_dies_or_says_something_else_is_replaced():
    async def use(decoders):
        for name in ("dying", "dying", "foreign", "impossible0", "impossible1"):
            with pytest.raises(ImageError, match=rf"{name}: its decoder failed, or it does not fit into memory"):
                await decoders.decode(b"x", name)
        assert (await decoders.decode(b"x", "fast")).tobytes() == b"abc"

    run(use, processes=1, target=answering)


@pytest.mark.parametrize("wrong", IMPOSSIBLE, ids=str)
def test_what_a_decoder_says_is_checked(wrong):
    """The errors are those that replace a process, see above."""
    assert _image(ANSWER, b"abc").tobytes() == b"abc"
    with pytest.raises((KeyError, TypeError, ValueError)):
        _image(json.loads(json.dumps(ANSWER | wrong)), b"abc")


def test_a_process_that_is_killed_in_mid_image_is_replaced():
    async def use(decoders):
        await decoders.decode(b"x", "fast")
        task = asyncio.create_task(decoders.decode(b"x", "slow"))
        await asyncio.sleep(0.3)
        (worker,) = decoders._all
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(ImageError, match="slow: its decoder failed"):
            await task
        assert (await decoders.decode(b"x", "fast")).tobytes() == b"abc"

    run(use, processes=1, target=answering)


def test_an_image_that_does_not_fit_into_memory():
    image = io.BytesIO()
    Image.new("RGB", (8000, 5000)).save(image, "PNG")

    async def use(decoders):
        with pytest.raises(ImageError, match=r"large.png: does not fit into memory; make it smaller first"):
            await decoders.decode(image.getvalue(), "large.png")

    run(use, processes=1, target=eating)


def test_a_process_that_does_not_start_is_a_sentence(monkeypatch):
    monkeypatch.setattr("diml.service.decoding.STARTING", 0.5)

    async def use(decoders):
        with pytest.raises(RequestError, match="an image decoder does not start, see the log") as caught:
            await decoders.decode(small(), "a.png")
        assert caught.value.status == 503

    run(use, processes=1, target=silent)


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


PARENT = """
import asyncio
from diml.service.decoding import Decoders
from tests.service.stand_ins import answering

async def main():
    decoders = Decoders(1, 60.0, 1000, answering)
    decoders.start()
    await decoders.decode(b"x", "fast")
    print(decoders._all[0]._process.pid, flush=True)
    await decoders.decode(b"x", "slow")

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process that its parent has ended")
def test_a_process_ends_with_its_parent_also_in_mid_image(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        worker = int(parent.stdout.readline())
        time.sleep(0.5)  # it has taken the slow image
        parent.kill()
    end = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
