"""The settings of the service: arguments of `diml serve`, or variables `DIML_SERVE_...` of the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from diml.errors import UsageError
from diml.search.places import Place, index_place
from diml.service.sharded_names import sharded

PREFIX = "DIML_SERVE_"


class ServiceSettings(BaseSettings):
    """What is served, and within which limits.

    Every field is also read from the environment: `DIML_SERVE_PORT=9000`. Several indices, hosts or origins are
    separated by commas there.

    Attributes:
        indexes: folders of indices or their addresses on an object store, with different names.
        shards: several indices under one name, each as `NAME=INDEX,INDEX,...`; separated by semicolons in the
            environment.
        host, port: where to listen; port 0 takes a free one.
        token_file: file with the token that requests must carry; needed for another host than this machine, and for
            routes that change an index.
        writable: images may be added and removed.
        originals: the files of the collections may be seen.
        allow_hosts: further names under which the service is reached, as its Host header states them.
        allow_origins: web sites whose pages may use the service.
        device: cpu, cuda, cuda:1, ...; auto uses a GPU if there is one.
        backend: what embeds images: torch, openvino, onnx, torch-bf16, openvino-bf16; auto takes the fastest that is
            installed and exact.
        queue: requests in work or waiting; more are refused with 429.
        batch: images that are embedded together; 1 gives the same bits as the library by the same
            backend.
        batch_wait: milliseconds that an image waits for others to be embedded with.
        decoders: processes that decode images.
        decode_seconds: within which an image must be decoded.
        seconds: within which a request must be answered.
        upload_bytes: of the body of a request.
        pixels: of an image.
        parts: files and fields of a multipart body.
        k, shortlist, regions, filter_length: the largest that a request may ask for.
        shortlist_all: whether a request may ask to match every image of an index by parts.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    indexes: Annotated[tuple[Any, ...], NoDecode] = ()
    shards: Annotated[tuple[str, ...], NoDecode] = ()
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    token_file: Path | None = None
    writable: bool = False
    originals: bool = False
    allow_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    allow_origins: Annotated[tuple[str, ...], NoDecode] = ()
    device: str = "auto"
    backend: str = "auto"
    queue: int = Field(128, ge=1)
    batch: int = Field(4, ge=1)  # on two cores larger ones gain nothing, see docs/service.md
    batch_wait: float = Field(5, ge=0, le=5)
    decoders: int = Field(2, ge=1)
    decode_seconds: float = Field(10, gt=0)
    seconds: float = Field(60, gt=0)
    upload_bytes: int = Field(20_000_000, ge=1)
    pixels: int = Field(40_000_000, ge=1)
    parts: int = Field(100, ge=1)
    k: int = Field(1000, ge=1)
    shortlist: int = Field(10_000, ge=0)
    shortlist_all: bool = True
    regions: int = Field(16, ge=0)
    filter_length: int = Field(2000, ge=0)

    @field_validator("indexes", "allow_hosts", "allow_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [each for each in value.split(",") if each] if isinstance(value, str) else value

    @field_validator("shards", mode="before")
    @classmethod
    def _split_shards(cls, value: Any) -> Any:
        return [each for each in value.split(";") if each] if isinstance(value, str) else value

    @field_validator("indexes", mode="after")
    @classmethod
    def _places(cls, value: tuple[Any, ...]) -> tuple[Place, ...]:
        return tuple(index_place(each) for each in value)

    @classmethod
    def of(cls, **given: Any) -> ServiceSettings:
        """The settings that are given, and not None; the others from the environment, or else by default.

        Raises:
            UsageError: a value that is no such setting.

        >>> ServiceSettings.of(indexes=["photos.diml"], port=None).port
        8000
        >>> ServiceSettings.of(indexes=["photos.diml"], queue=0)
        Traceback (most recent call last):
        diml.errors.UsageError: queue: input should be greater than or equal to 1, got 0; ...
        """
        try:
            found = cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            source = f"{PREFIX}{name.upper()}" if name not in given or given[name] is None else name
            reason = first["msg"][0].lower() + first["msg"][1:]
            raise UsageError(f"{source}: {reason}, got {first['input']!r}; give another value") from None
        if not (found.indexes or found.shards):
            raise UsageError(f"expected at least one index to serve; name one, or set {PREFIX}INDEXES")
        return found

    @property
    def named(self) -> dict[str, tuple[Place, ...]]:
        """The indices by name: that of the folder, without `.diml`, or the one that is given to several.

        Raises:
            UsageError: two have the same name, or shards in another form.
        """
        named: dict[str, tuple[Place, ...]] = {}
        single = ((_last_name(path).removesuffix(".diml"), (path,)) for path in self.indexes)
        for name, paths in (*single, *map(sharded, self.shards)):
            if name in named:
                a, b = (", ".join(map(str, each)) for each in (named[name], paths))
                raise UsageError(f"two indices have the name {name}: {a} and {b}; rename one of them")
            named[name] = paths
        return named

    def limits(self) -> dict[str, Any]:
        """What clients should know before they ask."""
        names = ("upload_bytes", "pixels", "parts", "k", "shortlist", "shortlist_all", "regions", "filter_length")
        return {name: getattr(self, name) for name in names}


def _last_name(path: Place) -> str:
    return os.path.basename(os.path.abspath(path)) if isinstance(path, Path) else path.name
