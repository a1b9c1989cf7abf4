"""`POST /v1/embed`: feature maps, for those who keep a store of their own."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from safetensors.torch import save

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.search.transfer import MEDIA_TYPE as SAFETENSORS
from diml.service.answering import Answering
from diml.service.documents import document
from diml.service.examples import EMBEDDING, shown
from diml.service.multipart import form_route
from diml.service.queries import given_image
from diml.service.routes.explain import _only


def embed_routes(answering: Answering) -> APIRouter:
    """The route of embedding."""
    router = APIRouter(prefix="/v1", tags=["embed"], route_class=form_route(answering.settings.parts))
    described = shown(EMBEDDING)
    described[200]["content"][SAFETENSORS] = {"schema": {"type": "string", "format": "binary"}}

    @router.post("/embed", summary="Feature maps of images", responses=described)
    async def embed(
        request: Request,
        image: Annotated[list[UploadFile], File(description="One image or several.")],
        index: Annotated[str | None, Form(description="Name of the index whose model embeds.")] = None,
    ) -> Response:
        """Maps as JSON, or with `Accept: application/safetensors` as tensors.

        The tensors are `local` (n, r, d), `pooled` (n, d), `size` (n, 2), `visible` (n, 4) and, where the index has
        weights of parts, `weights` (n, r).
        """
        served = answering.served(_only(answering, index))
        with answering.admission.admitted():

            async def answer() -> Response:
                opened = await answering.opened(served)
                if not opened.model.weights_ready or not opened.stats().decoding:
                    raise UsageError(f"the index {served.name} has no model to embed images; name another index")
                given = [await given_image(answering, served, opened, each, None, "image") for each in image]
                maps = FeatureMaps.cat([each.maps.to("cpu") for each in given])
                names = [each.name for each in given]
                if SAFETENSORS in request.headers.get("accept", ""):
                    return Response(await answering.compute(lambda: save(_tensors(maps))), media_type=SAFETENSORS)
                return await answering.compute(lambda: document(_listed(maps, names)))

            return await answering.within_limits(request, answer())

    return router


def _tensors(maps: FeatureMaps) -> dict[str, torch.Tensor]:
    assert maps.geometry is not None
    tensors = {"local": maps.local, "pooled": maps.pooled, "size": maps.geometry.size, "visible": maps.geometry.visible}
    if maps.weights is not None:
        tensors["weights"] = maps.weights
    return {name: value.contiguous() for name, value in tensors.items()}


def _listed(maps: FeatureMaps, names: list[str]) -> dict[str, Any]:
    tensors = {name: value.tolist() for name, value in _tensors(maps).items()}
    images = []
    for i, name in enumerate(names):
        images.append({"name": name, "size": tensors["size"][i], "visible": tensors["visible"][i]})
        images[-1] |= {"map": tensors["local"][i], "pooled": tensors["pooled"][i]}
        if "weights" in tensors:
            images[-1]["weights"] = tensors["weights"][i]
    return {"grid": list(maps.grid), "dim": maps.dim, "images": images}
