"""Objects of stores: `s3://`, `gs://` and `az://`, with credentials and options from the environment."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, BinaryIO

from diml.data.located import CHANGED, ByteRange, Located, UnusableError
from diml.data.printable import printable
from diml.errors import DimlError, ImageError, UsageError, first_line

_URL = re.compile(r"(s3|gs|az)://([^/]+)/*(.*)", re.DOTALL)
# Objects that are listed in one request.
_PAGE = 1000
_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
_KEY = {"s3": "AWS_ACCESS_KEY_ID", "gs": "GOOGLE_APPLICATION_CREDENTIALS", "az": "AZURE_STORAGE_ACCOUNT_NAME"}
# Within which a whole object of any size must be read or written.
WHOLE = "1h"
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist")
# Bytes that are read of a tar or a Parquet file at once.
_BUFFER = 2**20


def is_url(place: object) -> bool:
    """Whether something is the address of an object store.

    >>> is_url("s3://bucket/photos"), is_url("photos"), is_url("https://example.org/a.jpg")
    (True, False, False)
    """
    return isinstance(place, str) and _URL.match(place) is not None


@dataclass(frozen=True)
class StoredObject:
    """An object of a store as it was when it was looked at; see `diml.data.located.Container`.

    Attributes:
        url: its address.
        size: in bytes.
        mtime_ns: when it was last written, to the second; the digits below are made of its entity tag, so that an
            object that is replaced within a second has another time.
        etag: its entity tag; empty where the store gives none.
    """

    url: str
    size: int
    mtime_ns: int
    etag: str

    @classmethod
    def at(cls, url: str) -> StoredObject:
        """The object as it is now.

        Raises:
            UnusableError: there is none, or it cannot be reached.
        """
        bucket, path = parts(url)
        with _explained(url):
            return cls._of(bucket, _obstore().head(_store(bucket), path))

    @classmethod
    def _of(cls, bucket: str, meta: Mapping[str, Any]) -> StoredObject:
        etag = meta["e_tag"] or ""
        below = int.from_bytes(hashlib.sha256(etag.encode()).digest()[:8], "big") % 10**9 if etag else 0
        time = int(meta["last_modified"].timestamp()) * 10**9 + below
        return cls(f"{bucket}/{meta['path']}", int(meta["size"]), time, etag)

    @property
    def name(self) -> str:
        return printable(self.url)

    @property
    def distant(self) -> bool:
        return True

    def read(self, offset: int, size: int) -> bytes:
        if size == 0:
            return b""
        bucket, path = parts(self.url)
        options: Any = {"range": (offset, offset + size), **({"if_match": self.etag} if self.etag else {})}
        with _explained(self.url):
            return bytes(_obstore().get(_store(bucket), path, options=options).bytes())

    def open(self) -> BinaryIO:
        return io.BufferedReader(_Ranges(self), _BUFFER)


def stored_image(url: str) -> Located:
    """The image at an address.

    Raises:
        ImageError: there is none, or the store cannot be read.
    """
    try:
        stored = StoredObject.at(url)
    except UnusableError as reason:
        raise ImageError(f"{printable(url)}: {reason}") from None
    return ByteRange(stored, 0, stored.size, "")


class _Ranges(io.RawIOBase):
    """An object as a file, of which what is asked for is read."""

    def __init__(self, stored: StoredObject) -> None:
        self._stored, self._at = stored, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stored.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._stored.size - self._at))
        data = self._stored.read(self._at, wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def listed(url: str) -> Iterator[StoredObject]:
    """The objects below a folder of a store, page by page.

    Raises:
        UnusableError: it cannot be listed.
    """
    bucket, folder = parts(url)
    with _explained(url):
        for page in _obstore().list(_store(bucket), folder.rstrip("/") or None, chunk_size=_PAGE):
            for meta in page:
                yield StoredObject._of(bucket, meta)


# What one state of an object has that no other has: the entity tag, and on Google's store its generation.
Version = Mapping[str, str]


def stored_object(url: str) -> StoredObject | None:
    """An object as it is now, without its content; None if there is no such object.

    Raises:
        UnusableError: the store cannot be read.
    """
    bucket, path = parts(url)
    with _explained(url):
        try:
            return StoredObject._of(bucket, _obstore().head(_store(bucket), path))
        except FileNotFoundError:  # says nothing about the bucket
            return None


def read_object(url: str) -> tuple[bytes, Version] | None:
    """An object, and the version of it that was read; None if there is no such object.

    Raises:
        UnusableError: there is no such bucket, or the store cannot be read.
    """
    bucket, path = parts(url)
    with _explained(url):
        try:
            found = _obstore().get(_store(bucket, WHOLE), path)
            return bytes(found.bytes()), _version(found.meta)
        except FileNotFoundError as error:
            if _NO_BUCKET.search(str(error)):
                raise
            return None


def write_object(url: str, data: bytes, *, over: Version | None) -> Version | None:
    """Write an object, if what is there now is this version; None stands for nothing.

    Returns:
        The version that was written; None if there was another, which stays.

    Raises:
        UnusableError: the store cannot be written.
    """
    bucket, path = parts(url)
    with _explained(url):
        try:
            mode: Any = "create" if over is None else dict(over)
            return _version(_obstore().put(_store(bucket, WHOLE), path, data, mode=mode, use_multipart=False))
        except Exception as error:
            if type(error).__name__ in ("AlreadyExistsError", "PreconditionError"):
                return None
            if isinstance(error, FileNotFoundError) and over is not None and not _NO_BUCKET.search(str(error)):
                return None
            raise


def delete_objects(urls: Sequence[str]) -> None:
    """Delete objects of one bucket, those that are there.

    Raises:
        UnusableError: the store cannot be written.
    """
    if not urls:
        return
    bucket = parts(urls[0])[0]
    with _explained(urls[0]), suppress(FileNotFoundError):
        _obstore().delete(_store(bucket), [parts(url)[1] for url in urls])


def _version(meta: Mapping[str, Any]) -> Version:
    return {name: meta[name] for name in ("e_tag", "version") if meta[name]}


def parts(url: str) -> tuple[str, str]:
    """The bucket, with its scheme, and the path in it.

    Raises:
        UsageError: it is no address of a store.

    >>> parts("s3://bucket/photos/a.jpg")
    ('s3://bucket', 'photos/a.jpg')
    """
    found = _URL.match(url)
    if found is None:
        raise UsageError(f"expected an address such as s3://bucket/photos, got {printable(url)}")
    return f"{found[1]}://{found[2]}", found[3]


def _obstore() -> Any:
    try:
        import obstore
    except ImportError:
        raise UsageError("object stores need the package obstore; install it with pip install 'diml[stores]'") from None
    return obstore


@lru_cache(maxsize=64)
def _store(bucket: str, timeout: str = "60s") -> Any:
    _obstore()
    from obstore.store import from_url

    # By default, a store that cannot be reached is tried for three minutes.
    retries: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}
    # Options that are given replace those of the environment, of which this one is needed for servers without TLS.
    plain = os.environ.get(_ALLOW_HTTP[bucket.partition(":")[0]], "").lower() in ("1", "true")
    client: Any = {"connect_timeout": "5s", "timeout": timeout, "allow_http": plain}
    return from_url(bucket, retry_config=retries, client_options=client)


class _explained:  # noqa: N801 - a context manager, which keeps no generator open in another thread
    """Turn what the store's client raises into an UnusableError: why it did not answer."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, DimlError | GeneratorExit) or not isinstance(error, Exception):
            return
        if type(error).__name__ == "PreconditionError":
            raise UnusableError(f"is an object that {CHANGED}") from None
        raise UnusableError(_reason(error, parts(self._url)[0])) from None


def _reason(error: Exception, bucket: str) -> str:
    text = str(error)
    name = type(error).__name__
    if _NO_BUCKET.search(text):
        return f"the bucket {bucket} does not exist; check the address"
    # Where the client asks for credentials last, on machines of a cloud.
    if "169.254.169.254" in text or "metadata.google" in text or "MissingAccount" in text:
        return (
            f"there are no credentials for {bucket} in the environment; set {_KEY[bucket.partition(':')[0]]} and more"
        )
    if isinstance(error, FileNotFoundError):
        return "there is no such object; check the address"
    if name in ("PermissionDeniedError", "UnauthenticatedError") or re.search(r"\b(401|403)\b|AccessDenied", text):
        return f"access to {bucket} is denied; check the credentials in the environment"
    if re.search(r"error sending request|connect|timed? ?out|dns", text, re.IGNORECASE):
        return "the store cannot be reached; check the network and the endpoint in the environment"
    return f"cannot be read ({printable(first_line(error))}); check the address and the options in the environment"
