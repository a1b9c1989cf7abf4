"""Results as bytes: what a program elsewhere needs to have the same hits and matches as this one.

Feature maps travel, not plans: whoever receives them solves the matches again, by the same code in float64, and
compares the similarities with those that were sent. The bytes are a safetensors file with the document in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import Matcher
from diml.model import PartQuery, QueryPart, Source, StructuralModel, WholeQuery
from diml.search.features_only import features_model
from diml.search.hits import Hit, SearchResult

MEDIA_TYPE = "application/safetensors"
FORMAT, VERSION = "diml-answer", 1
# Similarities that were sent and those of the matches that are solved again may differ by so much.
TOLERANCE = 1e-6
_HEADER = 1 << 26


def pack_result(result: SearchResult, document: Mapping[str, Any]) -> bytes:
    """A search's hits with their matches.

    Args:
        result: of `index.search`.
        document: what its `to_dict` says.

    Raises:
        UsageError: marginals that have no name.
    """
    hits = [hit.match.maps_b for hit in result]
    tensors = _packed("query", result.query.maps)
    if hits:
        tensors |= _packed("hits", FeatureMaps.cat(hits))
        thumbnails = [hit.thumbnail for hit in result]
        tensors["thumbnails"] = torch.frombuffer(bytearray(b"".join(thumbnails) or b"\0"), dtype=torch.uint8)
        tensors["thumbnail_bytes"] = torch.tensor([len(each) for each in thumbnails])
    part = result.part
    if part is not None:
        tensors["part"] = part.weights.contiguous()
    known = {"regions": list(part.regions), "mask": part.mask} if part else None
    return _bytes(tensors, result.query.model, {"document": dict(document), "part": known})


def unpack_result(data: bytes, source: Source | None = None) -> SearchResult:
    """The result that was packed.

    Args:
        source: the image that was looked for, as the caller gave it; pictures show it.

    Raises:
        StoreError: the bytes are no such result, or were damaged on the way.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from diml.search import Index
    >>> index = Index.create(Path(tempfile.mkdtemp()) / "features.diml")
    >>> maps = FeatureMaps(torch.eye(8).reshape(2, 4, 8), grid=(2, 2))
    >>> index.add_maps(maps, paths=["a", "b"], sizes=[(64, 64), (80, 60)]).added
    2
    >>> result = index.search(maps[1], k=1)
    >>> unpack_result(pack_result(result, result.to_dict()))[0].similarity == result[0].similarity
    True
    """
    tensors, known, model = _read(data)
    try:
        return _result(tensors, known, model, source)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise _damaged(str(error)) from error


def pack_images(images: Sequence[FeatureMaps], names: Sequence[str], model: StructuralModel) -> bytes:
    """The feature maps of single images, with what compares them."""
    tensors: dict[str, Tensor] = {}
    for i, maps in enumerate(images):
        tensors |= _packed(f"image{i}", maps)
    return _bytes(tensors, model, {"names": list(names)})


def unpack_images(data: bytes) -> tuple[list[FeatureMaps], list[str], StructuralModel]:
    """The feature maps of single images, their names, and a model that compares them.

    Raises:
        StoreError: the bytes are none, or were damaged on the way.
    """
    tensors, known, model = _read(data)
    try:
        names = [str(name) for name in known["names"]]
        return [_unpacked(f"image{i}", tensors, model) for i in range(len(names))], names, model
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise _damaged(str(error)) from error


def _result(
    tensors: Mapping[str, Tensor], known: dict[str, Any], model: StructuralModel, source: Source | None
) -> SearchResult:
    document, part = known["document"], known["part"]
    given: dict[str, Any] = {"model": model, "maps": _unpacked("query", tensors, model), "source": source}
    if part is None:
        query: WholeQuery | PartQuery = WholeQuery(**given)
    else:
        regions = tuple((tuple(box), weight) for box, weight in part["regions"])
        weights = tensors["part"]
        chosen = QueryPart(weights, regions, part["mask"])
        # Its maps have the weights of the part already; these are set again.
        query = PartQuery(**given, part=chosen)
    settings = {
        name: document[name]
        for name in ("marginals", "weight", "eps", "mass", "transport", "bin_similarity")
        if name in document
    }
    hits = _hits(document["hits"], tensors, query) if document["hits"] else []
    return SearchResult(
        hits,
        document["k"],
        document["shortlist"],
        query,
        document["where"],
        document["index"],
        settings,
        document.get("maps_read"),
    )


def _hits(described: list[dict[str, Any]], tensors: Mapping[str, Tensor], query: WholeQuery | PartQuery) -> list[Hit]:
    match = query.match(_unpacked("hits", tensors, query.model))
    joined, lengths = tensors["thumbnails"].numpy().tobytes(), tensors["thumbnail_bytes"].tolist()
    if len(lengths) != len(described) or len(match) != len(described) or min(lengths) < 0 or sum(lengths) > len(joined):
        raise ValueError(f"expected the maps and thumbnails of {len(described)} hits")
    hits, at = [], 0
    for i, (hit, length) in enumerate(zip(described, lengths, strict=True)):
        values = {key: value for key, value in hit.items() if key != "account"}
        values["size"] = tuple(values["size"])
        solved = match[i]
        if abs(solved.similarity.item() - hit["similarity"]) > TOLERANCE:
            raise ValueError(f"hit {i + 1} has the similarity {solved.similarity.item()}, not {hit['similarity']}")
        maps_a = match.maps_a[[0]]
        hits.append(Hit(**values, thumbnail=joined[at : at + length], match=replace(solved, maps_a=maps_a)))
        at += length
    return hits


def _packed(name: str, maps: FeatureMaps) -> dict[str, Tensor]:
    maps = maps.detach().to("cpu")
    local = maps.local.to(torch.float32)
    half = local.half()
    # Stored maps are in half precision; those of an image that was just embedded are not.
    tensors = {"local": half if half.float().equal(local) else local}
    if maps.own_pooled is not None:
        tensors["pooled"] = maps.own_pooled.to(torch.float32)
    if maps.weights is not None:
        tensors["weights"] = maps.weights
    if maps.geometry is not None:
        tensors |= {"size": maps.geometry.size, "visible": maps.geometry.visible}
    return {f"{name}.{key}": value.contiguous() for key, value in tensors.items()}


def _unpacked(name: str, tensors: Mapping[str, Tensor], model: StructuralModel) -> FeatureMaps:
    found = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
    geometry = Geometry(found["size"], found["visible"]) if "size" in found else None
    local = found["local"].float()
    if not (local.isfinite().all() and len(local)):
        raise ValueError("feature maps that are not finite")
    return FeatureMaps(local, model.grid, found.get("pooled"), geometry, found.get("weights"))


def _bytes(tensors: dict[str, Tensor], model: StructuralModel, known: dict[str, Any]) -> bytes:
    if not isinstance(model.matcher.marginals, str):
        raise UsageError("expected marginals that have a name, got values; set them by name to send a result")
    stated = {"name": model.name, "grid": list(model.grid), "matcher": asdict(model.matcher), **known}
    return save(tensors, {"format": FORMAT, "version": str(VERSION), "known": json.dumps(stated)})


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file.

    Raises:
        ValueError: it is none.
    """
    length = int.from_bytes(data[:8], "little")
    if length > min(_HEADER, len(data)):
        raise ValueError("a header of another length")
    found = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return {str(name): str(value) for name, value in found.items()}


def _read(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any], StructuralModel]:
    try:
        metadata = metadata_of(data)
        if metadata["format"] != FORMAT:
            raise ValueError(f"the format {metadata['format']!r}")
        version = int(metadata["version"])
        known, tensors = json.loads(metadata["known"]), load(data)
        model = features_model((int(known["grid"][0]), int(known["grid"][1])))
        model = model.replace(matcher=Matcher(**known["matcher"]), name=str(known["name"]))
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise _damaged(str(error)) from error
    if version > VERSION:
        raise StoreError(f"the answer has version {version}, and this diml reads up to {VERSION}; upgrade diml")
    return tensors, known, model


def _damaged(reason: str) -> StoreError:
    line = reason.splitlines()[0][:120] if reason else "it is cut off"
    return StoreError(f"expected an answer of a diml service, got something else ({line}); ask again")
