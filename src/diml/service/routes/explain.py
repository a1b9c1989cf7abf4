"""`POST /v1/explain`: why two images are similar, or one rather than another, as a document, a picture or a page."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response
from PIL.Image import Image

from diml.explanation import Contrast, PairExplanation, explain_contrast, explain_pair
from diml.search import Index
from diml.search.stages import reporting, stage
from diml.search.transfer import MEDIA_TYPE, pack_images
from diml.service.answering import Answering, note_stage
from diml.service.documents import JSON, accepted, document
from diml.service.examples import EXPLANATION, shown
from diml.service.multipart import OptionalFile, form_route
from diml.service.parameters import Region, regions_of
from diml.service.problems import RequestError
from diml.service.queries import Given, given_image, given_mask

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
    large_together = asyncio.Semaphore(TOGETHER)

    @router.post("/explain", summary="Why images are similar", responses=shown(EXPLANATION, *DRAWN, MEDIA_TYPE))
    async def explain(
        request: Request,
        index: Annotated[str | None, Form(description="Name of the index; not needed where there is one.")] = None,
        a: Annotated[OptionalFile, File(description="The first image, or the query.")] = None,
        a_id: Annotated[str | None, Form(description="The same, by its id in the index.")] = None,
        b: Annotated[OptionalFile, File(description="The second image.")] = None,
        b_id: Annotated[str | None, Form(description="The same, by its id.")] = None,
        rather_than: Annotated[OptionalFile, File(description="Why b rather than this image?")] = None,
        rather_than_id: Annotated[str | None, Form(description="The same, by its id.")] = None,
        region: Annotated[list[str], Form(description="Only this part of a: x0,y0,x1,y1 in pixels.")] = [],  # noqa: B006
        mask: Annotated[OptionalFile, File(description="Only this part of a: an image of the same size.")] = None,
    ) -> Response:
        """The document of `diml explain --json`; by the header Accept a PNG, an SVG or, of two images, a page.

        With `Accept: application/safetensors` the feature maps of the images, as `diml.client` needs them.
        """
        kind = accepted(request, (*DRAWN, MEDIA_TYPE))
        contrasted = rather_than is not None or bool(rather_than_id)
        if contrasted and kind == "text/html":
            raise RequestError(406, "there are pages of two images only; accept image/png, image/svg+xml or JSON")
        sides = [(a, a_id, "a"), (b, b_id, "b")]
        sides += [(rather_than, rather_than_id, "rather_than")] if contrasted else []

        async def answer() -> Response:
            async with answering.using(index) as used:
                regions = regions_of(answering.settings, region)
                given = [await given_image(answering, used, *side, keep=kind in DRAWN) for side in sides]
                if kind == MEDIA_TYPE:
                    maps, names = [each.maps for each in given], [each.name for each in given]
                    packing = partial(pack_images, maps, names, used.index.model)
                    return Response(await answering.compute(packing), media_type=MEDIA_TYPE)
                chosen = await given_mask(answering, mask)
                return await answering.compute(partial(_answer, used.index, given, regions, chosen, kind))

        async def large() -> Response:
            async with large_together:
                return await answer()

        # Pictures and masks are in memory at their full size until the end.
        return await answering.answered(request, large if kind in DRAWN or mask is not None else answer)

    return router


def _answer(index: Index, given: Sequence[Given], regions: Sequence[Region], mask: Image | None, kind: str) -> Response:
    named = [each.named(index) for each in given]
    with reporting(note_stage), stage("explain"):
        explain = explain_pair if len(named) == 2 else explain_contrast
        explanation: PairExplanation | Contrast = explain(index.model, *named, regions=regions, mask=mask)
        if kind == JSON:
            return document(explanation.to_dict())
        return Response(drawn(explanation, kind), headers=OF_PAGES, media_type=kind)


def drawn(explanation: PairExplanation | Contrast, kind: str) -> bytes:
    """The picture or page as the command line writes it."""
    with tempfile.TemporaryDirectory(prefix="diml-") as place:
        file = Path(place) / f"explanation.{DRAWN[kind]}"
        with _drawing:
            explanation.draw(file)
        return file.read_bytes()
