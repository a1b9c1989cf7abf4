"""What an explanation says, as numbers: one document, and a heat for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from diml.errors import UsageError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from diml.feature_maps import FeatureMaps
    from diml.matching import Match, PartPair


def one_pair(match: Match) -> Match:
    """The match itself, if it is of one pair of images.

    Raises:
        UsageError: it holds no pair, or several.
    """
    if len(match) != 1:
        raise UsageError(f"a match of {len(match)} pairs of images came; expected one: pick it with match[i]")
    return match


def scalar(values: Tensor) -> float:
    """The one value of a match of one pair, without its gradient."""
    return float(values.detach()[0])


def strongest_pairs(match: Match, parts: int | None = None, chosen: Sequence[int] | None = None) -> list[PartPair]:
    """The `parts` strongest pairs of parts of one pair of images (all of them for None), strongest first.

    Args:
        chosen: for a part query, the numbers of the cells of a that were chosen, row by row; no others are looked at.

    Raises:
        UsageError: the match is not of one pair of images, or `parts` is below 1.
    """
    if parts is not None and parts < 1:
        raise UsageError(f"{parts} pairs of parts were asked to be shown; expected 1 or more")
    match = one_pair(match)
    if chosen is None:
        return match.parts(parts)
    cells = chosen_cells(match.maps_a, chosen)
    return [pair for pair in match.parts() if pair.a in cells][:parts]


def chosen_cells(maps: FeatureMaps, chosen: Sequence[int] | None) -> set[tuple[int, int]]:
    """(row, column) of the cells of these numbers, row by row; of all cells for None."""
    return {divmod(each, maps.grid[1]) for each in (range(maps.parts) if chosen is None else chosen)}


def explanation_document(
    match: Match, a: str = "A.jpg", b: str = "B.jpg", model: str = "", marginals: str = ""
) -> dict[str, Any]:
    """Everything there is to say about one pair of images, as plain Python values ready for `json.dumps`.

    Args:
        match: of one pair of images; best from `model.explain`, which solves it tightly in float64.
        a, b: the names of the two images.
        model, marginals: the names of what compared them.

    Returns:
        `a, b, model, grid, weight, marginals, similarity, structural, pooled, residual, matches`, then `converged`, and
        `grid_b` where the two grids differ. `matches` holds all `r_a * r_b` pairs of parts, the largest `contribution`
        first (it may be negative); cells are `[row, column]` from 0, boxes `[x0, y0, x1, y1]` in pixels of the
        originals, or None where the geometry is unknown. `residual` is `similarity` minus the sum of the contributions.

    Raises:
        UsageError: the match is not of one pair of images.
    """
    match = one_pair(match)
    # Unlike words and pictures the document lists all pairs, of a part query too.
    matches = [_entry(pair) for pair in replace(match, part_weights=None).parts()]
    similarity = scalar(match.similarity)
    document: dict[str, Any] = {
        "a": a,
        "b": b,
        "model": model,
        "grid": list(match.maps_a.grid),
        "weight": float(match.weight),
        "marginals": marginals,
        "similarity": similarity,
        "structural": scalar(match.structural),
        "pooled": scalar(match.pooled),
        "residual": similarity - sum(entry["contribution"] for entry in matches),
        "matches": matches,
        "converged": bool(match.converged[0]),
    }
    if match.maps_b.grid != match.maps_a.grid:
        document["grid_b"] = list(match.maps_b.grid)
    return document


def _entry(pair: PartPair) -> dict[str, Any]:
    return {
        "a": [int(pair.a[0]), int(pair.a[1])],
        "b": [int(pair.b[0]), int(pair.b[1])],
        "a_box": plain_box(pair.a_box),
        "b_box": plain_box(pair.b_box),
        "mass": float(pair.mass),
        "similarity": float(pair.similarity),
        "contribution": float(pair.contribution),
    }


def plain_box(box: Sequence[float] | None) -> list[float] | None:
    """A box as JSON has it."""
    return None if box is None else [float(edge) for edge in box]


def cell_boxes(maps: FeatureMaps, i: int = 0) -> list[tuple[float, float, float, float]] | None:
    """The boxes of all cells of an image, row by row; None where the geometry is unknown."""
    boxes = maps.boxes(i)
    return None if boxes is None else [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()]


def heat(match: Match) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Where the similarity comes from: how much of it each cell of either image holds.

    A cell's heat is the sum of the contributions of all pairs that it is in, so the heat of one image adds up to the
    similarity less the residual. It may be negative, where a cell speaks against the similarity.

    Returns:
        (h, w) of the first image and (h, w) of the second, each of its own grid.

    Raises:
        UsageError: the match is not of one pair of images.
    """
    match = one_pair(match)
    contributions = match.contributions[0].detach()
    return contributions.sum(dim=1).reshape(match.maps_a.grid), contributions.sum(dim=0).reshape(match.maps_b.grid)
