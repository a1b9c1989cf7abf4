"""Images in tars, as WebDataset lays them out: the members of a key, 12.jpg, 12.cls and 12.json, are one sample."""

from __future__ import annotations

import json
import posixpath
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from diml.data.formats import ENDINGS
from diml.data.gathered import LABEL, Gathered, member_path
from diml.data.located import ByteRange, Container
from diml.data.printable import printable
from diml.data.table_formats import as_text
from diml.errors import DatasetError

# Members that say something of the images of their key.
LABELS, TEXTS, VALUES = ".cls", ".txt", ".json"
_SIDECARS = frozenset({LABELS, TEXTS, VALUES})
# Bytes of such a member, and of a header with a long name.
_MOST = 2**20
_BLOCK = 512
_COMPRESSED = (
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ\x00", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
)


@dataclass(slots=True)
class _Sample:
    """What the members of a key say: the images among them, by their place, and their values."""

    images: list[tuple[str, int, int]] = field(default_factory=list)
    values: dict[str, str | None] = field(default_factory=dict)


def gather_tar(container: Container, path: str, into: Gathered) -> None:
    """Add the images of a tar; no image is read.

    Args:
        container: the tar, without compression.
        path: its own, relative to the collection: the paths of its images begin with it.
        into: receives the images, in the order of their keys in the tar, and what was left out.

    Raises:
        DatasetError: it is no tar, is compressed, or has two members of one name.
        OSError: it cannot be read.
    """
    with container.open() as file:
        _refuse_compressed(container, file.read(8))
        samples: dict[str, _Sample] = {}
        names: set[str] = set()
        nested: set[str] = set()
        for member in _members(container, file, path, into):
            name = _usable_name(member, path, into)
            if name is None:
                continue
            if name in names:
                raise DatasetError(
                    f"{container.name}: holds {printable(name)} twice, and only one of them can be meant; pack it again"
                )
            names.add(name)
            ending = posixpath.splitext(name)[1].lower()
            sample = samples.setdefault(_key(name), _Sample())
            if ending in ENDINGS:
                sample.images.append((name, member.offset_data, member.size))
            elif ending in _SIDECARS:
                _take(sample, ending, member, file, f"{path}/{name}", into, nested)
    for sample in samples.values():
        for name, offset, size in sample.images:
            into.add(f"{path}/{name}", ByteRange(container, offset, size, name), sample.values)
    if nested:
        listed = printable(", ".join(sorted(nested)))
        into.note(container.name, f"left out of its JSON, as they hold several values: {listed}")


def _key(name: str) -> str:
    """The key of a sample, which ends at the first dot of the file's name.

    >>> _key("cats/tom.left.jpg")
    'cats/tom'
    """
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"[0 if folder else 1 :]


def _refuse_compressed(container: Container, head: bytes) -> None:
    for start, kind, tool in _COMPRESSED:
        if head.startswith(start):
            raise DatasetError(
                f"{container.name}: is a tar compressed with {kind}, of which no single image can be read; unpack the "
                f"compression with {tool}, which leaves a tar"
            )


class _Headers:
    """A tar of which only headers are read: a damaged one may announce gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def _members(container: Container, file: BinaryIO, path: str, into: Gathered) -> Iterator[tarfile.TarInfo]:
    """The members one by one, without keeping them; damage ends them and is noted, unless it is at the start."""
    found, reason = 0, ""
    end = 0
    try:
        file.seek(0)
        headers: Any = _Headers(file)
        with tarfile.open(fileobj=headers, mode="r:") as opened:
            tar: Any = opened
            while (member := tar.next()) is not None:
                tar.members.clear()
                # Where the next member begins.
                end = tar.offset
                if member.isreg() and member.offset_data + member.size > container.size:
                    reason = f"is truncated within {printable(member.name)}"
                    break
                found += 1
                yield member
            else:
                reason = _why_ended(file, end, container.size)
    # On arbitrary bytes the reader raises errors of many types.
    except (tarfile.TarError, ValueError, OverflowError, EOFError, IndexError, KeyError, struct.error) as error:
        reason = f"is damaged ({printable(str(error)) or type(error).__name__})"
    if reason and not found:
        raise DatasetError(f"{container.name}: is no tar, or {reason}; pack it again")
    if reason:
        into.leave(path, f"{reason}, after {found:,} members, which are taken; copy or pack it again")


def _why_ended(file: BinaryIO, end: int, size: int) -> str:
    """Why a tar has no further member, where it is not at its end, which a block of zeros marks; empty where it is."""
    file.seek(end)
    block = file.read(_BLOCK)
    if block.strip(b"\0"):
        return f"is damaged at byte {end:,}"
    return "" if len(block) == _BLOCK else f"is truncated at byte {min(end, size):,}, where its end is not marked"


def _usable_name(member: tarfile.TarInfo, path: str, into: Gathered) -> str | None:
    """The name of a file in a tar; None for what is left out, with a reason where it is named like an image."""
    if member.isdir():
        return None
    name = member_path(member.name)
    wanted = posixpath.splitext(member.name)[1].lower() in ENDINGS
    reason = ""
    if name is None:
        reason = "leads out of the tar, or has a name that is not UTF-8; pack it under another name"
    elif any(part.startswith(".") for part in name.split("/")):
        return None
    elif member.islnk() or member.issym():
        reason = "is a link in the tar, which is not followed; pack the file itself"
    elif not member.isreg():
        reason = "is not a regular file (a pipe or device)"
    elif member.issparse():
        reason = "is a sparse file; pack it without holes"
    if reason and wanted:
        into.leave(f"{path}/{member.name}", reason)
    return None if reason else name


def _take(
    sample: _Sample,
    ending: str,
    member: tarfile.TarInfo,
    file: BinaryIO,
    path: str,
    into: Gathered,
    nested: set[str],
) -> None:
    """What a member beside an image says of it; a damaged one is noted, and the image stays."""
    if member.size > _MOST:
        return into.leave(path, f"has {member.size:,} bytes, more than the {_MOST:,} that are read beside an image")
    place = file.tell()
    file.seek(member.offset_data)
    data = file.read(member.size)
    file.seek(place)
    try:
        text = data.decode("utf-8-sig").strip()
        if ending == VALUES:
            _values(sample, json.loads(text), nested)
        elif ending == LABELS:
            sample.values[LABEL] = text or None
        else:
            sample.values[ending[1:]] = text or None
    except UnicodeDecodeError:
        into.leave(path, "is not UTF-8 text, so what it says of the image is left out")
    except (ValueError, RecursionError):
        into.leave(path, "is not an object of JSON, so what it says of the image is left out")
    return None


def _values(sample: _Sample, document: Any, nested: set[str]) -> None:
    if not isinstance(document, dict):
        raise ValueError
    for name, value in document.items():
        if isinstance(value, dict | list):
            nested.add(name)
        elif plain := _unicode(name.strip()):
            # A .cls and a .txt are files of their own, and count more than a copy in the JSON.
            text = as_text(value)
            sample.values.setdefault(plain, None if text is None else _unicode(text))


def _unicode(text: str) -> str:
    """Without the halves of characters that JSON can state and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()
