"""`POST /v1/explain`: why two images are similar, or one rather than another, as a document, a picture or a page."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from diml.errors import UsageError
from diml.explanation import Contrast, PairExplanation, explain_contrast, explain_pair
from diml.search.stages import reporting, stage
from diml.search.transfer import MEDIA_TYPE, pack_images
from diml.service.answering import Answering, note_stage
from diml.service.documents import document
from diml.service.examples import EXPLANATION, shown
from diml.service.multipart import form_route
from diml.service.parameters import regions_of
from diml.service.problems import RequestError
from diml.service.queries import given_image, given_mask

JSON = "application/json"
# What an explanation is drawn as, with the ending of the file.
DRAWN = {"image/png": "png", "image/svg+xml": "svg", "text/html": "html"}
# A page states the policy of its script itself; opened from here it must not reach the service as the service's own.
OF_PAGES = {"content-security-policy": "sandbox allow-scripts; frame-ancestors 'none'", "cache-control": "no-store"}
# Explanations that hold images at their full size, at a time.
TOGETHER = 2
# The picture library holds its state for the whole process.
_drawing = threading.Lock()


def explain_routes(answering: Answering) -> APIRouter:
    """The route of explaining."""
    router = APIRouter(prefix="/v1", tags=["explain"], route_class=form_route(answering.settings.parts))
    binary = {"schema": {"type": "string", "format": "binary"}}
    described = shown(EXPLANATION)
    described[200]["content"].update(dict.fromkeys((*DRAWN, MEDIA_TYPE), binary))

    drawn_together = asyncio.Semaphore(TOGETHER)

    @router.post("/explain", summary="Why images are similar", responses=described)
    async def explain(
        request: Request,
        index: Annotated[str | None, Form(description="Name of the index; not needed where there is one.")] = None,
        a: Annotated[UploadFile | None, File(description="The first image, or the query.")] = None,
        a_id: Annotated[str | None, Form(description="The same, by its id in the index.")] = None,
        b: Annotated[UploadFile | None, File(description="The second image.")] = None,
        b_id: Annotated[str | None, Form(description="The same, by its id.")] = None,
        rather_than: Annotated[UploadFile | None, File(description="Why b rather than this image?")] = None,
        rather_than_id: Annotated[str | None, Form(description="The same, by its id.")] = None,
        region: Annotated[list[str], Form(description="Only this part of a: x0,y0,x1,y1 in pixels.")] = [],  # noqa: B006
        mask: Annotated[UploadFile | None, File(description="Only this part of a: an image of the same size.")] = None,
    ) -> Response:
        """The document of `diml explain --json`; by the header Accept a PNG, an SVG or, of two images, a page.

        With `Accept: application/safetensors` the feature maps of the images, as `diml.client` needs them.
        """
        kind = accepted(request.headers.get("accept", ""))
        served = answering.served(_only(answering, index))
        contrasted = rather_than is not None or bool(rather_than_id)
        if contrasted and kind == "text/html":
            raise RequestError(406, "there are pages of two images only; accept image/png, image/svg+xml or JSON")
        packed = MEDIA_TYPE in request.headers.get("accept", "")
        with answering.admission.admitted():

            async def answer() -> Response:
                # Pictures and masks are in memory at their full size until the end.
                async with drawn_together if kind != JSON or mask is not None else nullcontext():
                    return await unlimited()

            async def unlimited() -> Response:
                opened = await answering.opened(served)
                with answering.reading(served):
                    regions = regions_of(answering.settings, region)
                    sides = [(a, a_id, "a"), (b, b_id, "b")]
                    sides += [(rather_than, rather_than_id, "rather_than")] if contrasted else []
                    drawing = kind != JSON and not packed
                    given = [await given_image(answering, served, opened, *side, keep=drawing) for side in sides]
                    chosen = await given_mask(answering, mask)
                    if packed:
                        maps, names = [each.maps for each in given], [each.name for each in given]
                        packing = partial(pack_images, maps, names, opened.model)
                        return Response(await answering.compute(packing), media_type=MEDIA_TYPE)

                    def explained() -> Response:
                        named = [each.named(opened) for each in given]
                        with reporting(note_stage), stage("explain"):
                            explanation: PairExplanation | Contrast
                            if contrasted:
                                explanation = explain_contrast(opened.model, *named, regions=regions, mask=chosen)
                            else:
                                explanation = explain_pair(opened.model, *named, regions=regions, mask=chosen)
                            if kind == JSON:
                                return document(explanation.to_dict())
                            return Response(drawn(explanation, kind), headers=OF_PAGES, media_type=kind)

                    return await answering.compute(explained)

            return await answering.within_limits(request, answer())

    return router


def accepted(header: str) -> str:
    """The first media type of a header Accept that can be given; JSON where it names none of them.

    >>> accepted("image/png, */*"), accepted("*/*")
    ('image/png', 'application/json')
    """
    for each in header.split(","):
        kind = each.partition(";")[0].strip().lower()
        if kind in DRAWN or kind == JSON:
            return kind
    return JSON


def drawn(explanation: PairExplanation | Contrast, kind: str) -> bytes:
    """The picture or page as the command line writes it."""
    with tempfile.TemporaryDirectory(prefix="diml-") as place:
        file = Path(place) / f"explanation.{DRAWN[kind]}"
        with _drawing:
            explanation.draw(file)
        return file.read_bytes()


def _only(answering: Answering, index: str | None) -> str:
    """The index that was named, or the only one."""
    if index:
        return index
    if len(answering.indexes) > 1:
        raise UsageError(f"expected the name of an index as index, one of {', '.join(answering.indexes)}, got none")
    return next(iter(answering.indexes))
