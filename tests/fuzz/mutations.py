"""Mutations of files and texts: the same seed gives the same bytes."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence

# Numbers on which length and size fields tend to break.
ODD_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four byte-level mutations; of a PNG or JPEG also mutations of its structure with valid checksums."""
    for _ in range(rng.randint(1, 4)):
        structural = _structural(data)
        data = rng.choice([*_BYTE_LEVEL, *structural])(data, rng)
    return data


def _structural(data: bytes):
    if data.startswith(PNG_SIGNATURE):
        return [png_chunks] * 4
    if data.startswith(b"\xff\xd8"):
        return [jpeg_segments] * 3
    return []


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def remove_piece(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.randint(1, 64) :]


def repeat_piece(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.randint(1, 64)]
    return data[:start] + piece * rng.randint(2, 20) + data[start:]


def insert_noise(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.randint(1, 64)) + data[start:]


def set_number(data: bytes, rng: random.Random) -> bytes:
    """Overwrite 1, 2 or 4 bytes with a number on which length fields tend to break, mostly near the start."""
    width, order = rng.choice([1, 2, 4]), rng.choice("<>")
    if len(data) <= width:
        return data
    at = rng.randrange(min(len(data) - width, rng.choice([64, 512, len(data)])))
    number = rng.choice(ODD_NUMBERS) & ((1 << 8 * width) - 1)
    return data[:at] + struct.pack(order + {1: "B", 2: "H", 4: "I"}[width], number) + data[at + width :]


_BYTE_LEVEL = (flip_bits, truncate, remove_piece, repeat_piece, insert_noise, set_number)


def png_chunks(data: bytes, rng: random.Random) -> bytes:
    """Drop, repeat, swap or damage chunks, with checksums that fit, so that the decoder gets past them."""
    chunks = _png_chunks(data)
    if not chunks:
        return data
    at = rng.randrange(len(chunks))
    kind, body = chunks[at]
    action = rng.choice(["drop", "repeat", "swap", "body", "kind", "add"])
    if action == "drop":
        del chunks[at]
    elif action == "repeat":
        chunks.insert(at, chunks[at])
    elif action == "swap":
        other = rng.randrange(len(chunks))
        chunks[at], chunks[other] = chunks[other], chunks[at]
    elif action == "body":
        chunks[at] = (kind, set_number(flip_bits(body, rng), rng))
    elif action == "kind":
        chunks[at] = (
            rng.choice([b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"sBIT"]),
            body,
        )
    else:
        chunks.insert(at, (rng.choice([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"sBIT"]), rng.randbytes(40)))
    joined = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return PNG_SIGNATURE + joined


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def jpeg_segments(data: bytes, rng: random.Random) -> bytes:
    """Drop, repeat or damage one of the segments before the scan."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at : at + 2 + length])
        at += 2 + length
    if not segments:
        return data
    k = rng.randrange(len(segments))
    action = rng.choice(["drop", "repeat", "body"])
    if action == "drop":
        del segments[k]
    elif action == "repeat":
        segments.insert(k, segments[k])
    else:
        segments[k] = segments[k][:4] + set_number(flip_bits(segments[k][4:], rng), rng)
    return data[:2] + b"".join(segments) + data[at:]


def text_pieces(pieces: Sequence[str], rng: random.Random, most: int = 8) -> str:
    """A sequence of some of the pieces, with one or two characters replaced now and then."""
    text = "".join(rng.choice(pieces) for _ in range(rng.randint(1, most)))
    if text and rng.random() < 0.3:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice("'\"`;()[]{}$?:%\\\n\t\x01é\u202e😀") + text[at + 1 :]
    return text
