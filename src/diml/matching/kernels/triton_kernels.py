"""The two Triton kernels, for all pairs of two sets and for lists of candidates: score tiles of pairs, store scores."""

# Triton has no types; functions that it compiles annotate constants only, whose names are in capitals.
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: N803

from __future__ import annotations

import triton
import triton.language as tl

from diml.matching.kernels.triton_tile import score_tile


@triton.jit
def _store(at, stored, scores, structural, pooled, iterations, converged):
    tl.store(structural + at, scores[0], mask=stored)
    tl.store(pooled + at, scores[1], mask=stored)
    tl.store(iterations + at, scores[2], mask=stored)
    tl.store(converged + at, scores[3].to(tl.int8), mask=stored)


@triton.jit
def matrix(
    parts_a, scale_a, pooled_a, weights_a, stride_a, parts_b, scale_b, pooled_b, weights_b, stride_b,
    dim, per_eps, tolerance, limit, bin_similarity,
    structural, pooled, iterations, converged, count_a, count_b, strip,
    R_A: tl.constexpr, R_B: tl.constexpr, PAD_A: tl.constexpr, PAD_B: tl.constexpr,
    IMAGES_A: tl.constexpr, IMAGES_B: tl.constexpr, LISTED_A: tl.constexpr, LISTED_B: tl.constexpr,
    CROSS: tl.constexpr, WEIGHTED: tl.constexpr, TRANSPORT: tl.constexpr, NARROW: tl.constexpr,
    BLOCK: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr, BOUNDS: tl.constexpr, UPPER: tl.constexpr,
):  # fmt: skip
    """A program matches a few images of a with a strip of b. Neighbouring programs share the strip in the cache."""
    program = tl.program_id(0)
    tiles_a = tl.cdiv(count_a, IMAGES_A)
    first_a = program % tiles_a * IMAGES_A
    begin = program // tiles_a * strip
    end = tl.minimum(begin + strip, count_b)
    if UPPER:  # skip tiles that lie entirely below the diagonal
        begin = tl.maximum(begin, first_a // IMAGES_B * IMAGES_B)
    pair = tl.arange(0, IMAGES_A * IMAGES_B)
    for first_b in range(begin, end, IMAGES_B):
        scores = score_tile(
            parts_a, scale_a, pooled_a, weights_a, stride_a, parts_a, first_a, count_a,
            parts_b, scale_b, pooled_b, weights_b, stride_b, parts_b, first_b, count_b,
            dim, per_eps, tolerance, limit, bin_similarity,
            R_A, R_B, PAD_A, PAD_B, IMAGES_A, IMAGES_B, LISTED_A, LISTED_B,
            CROSS, WEIGHTED, TRANSPORT, NARROW, BLOCK, EVEN, PRECISION, BOUNDS,
        )  # fmt: skip
        at = (first_a + pair // IMAGES_B).to(tl.int64) * count_b + first_b + pair % IMAGES_B
        _store(at, scores[4], scores, structural, pooled, iterations, converged)


@triton.jit
def listed(
    parts_a, scale_a, pooled_a, weights_a, stride_a, parts_b, scale_b, pooled_b, weights_b, stride_b,
    dim, per_eps, tolerance, limit, bin_similarity,
    structural, pooled, iterations, converged, index_a, candidates, length,
    R_A: tl.constexpr, R_B: tl.constexpr, PAD_A: tl.constexpr, PAD_B: tl.constexpr,
    IMAGES_A: tl.constexpr, IMAGES_B: tl.constexpr, LISTED_A: tl.constexpr, LISTED_B: tl.constexpr,
    CROSS: tl.constexpr, WEIGHTED: tl.constexpr, TRANSPORT: tl.constexpr, NARROW: tl.constexpr,
    BLOCK: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr, BOUNDS: tl.constexpr,
):  # fmt: skip
    """A program matches one image of a, `index_a[list]` or `list`, with a few of its candidates (lists, length)."""
    tl.static_assert(IMAGES_A == 1)
    programs = tl.cdiv(length, IMAGES_B)
    at_list = tl.program_id(0) // programs
    begin = at_list.to(tl.int64) * length
    first_b = begin + tl.program_id(0) % programs * IMAGES_B
    scores = score_tile(
        parts_a, scale_a, pooled_a, weights_a, stride_a, index_a, at_list, at_list + 1,
        parts_b, scale_b, pooled_b, weights_b, stride_b, candidates, first_b, begin + length,
        dim, per_eps, tolerance, limit, bin_similarity,
        R_A, R_B, PAD_A, PAD_B, IMAGES_A, IMAGES_B, LISTED_A, LISTED_B,
        CROSS, WEIGHTED, TRANSPORT, NARROW, BLOCK, EVEN, PRECISION, BOUNDS,
    )  # fmt: skip
    at = first_b + tl.arange(0, IMAGES_B)
    _store(at, scores[4], scores, structural, pooled, iterations, converged)
