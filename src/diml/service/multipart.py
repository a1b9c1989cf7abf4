"""Routes that take forms with files, within the limits of the service."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Request, Response, UploadFile
from fastapi.routing import APIRoute
from pydantic import WithJsonSchema
from starlette.exceptions import HTTPException

from diml.errors import UsageError
from diml.service.problems import RequestError

# An uploaded file. Where it may be left out, its description is the same: programs that read it know no other form of a
# file, and send text instead.
_FILE = WithJsonSchema({"type": "string", "format": "binary"})
RequiredFile = Annotated[UploadFile, _FILE]
OptionalFile = Annotated[UploadFile | None, _FILE]
# Bytes of a field that is no file: a condition, say.
FIELD = 64 << 10


def form_route(parts: int) -> type[APIRoute]:
    """A class of routes whose forms have at most `parts` files and fields."""

    class FormRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def limited(request: Request) -> Response:
                if "multipart/form-data" in request.headers.get("content-type", ""):
                    try:  # the handler gets the same form again
                        await request.form(max_files=parts, max_fields=parts, max_part_size=FIELD)
                    except HTTPException as error:
                        raise RequestError(400, f"the form cannot be read: {error.detail}") from error
                    except OSError as error:
                        raise not_kept(error) from error
                try:
                    return await handler(request)
                finally:
                    await request.close()

            return limited

    return FormRoute


def not_kept(error: OSError) -> RequestError:
    """The answer where an upload cannot be written to the temporary folder: its disk is full, or read-only."""
    return RequestError(
        507, f"the upload cannot be kept here ({error.strerror or error}); free some space for temporary files"
    )


async def content(upload: UploadFile, name: str) -> tuple[bytes, str]:
    """The bytes of a file, and its name without folders.

    Raises:
        UsageError: it has no content.
    """
    data = await upload.read()
    shown = (upload.filename or name).replace("\\", "/").rpartition("/")[2].replace("\0", "")[:255] or name
    if not data:
        raise UsageError(f"{shown}: is empty (0 bytes); expected an image file")
    return data, shown
