"""`POST /v1/embed`: feature maps, for those who keep a store of their own."""

from __future__ import annotations

import json
from typing import Annotated, Any

import torch
from fastapi import APIRouter, File, Form, Request, Response
from safetensors.torch import save

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.search.transfer import MEDIA_TYPE as SAFETENSORS
from diml.service.answering import Answering
from diml.service.documents import accepted, document
from diml.service.examples import EMBEDDING, shown
from diml.service.multipart import RequiredFile, form_route
from diml.service.queries import given_image


def embed_routes(answering: Answering) -> APIRouter:
    """The route of embedding."""
    router = APIRouter(prefix="/v1", tags=["embed"], route_class=form_route(answering.settings.parts))

    @router.post("/embed", summary="Feature maps of images", responses=shown(EMBEDDING, SAFETENSORS))
    async def embed(
        request: Request,
        image: Annotated[list[RequiredFile], File(description="One image or several.")],
        index: Annotated[str | None, Form(description="Name of the index whose model embeds.")] = None,
    ) -> Response:
        """Maps as JSON, or with `Accept: application/safetensors` as tensors.

        The tensors are `local` (n, r, d), `pooled` (n, d), `size` (n, 2), `visible` (n, 4) and, where the index has
        weights of parts, `weights` (n, r). Metadata say the `grid`, and whether the model has a pooled vector of its
        own (`own_pooled`), which is not the mean of the parts.
        """
        kind = accepted(request, [SAFETENSORS])

        async def answer() -> Response:
            async with answering.using(index) as used:
                if not used.index.embeds:
                    raise UsageError(f"the index {used.served.name} has no model to embed images; name another index")
                given = [await given_image(answering, used, each, None, "image") for each in image]
                maps = FeatureMaps.cat([each.maps.to("cpu") for each in given])
                names = [each.name for each in given]
                if kind == SAFETENSORS:
                    return Response(await answering.compute(lambda: _saved(maps)), media_type=SAFETENSORS)
                return await answering.compute(lambda: document(_listed(maps, names)))

        return await answering.answered(request, answer)

    return router


def _tensors(maps: FeatureMaps) -> dict[str, torch.Tensor]:
    assert maps.geometry is not None
    tensors = {"local": maps.local, "pooled": maps.pooled, "size": maps.geometry.size, "visible": maps.geometry.visible}
    if maps.weights is not None:
        tensors["weights"] = maps.weights
    return {name: value.contiguous() for name, value in tensors.items()}


def _saved(maps: FeatureMaps) -> bytes:
    metadata = {"grid": json.dumps(maps.grid), "own_pooled": json.dumps(maps.own_pooled is not None)}
    return save(_tensors(maps), metadata)


def _listed(maps: FeatureMaps, names: list[str]) -> dict[str, Any]:
    tensors = {name: value.tolist() for name, value in _tensors(maps).items()}
    images = []
    for i, name in enumerate(names):
        images.append({"name": name, "size": tensors["size"][i], "visible": tensors["visible"][i]})
        images[-1] |= {"map": tensors["local"][i], "pooled": tensors["pooled"][i]}
        if "weights" in tensors:
            images[-1]["weights"] = tensors["weights"][i]
    return {"grid": list(maps.grid), "dim": maps.dim, "images": images}
