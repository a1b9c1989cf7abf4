"""A client of `diml serve`: searches and explanations over HTTP, as the types that the library gives."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from safetensors.torch import load

from diml.errors import DimlError, StoreError, UsageError
from diml.explanation import Contrast, NamedImage, PairExplanation, explain_contrast, explain_pair
from diml.feature_maps import FeatureMaps, Geometry
from diml.files import AnyPath, user_path
from diml.matching import RegionLike, as_regions
from diml.search import IndexStats, SearchResult
from diml.search.items import is_id
from diml.search.transfer import MEDIA_TYPE, metadata_of, unpack_images, unpack_result

__all__ = ["Client", "ServiceError"]

# Seconds that a request waits in all while the service is full.
PATIENCE = 60.0
Files = list[tuple[str, tuple[str, bytes]]]


class ServiceError(DimlError):
    """The service cannot be reached, refuses to answer, or failed."""


class Client:
    """Asks a service. It may be used as a context manager, which closes its connections.

    An image is given by the path of a file, which is sent, or by the id of an image of the index.

    Args:
        url: of the service, such as `http://127.0.0.1:8000`.
        token: where the service needs one; sent in a header, and to no other address.
        index: name of the index; not needed where the service has one.
        timeout: seconds that an answer may take.
        transport: of httpx, to reach an application without a network.

    Raises:
        UsageError: the address is none.

    >>> Client("photos.example")
    Traceback (most recent call last):
    diml.errors.UsageError: expected the address of a service such as http://127.0.0.1:8000, got 'photos.example'
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        index: str | None = None,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"expected the address of a service such as http://127.0.0.1:8000, got {url!r}")
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self.url, self._index = url.rstrip("/"), index
        self._client = httpx.Client(headers=headers, timeout=timeout, transport=transport, follow_redirects=False)

    def search(
        self,
        image: AnyPath,
        k: int = 10,
        shortlist: int | str = 100,
        where: str | None = None,
        *,
        index: str | None = None,
        regions: Sequence[RegionLike] = (),
        mask: AnyPath | None = None,
    ) -> SearchResult:
        """The k images most similar to an image, as `Index.search` gives them: with their matches.

        The matches are solved here, of the feature maps that the service sends, and agree with what it states to 1e-6.
        So `diml.draw_hits(result, "hits.html")` and `result[0].match.regions()` work without a model.

        Raises:
            UsageError: what the service refuses.
            StoreError: the index cannot be used now.
            ServiceError: the service cannot be reached, is full for long, or failed.
        """
        files, data = self._image("image", image, "id")
        files += [] if mask is None else [_file("mask", mask)]
        data |= {"k": str(k), "shortlist": str(shortlist), "region": _regions(regions)}
        if where is not None:
            data["where"] = where
        path = f"/v1/indexes/{self._name(index)}/search"
        answer = self._ask("POST", path, files=files, data=data, accept=MEDIA_TYPE)
        return unpack_result(answer.content, None if is_id(os.fspath(image)) else user_path(image))

    def explain(
        self, a: AnyPath, b: AnyPath, *, index: str | None = None, regions: Sequence[RegionLike] = ()
    ) -> PairExplanation:
        """Why two images are similar, as `diml.explain_pair` says it; raises what `search` raises."""
        model, named = self._images({"a": a, "b": b}, index)
        return explain_pair(model, *named, regions=regions)

    def contrast(
        self, query: AnyPath, a: AnyPath, b: AnyPath, *, index: str | None = None, regions: Sequence[RegionLike] = ()
    ) -> Contrast:
        """Why a query is more similar to a than to b, as `diml.explain_contrast` says it; raises what `search` does."""
        model, named = self._images({"a": query, "b": a, "rather_than": b}, index)
        return explain_contrast(model, *named, regions=regions)

    def embed(self, images: Sequence[AnyPath], *, index: str | None = None) -> FeatureMaps:
        """The feature maps of image files; raises what `search` raises."""
        files = [_file("image", image) for image in images]
        data = {"index": self._name(index)}
        answer = self._ask("POST", "/v1/embed", files=files, data=data, accept=MEDIA_TYPE)
        tensors, metadata = load(answer.content), metadata_of(answer.content)
        geometry = Geometry(tensors["size"], tensors["visible"])
        pooled = tensors["pooled"] if json.loads(metadata["own_pooled"]) else None
        h, w = json.loads(metadata["grid"])
        return FeatureMaps(tensors["local"], (h, w), pooled, geometry, tensors.get("weights"))

    def info(self, index: str | None = None) -> IndexStats:
        """What is in an index; raises what `search` raises."""
        found = self._ask("GET", f"/v1/indexes/{self._name(index)}").json()
        tuples = {name: tuple(found[name]) for name in ("grid", "columns", "backends") if name in found}
        return IndexStats(**{**found, **tuples})

    def indexes(self) -> list[dict[str, Any]]:
        """The indices of the service: `name, status, reason, images, labels, grid` of each."""
        found: list[dict[str, Any]] = self._ask("GET", "/v1/indexes").json()["indexes"]
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _name(self, index: str | None) -> str:
        if index is None and self._index is None:
            names = [each["name"] for each in self.indexes()]
            if len(names) != 1:
                raise UsageError(f"expected the name of an index, one of {', '.join(names)}, got none; give index=")
            self._index = names[0]
        return index or self._index or ""

    def _images(self, images: dict[str, AnyPath], index: str | None) -> tuple[Any, list[NamedImage]]:
        """A model that compares feature maps, and the images as their maps, with files to draw."""
        files: Files = []
        data: dict[str, Any] = {"index": self._name(index)}
        for name, image in images.items():
            sent, fields = self._image(name, image, f"{name}_id")
            files += sent
            data |= fields
        answer = self._ask("POST", "/v1/explain", files=files, data=data, accept=MEDIA_TYPE)
        maps, names, model = unpack_images(answer.content)
        named = []
        for image, own, name in zip(images.values(), maps, names, strict=True):
            shown = None if is_id(os.fspath(image)) else NamedImage.of(user_path(image), name).picture
            named.append(NamedImage(name, Path(name).name, own, shown=shown))
        return model, named

    def _image(self, name: str, image: AnyPath, id_name: str) -> tuple[Files, dict[str, Any]]:
        text = os.fspath(image)
        return ([], {id_name: text}) if is_id(text) else ([_file(name, image)], {})

    def _ask(self, method: str, path: str, accept: str = "application/json", **body: Any) -> httpx.Response:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self._client.request(method, self.url + path, headers={"accept": accept}, **body)
            except httpx.TimeoutException as error:
                raise ServiceError(
                    f"{self.url} did not answer in time; ask for less, or give a longer timeout"
                ) from error
            except httpx.HTTPError as error:
                raise ServiceError(
                    f"{self.url} cannot be reached ({error or type(error).__name__}); is `diml serve` running there?"
                ) from error
            wait = _seconds(answer)
            if answer.status_code != 429 or time.monotonic() + wait > end:
                break
            time.sleep(wait)
        if answer.is_success:
            return answer
        raise _error(answer)


def _file(name: str, image: AnyPath) -> tuple[str, tuple[str, bytes]]:
    path = user_path(image)
    try:
        return name, (path.name, path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def _regions(regions: Sequence[RegionLike]) -> list[str]:
    return [",".join(f"{edge!r}" for edge in box) + f":{weight!r}" for box, weight in as_regions(regions)]


def _seconds(answer: httpx.Response) -> float:
    given = answer.headers.get("retry-after", "1")
    return min(float(given), 60.0) if given.isdigit() and math.isfinite(float(given)) else 1.0


def _error(answer: httpx.Response) -> DimlError:
    """The library's error with the sentence of the service."""
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"{answer.url.host} answered {answer.status_code} without a reason; is it a diml service?"
    if answer.status_code in (400, 404, 406, 413, 422):
        return UsageError(detail)
    return StoreError(detail) if answer.status_code == 503 else ServiceError(detail)
