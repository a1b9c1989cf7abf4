"""`GET /v1/indexes/{name}/images...`: the images of an index, their thumbnails and their files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from diml.errors import UsageError
from diml.search import Entry, Index
from diml.service.answering import Answering
from diml.service.documents import document
from diml.service.examples import ENTRY, IMAGES, files, shown
from diml.service.parameters import condition
from diml.service.problems import RequestError

T = TypeVar("T")
ID = Annotated[str, InPath(pattern="^[0-9a-f]{16}$", examples=["c20dca593997b815"])]
FILE = files("application/octet-stream")
# Kinds of files that a browser shows and that cannot run anything in it.
SHOWN = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp"}


def image_routes(answering: Answering) -> APIRouter:
    """The routes about single images."""
    router = APIRouter(prefix="/v1/indexes/{name}/images", tags=["images"])

    @router.get("", summary="The images, ordered by path", responses=shown(IMAGES))
    async def images(
        name: str,
        where: str | None = None,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> Response:
        """Some of the images, or of those that meet a condition."""
        async with answering.using(name) as used:
            met = condition(answering.settings, used.index, where)
            entries = await answering.run(lambda: used.index.entries(met, offset, limit))
            total = await answering.run(lambda: used.index.count(met))
            return document({"total": total, "images": [entry.to_dict() for entry in entries]})

    @router.get("/{id}", summary="One image", responses=shown(ENTRY))
    async def image(name: str, id: ID) -> Response:
        """What is stored about an image."""
        async with answering.using(name) as used:
            return document((await answering.run(lambda: entry_of(used.index, id))).to_dict())

    @router.get("/{id}/thumbnail", summary="A small picture", response_class=Response, responses=files("image/jpeg"))
    async def thumbnail(name: str, id: ID) -> Response:
        """A JPEG of at most 160 pixels."""
        async with answering.using(name) as used:
            jpeg = await answering.run(lambda: _found(id, used.index.thumbnail))
        if not jpeg:
            raise RequestError(404, "this image has no thumbnail: its features were added without an image file")
        return Response(jpeg, headers={"cache-control": "private, max-age=60"}, media_type="image/jpeg")

    @router.get("/{id}/original", summary="The file", response_class=Response, responses=FILE)
    async def original(name: str, id: ID) -> Response:
        """The file itself, where the service shows originals and the collection's folder is there."""
        if not answering.settings.originals:
            raise RequestError(403, "this service does not show original files; start it with --originals")
        async with answering.using(name) as used:
            file = await answering.run(lambda: original_file(used.index, entry_of(used.index, id)))
        kind = SHOWN.get(file.suffix.lower(), "application/octet-stream")
        disposition = "inline" if file.suffix.lower() in SHOWN else "attachment"
        return FileResponse(file, media_type=kind, filename=file.name, content_disposition_type=disposition)

    return router


def entry_of(index: Index, id: str) -> Entry:
    """An image by its id.

    Raises:
        RequestError: 404, it is not in the index.
    """
    return _found(id, index.entry)


def _found(id: str, look: Callable[[str], T]) -> T:
    try:
        return look(id)
    except UsageError as error:
        raise no_image(id) from error


def no_image(id: str) -> RequestError:
    return RequestError(404, f"there is no image {id} in this index; list the images for an id")


def original_file(index: Index, entry: Entry) -> Path:
    """The file of an image, below the folder of its collection.

    Raises:
        RequestError: 404, it is not there, or a link leads out of the folder; 403, it may not be read.
    """
    missing = RequestError(404, f"the file {entry.path} is not in the folder of its collection; use the thumbnail")
    collection = index.collection_of(entry.id)
    if collection is None:
        raise missing
    folder = collection.resolve()
    file = (folder / entry.path).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise missing
    if not os.access(file, os.R_OK):
        raise RequestError(403, f"the service may not read the file {entry.path}; use the thumbnail")
    return file
