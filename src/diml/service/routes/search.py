"""`POST /v1/indexes/{name}/search`: the images that are most similar to one, or to a part of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response

from diml.explanation import explain_hit
from diml.model import Query
from diml.model.query import query_of_maps
from diml.search import Index, SearchResult
from diml.search.stages import reporting, stage
from diml.search.transfer import MEDIA_TYPE, pack_result
from diml.service.answering import Answering, note_stage
from diml.service.documents import accepted, document
from diml.service.examples import SEARCH, shown
from diml.service.multipart import OptionalFile, form_route
from diml.service.parameters import SearchRequest, regions_of, search_request
from diml.service.queries import given_image, given_part


def search_routes(answering: Answering) -> APIRouter:
    """The route of searching."""
    router = APIRouter(prefix="/v1/indexes/{name}", tags=["search"], route_class=form_route(answering.settings.parts))

    @router.post("/search", summary="The most similar images", responses=shown(SEARCH, MEDIA_TYPE))
    async def search(
        request: Request,
        name: str,
        image: Annotated[OptionalFile, File(description="The image to look for.")] = None,
        id: Annotated[str | None, Form(description="In place of a file: the id of an image of the index.")] = None,
        k: Annotated[int | None, Form(description="How many hits; 10 by default.")] = None,
        shortlist: Annotated[
            str | None, Form(description="Images re-ranked by matched parts: a number, 100 by default, all, or proven.")
        ] = None,
        where: Annotated[str | None, Form(description="A condition on the columns, such as label = 'cat'.")] = None,
        region: Annotated[list[str], Form(description="A part to look for: x0,y0,x1,y1 in pixels.")] = [],  # noqa: B006
        mask: Annotated[OptionalFile, File(description="A part to look for: an image of the same size.")] = None,
        explain: Annotated[int, Form(description="Hits whose account is added.")] = 0,
    ) -> Response:
        """The document of `diml search --json`; with `explain`, the first hits also have an `account`.

        With `Accept: application/safetensors` the same with feature maps, as `diml.client` needs it.
        """
        packed = accepted(request, [MEDIA_TYPE]) == MEDIA_TYPE

        async def answer() -> Response:
            async with answering.using(name) as used:
                asked = search_request(answering.settings, used.index, k, shortlist, where, explain)
                regions = regions_of(answering.settings, region)
                given = await given_image(answering, used, image, id, "image")
                part = await given_part(answering, given.maps, regions, mask)
                query = query_of_maps(used.index.model, given.maps, part, source=given.name)
                return await answering.compute(lambda: _answer(used.index, name, query, asked, packed))

        return await answering.answered(request, answer)

    return router


def _answer(index: Index, name: str, query: Query, asked: SearchRequest, packed: bool) -> Response:
    result, found = _found(index, name, query, asked)
    if packed:
        return Response(pack_result(result, found), media_type=MEDIA_TYPE, headers={"cache-control": "no-store"})
    return document(found)


def _found(index: Index, name: str, query: Query, asked: SearchRequest) -> tuple[SearchResult, dict[str, Any]]:
    with reporting(note_stage):
        result = index.search(query, asked.k, asked.shortlist, asked.where)
        found = result.to_dict(index=name)
        if asked.explain:
            with stage("explain"):
                _explain(result, found, asked.explain)
    return result, found


def _explain(result: SearchResult, found: dict[str, Any], number: int) -> None:
    for hit, described in zip(result.hits[:number], found["hits"], strict=False):
        described["account"] = explain_hit(result, hit).to_dict()
