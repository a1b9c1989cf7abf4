"""Object stores: addresses such as `s3://bucket/key`, and the few operations that this program needs of a store.

Options come from the environment, under the names that LanceDB reads too: `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
`GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME` and so on; see docs/scale.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from diml.errors import StoreError, UsageError

SCHEMES = ("s3", "gs", "az")
# For each attempt: the connection, and each wait for more bytes. A whole object may take long.
CONNECT, SILENCE, WHOLE = timedelta(seconds=5), timedelta(seconds=30), timedelta(hours=1)
RETRIES, RETRY_TIME = 4, timedelta(minutes=1)
_URL = re.compile(r"[A-Za-z][\w+.-]+://")

T = TypeVar("T")


@dataclass(frozen=True)
class ObjectUrl:
    """The address of an object, or of all objects whose keys begin with `key/`.

    It is path-like, so that it may be given wherever an address as text may be.

    Attributes:
        scheme: s3, gs or az.
        bucket: its name; on Azure the container.
        key: without a slash at its ends; empty for the whole bucket.

    >>> url = ObjectUrl("s3", "photos", "2026/all.diml")
    >>> str(url), url.name, str(url / "manifest.json")
    ('s3://photos/2026/all.diml', 'all.diml', 's3://photos/2026/all.diml/manifest.json')
    """

    scheme: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    def __fspath__(self) -> str:
        return str(self)

    def __truediv__(self, name: str) -> ObjectUrl:
        return ObjectUrl(self.scheme, self.bucket, f"{self.key}/{name}".strip("/"))

    @property
    def name(self) -> str:
        """The last part of the key, of a whole bucket its name."""
        return self.key.rpartition("/")[2] or self.bucket


def is_object_url(path: object) -> bool:
    """Whether this is the address of an object in a store that is known here.

    >>> is_object_url("s3://bucket/a.png"), is_object_url("photos/a.png"), is_object_url("https://a.org/b.png")
    (True, False, False)
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    return isinstance(text, str) and text.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def parse_object_url(path: str | os.PathLike[str]) -> ObjectUrl:
    """The address, in its parts; a slash at the end is left out.

    Raises:
        UsageError: another scheme, no bucket, or a key that not every store takes.

    >>> parse_object_url("s3://bucket/photos/cat.jpg")
    ObjectUrl(scheme='s3', bucket='bucket', key='photos/cat.jpg')
    >>> parse_object_url("https://example.org/cat.jpg")
    Traceback (most recent call last):
    diml.errors.UsageError: expected an address that begins with s3://, gs:// or az://, got https://example.org/cat.jpg
    """
    text = os.fspath(path)
    scheme, _, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme.lower() not in SCHEMES or not _URL.match(text):
        raise UsageError(f"expected an address that begins with s3://, gs:// or az://, got {text}")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", bucket):
        raise UsageError(f"expected the name of a bucket after {scheme}://, as in s3://bucket/photos, got {text!r}")
    key = key.rstrip("/")
    if any(part in ("", ".", "..") for part in key.split("/") if key) or re.search(r"[\x00-\x1f\x7f\\]", key):
        raise UsageError(
            f"expected a key without empty parts, . and .., backslashes and control characters, got {text!r}"
        )
    return ObjectUrl(scheme.lower(), bucket, key)


class UnreachableError(StoreError):
    """A store does not answer, whatever it is asked for."""


class Stored(NamedTuple):
    """An object of a store.

    Attributes:
        key: in its bucket.
        size: in bytes.
        modified: when it was written, by the clock of the store.
        e_tag, version: by which `ObjectStore.replace` knows that it is still the same; stores have one or both.
    """

    key: str
    size: int
    modified: datetime
    e_tag: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class ObjectStore:
    """A bucket. Every method raises StoreError, in one sentence, if the store refuses or cannot be reached.

    Attributes:
        bucket: its address.
    """

    bucket: ObjectUrl
    _store: Any = field(repr=False, compare=False)

    def read(self, key: str) -> bytes | None:
        """A whole object; None if there is none."""
        found = self.read_with_version(key)
        return None if found is None else found[0]

    def read_with_version(self, key: str) -> tuple[bytes, Stored] | None:
        """A whole object and what it was, for `replace`; None if there is none."""
        import obstore

        def ask() -> tuple[bytes, Stored]:
            got = obstore.get(self._store, key)
            return bytes(got.bytes()), _stored(got.meta)

        return self._unless_missing(key, ask)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """Several pieces of an object, each `(start, length)`; near ones are read at once. None if there is no object.

        Raises:
            StoreError: a piece beyond its end.
        """
        import obstore

        starts, lengths = [start for start, _ in ranges], [length for _, length in ranges]

        def ask() -> list[bytes]:
            pieces = [bytes(each) for each in obstore.get_ranges(self._store, key, starts=starts, lengths=lengths)]
            if [len(piece) for piece in pieces] != lengths:
                raise StoreError(f"{self.bucket / key} is shorter than expected; copy it again")
            return pieces

        return self._unless_missing(key, ask) if ranges else []

    def read_range(self, key: str, start: int, length: int, e_tag: str | None = None) -> bytes | None:
        """A piece of an object, which ends with the object; None if there is none, or with another `e_tag`.

        Args:
            key: of the object.
            start, length: of the piece, in bytes; at least one.
            e_tag: that the object must still have.
        """
        import obstore
        from obstore.exceptions import PreconditionError

        options: Any = {"range": (start, start + length), **({"if_match": e_tag} if e_tag else {})}

        def ask() -> bytes | None:
            try:
                return bytes(obstore.get(self._store, key, options=options).bytes())
            except PreconditionError:
                return None

        return self._unless_missing(key, ask)

    def head(self, key: str) -> Stored | None:
        """What is known of an object; None if there is none."""
        import obstore

        return self._unless_missing(key, lambda: _stored(obstore.head(self._store, key)))

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """The objects whose keys begin with `prefix/`, or all, in no order that every store keeps.

        Raises:
            StoreError: on iterating.
        """
        import obstore

        chunks = self._asking(prefix, lambda: iter(obstore.list(self._store, prefix or None, chunk_size=1000)))
        while (chunk := self._asking(prefix, lambda: next(chunks, None))) is not None:
            yield from map(_stored, chunk)

    def write(self, key: str, data: bytes) -> None:
        """Write an object as a whole, or replace it: a reader sees the former one or this one."""
        import obstore

        self._asking(key, lambda: obstore.put(self._store, key, data))

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; of several that try, one succeeds. Whether this one did."""
        return self._conditionally(key, data, "create")

    def replace(self, key: str, data: bytes, former: Stored) -> bool:
        """Write an object if it is still the former one; of several that try, one succeeds. Whether this one did."""
        mode = {"e_tag": former.e_tag, "version": former.version}
        return self._conditionally(key, data, {name: value for name, value in mode.items() if value is not None})

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there are left out."""
        import obstore

        for key in [] if not keys or self.bucket.scheme == "s3" else keys:
            # Other stores than S3 refuse to remove what is not there.
            self._unless_missing(key, lambda key=key: obstore.delete(self._store, key))
        if keys and self.bucket.scheme == "s3":
            self._asking(keys[0], lambda: obstore.delete(self._store, list(keys)))

    def _conditionally(self, key: str, data: bytes, mode: Any) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def ask() -> bool:
            try:
                obstore.put(self._store, key, data, mode=mode)
            except (AlreadyExistsError, PreconditionError, FileExistsError):
                return False
            except FileNotFoundError as error:
                # A replacement of what was removed meanwhile; a bucket that is not there is an error.
                if mode == "create" or "NoSuchBucket" in str(error):
                    raise
                return False
            return True

        return self._asking(key, ask)

    def _unless_missing(self, key: str, ask: Callable[[], T]) -> T | None:
        def tried() -> T | None:
            try:
                return ask()
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

        return self._asking(key, tried)

    def _asking(self, key: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except StoreError:
            raise
        except BaseException as error:
            if not _of_store(error):
                raise
            raise store_error(self.bucket / key, error) from error


def open_object_store(url: ObjectUrl) -> ObjectStore:
    """The bucket of an address; nothing is asked of the store yet.

    Raises:
        StoreError: the extra is missing, or an option of the environment cannot be used.
    """
    try:
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError as error:
        raise StoreError(
            f"{url.scheme}:// needs the package obstore; install it with: pip install 'diml[stores]'"
        ) from error
    # The options of a client that are given here replace those of the environment, of which this is the only one.
    prefix = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}[url.scheme]
    allow_http = os.environ.get(f"{prefix}_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on", "y", "t")
    _check_endpoint(prefix, allow_http)
    given: dict[str, Any] = {
        "client_options": {"timeout": WHOLE, "read_timeout": SILENCE, "connect_timeout": CONNECT},
        "retry_config": {"max_retries": RETRIES, "retry_timeout": RETRY_TIME},
    }
    given["client_options"] |= {"allow_http": True} if allow_http else {}
    bucket = ObjectUrl(url.scheme, url.bucket)
    try:
        if url.scheme == "s3":
            return ObjectStore(bucket, S3Store(url.bucket, **given))
        if url.scheme == "gs":
            return ObjectStore(bucket, GCSStore(url.bucket, **given))
        return ObjectStore(bucket, AzureStore(container_name=url.bucket, **given))
    except BaseException as error:
        if not _of_store(error):
            raise
        raise store_error(bucket, error) from error


def store_error(url: ObjectUrl, error: BaseException) -> StoreError:
    """What an error of a store means, in one sentence."""
    said = str(error)
    if "NoSuchBucket" in said or "ContainerNotFound" in said or "bucket does not exist" in said:
        return StoreError(f"there is no bucket {url.bucket} at {_place(url)}; make it, or give another name")
    if "169.254.169.254" in said or "MissingAccount" in said or "metadata.google.internal" in said:
        return StoreError(f"{url} cannot be read: no credentials were found; set {_CREDENTIALS[url.scheme]}")
    if re.search(r"PermissionDenied|Unauthenticated|\b40[13] |AccessDenied|InvalidAccessKey|SignatureDoes", said):
        return StoreError(
            f"{url}: access denied{_code(said)}; check the credentials in the environment and what they may do"
        )
    if re.search(r"kind: Connect|error sending request|connect error|dns error|builder error|timed out|Timeout", said):
        return UnreachableError(
            f"{url}: {_place(url)} cannot be reached ({_short(said)}); check the network and the endpoint in the "
            "environment"
        )
    return StoreError(f"{url}: the store failed ({_short(said)}{_code(said)}); try again")


_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def _place(url: ObjectUrl) -> str:
    """The host, as far as the environment says it."""
    given = [os.environ[name] for name in _ENDPOINTS if os.environ.get(name)] if url.scheme == "s3" else []
    hosts = {"s3": "Amazon S3", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}
    return given[0] if given else hosts[url.scheme]


def _check_endpoint(prefix: str, allow_http: bool) -> None:
    """The engine panics on an endpoint that is no URL, and says nothing of use about http."""
    for name in _ENDPOINTS if prefix == "AWS" else ():
        value = os.environ.get(name)
        if not value:
            continue
        if not re.match(r"https?://[^/\s]+", value):
            raise StoreError(f"expected {name} to begin with https:// and a host, got {value!r}")
        if value.startswith("http://") and not allow_http:
            raise StoreError(f"{name} is {value}, without encryption; set AWS_ALLOW_HTTP=true to allow it")


def _of_store(error: BaseException) -> bool:
    """Whether an exception comes from the engine; its panics have a type of their own, outside of Python's."""
    from obstore.exceptions import BaseError

    return isinstance(error, BaseError | OSError) or type(error).__name__ == "PanicException"


def _code(said: str) -> str:
    """The error code of the answer, such as AccessDenied."""
    found = re.search(r"<Code>(\w+)</Code>", said)
    return f" ({found.group(1)})" if found else ""


def _short(said: str) -> str:
    """The cause, without the address and how often it was tried."""
    line = said.splitlines()[0] if said else "no reason given"
    cause = re.search(r"dns error|Connection refused|timed out", said)
    return cause.group(0).lower() if cause else line.rpartition(" - ")[2].rpartition("error: ")[2][:120].strip(" .:")


def _stored(meta: Any) -> Stored:
    return Stored(meta["path"], meta["size"], meta["last_modified"], meta.get("e_tag"), meta.get("version"))
