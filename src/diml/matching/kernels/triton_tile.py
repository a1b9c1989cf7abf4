"""The work of one Triton program: match a few images of a with a few of b, entirely in registers.

Memory. A tile is `IMAGES_A x IMAGES_B` pairs, solved by one warp. The rows of its images pass through
shared memory into the tensor cores; the local similarities come out in registers and stay there. They become the
kernel `K = exp((S - top) / eps)`, and the marginals, scalings and sums of Sinkhorn's iterations live in registers
beside it.

Transports, chosen when the kernel is compiled. "full": Sinkhorn's iterations. "dustbin": the same with capped scalings
(see diml.matching.dustbin). "one-sided": `T_ij = mu_a_i mu_b_j K_ij / sum_j' mu_b_j' K_ij'`, without iterations.

Layout. The speed depends on which lane holds which element, and this depends on the order in which rows are loaded. A
tensor core leaves element (row x, column y) of a product in lane `4 (x mod 8) + (y mod 8) // 2`. Rows are therefore
loaded in an order in which `x mod 8` encodes first the image of a, then its part, and `(y mod 8) // 2` the same for b.
Each pair then lies in `32 / pairs` lanes, each of which holds a whole block of it, and most sums are sums within a
lane. In plain order, part after part, a pair is spread over all 32 lanes and its sums are shuffles. Counted in the code
that Triton 3.9 compiles for sm_90, r = 16, uniform marginals, tiles of 4 x 2: 115 instructions of a warp (27 of them
shuffles) for one iteration of one pair in plain order, 44 (4) in this one. Another compiler may choose another layout.
This would affect the speed but not the result, because reshapes undo the order.

Shapes in the comments: parts of a, parts of b, pairs, with parts padded to powers of two.
"""

# Triton has no types; functions that it compiles annotate constants only, whose names are in capitals.
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: N803, N806

from __future__ import annotations

import triton
import triton.language as tl

# (largest - smallest cost) / eps up to which exp() stays in the range of float32, as transport.MAX_RANGE; in bits.
MAX_RANGE = tl.constexpr(80 * 1.4426950408889634)
# A mass below this counts as zero, as in marginals.cross_correlation.
NO_MASS = tl.constexpr(1.1754944e-38 * 1e6)
# With a dustbin, smaller sums count as this: its reciprocal is finite, and above the cap.
LEAST_SUM = tl.constexpr(1e-37)


@triton.jit
def _reciprocal(x):
    """1 / x, accurate to 4e-7, in two instructions; a division takes about ten."""
    root = tl.rsqrt(x)
    return root * root


@triton.jit
def _load(pointer, image, part, inside, dims, stride, dim, EVEN: tl.constexpr):
    """Rows of parts, and zeros beyond the last part and the last dimension."""
    mask = inside
    if not EVEN:
        mask = mask & (dims < dim)
    return tl.load(pointer + image * stride + part * dim + dims, mask=mask, other=0.0)


@triton.jit
def _load_pooled(pointer, image, remainder, dims, dim, TYPE: tl.constexpr):
    """Pooled vectors (float32) rounded to the dtype of the parts, or, where `remainder`, the rounding error.

    Both are multiplied with the parts and summed, so that half precision does not reduce the accuracy.
    """
    exact = tl.load(pointer + image * dim + dims, mask=dims < dim, other=0.0)
    rounded = exact.to(TYPE)
    return tl.where(remainder, exact - rounded.to(tl.float32), exact).to(TYPE)


@triton.jit
def _marginals(correlation, weights, image, part, PARTS: tl.constexpr, CROSS: tl.constexpr, WEIGHTED: tl.constexpr):
    """Marginals (parts, pairs) of one side, for the image of each pair; 0 for padding."""
    inside = (part < PARTS)[:, None]
    if WEIGHTED:
        plain = tl.load(weights + image[None, :] * PARTS + part[:, None], mask=inside, other=0.0)
        correlation = correlation * plain
    else:
        plain = tl.where(inside, 1.0 / PARTS, 0.0) + tl.zeros_like(correlation)
    if not CROSS:
        return plain
    positive = tl.where(inside, tl.maximum(correlation, 0.0), 0.0)
    mass = tl.sum(positive, axis=0)
    some = mass > NO_MASS
    return tl.where(some[None, :], positive / tl.where(some, mass, 1.0)[None, :], plain)


@triton.jit
def _kernel(similarity, inside, wanted, per_eps, bin_similarity, NARROW: tl.constexpr, DUSTBIN: tl.constexpr):
    """`K = exp((S - top) / eps)`; for each pair whether float32 can solve it, and the cap of its scalings.

    The cap is for the dustbin: `exp((S - c) / eps)` with scalings of at most 1 is K with scalings of at most
    `exp((top - c) / (2 eps))`.
    """
    if NARROW:  # for this eps no range of cosines is too wide: 1 serves as their maximum
        fits = wanted
        top = tl.full(wanted.shape, 1.0, tl.float32)
        exponent = (similarity - 1.0) * per_eps
    else:
        top = tl.max(tl.max(tl.where(inside, similarity, -3.0e38), axis=1), axis=0)
        low = tl.min(tl.min(tl.where(inside, similarity, 3.0e38), axis=1), axis=0)
        widest = top - low
        if DUSTBIN:  # what goes to the bin counts as a pair of similarity c
            widest = tl.maximum(top, bin_similarity) - tl.minimum(low, bin_similarity)
        fits = wanted & (widest * per_eps <= MAX_RANGE)
        exponent = (similarity - top[None, None, :]) * per_eps
    cap = tl.exp2((top - bin_similarity) * (0.5 * per_eps))
    return tl.where(inside, tl.exp2(exponent), 0.0), fits, cap


@triton.jit
def _scaling(mu, sums, cap, DUSTBIN: tl.constexpr):
    """What the rows or columns of K are multiplied by to meet `mu`; with a dustbin, at most the cap."""
    if DUSTBIN:
        return tl.minimum(mu * _reciprocal(tl.maximum(sums, LEAST_SUM)), cap[None, :])
    return mu * _reciprocal(sums)


@triton.jit
def _iterated(kernel, mu_a, mu_b, inside_a, inside_b, fits, cap, tolerance, limit, DUSTBIN: tl.constexpr):
    """Scale K until each pair's marginals are met: scalings u, v (parts, pairs), iterations and error, each (pairs,).

    A finished pair keeps its scalings while others continue, so that it does not depend on its neighbours.
    """
    # The sums of padding are 0; 1 is added so that its scalings are 0 and not NaN.
    pad_a = tl.where(inside_a, 0.0, 1.0)[:, None]
    pad_b = tl.where(inside_b, 0.0, 1.0)[:, None]
    row_sums = tl.sum(kernel, axis=1)
    if DUSTBIN:
        row_sums = row_sums * cap[None, :]
    row_sums += pad_a
    u = mu_a * 0.0
    v = mu_b * 0.0
    error = tl.sum(u, axis=0)
    going = fits
    iterations = going.to(tl.int32) * 0
    step = 0
    left = tl.max(going.to(tl.int32), axis=0)
    while left > 0:
        step += 1
        u = tl.where(going[None, :], _scaling(mu_a, row_sums, cap, DUSTBIN), u)
        column_sums = tl.sum(kernel * u[:, None, :], axis=0) + pad_b
        v = tl.where(going[None, :], _scaling(mu_b, column_sums, cap, DUSTBIN), v)
        row_sums = tl.sum(kernel * v[None, :, :], axis=1) + pad_a
        allowed = tl.minimum(cap[None, :] * row_sums, mu_a) if DUSTBIN else mu_a
        error = tl.sum(tl.abs(u * row_sums - allowed), axis=0)
        iterations += going.to(tl.int32)
        going = going & (error > tolerance) & (step < limit)
        left = tl.max(going.to(tl.int32), axis=0)
    return u, v, iterations, error


@triton.jit
def _transport(
    similarity, mu_a, mu_b, inside_a, inside_b, wanted, per_eps, tolerance, limit, bin_similarity,
    NARROW: tl.constexpr, TRANSPORT: tl.constexpr,
):  # fmt: skip
    """Structural similarity, iterations, converged, each (pairs,).

    Pairs whose range of costs is too wide for float32, or not finite, give NaN with -1 iterations.
    """
    DUSTBIN: tl.constexpr = TRANSPORT == "dustbin"
    inside = inside_a[:, None, None] & inside_b[None, :, None]
    kernel, fits, cap = _kernel(similarity, inside, wanted, per_eps, bin_similarity, NARROW, DUSTBIN)
    if TRANSPORT == "one-sided":  # a half-step: the rows are met, the columns may be anything
        v = mu_b
        u = mu_a * _reciprocal(tl.sum(kernel * v[None, :, :], axis=1) + tl.where(inside_a, 0.0, 1.0)[:, None])
        iterations = fits.to(tl.int32)
        reached = fits
    else:
        u, v, iterations, error = _iterated(
            kernel, mu_a, mu_b, inside_a, inside_b, fits, cap, tolerance, limit, DUSTBIN
        )
        reached = error <= tolerance
    # Not sum(T * S): compilers would keep the products K * u of the loop instead of fusing them into its sums.
    gain = similarity - bin_similarity if DUSTBIN else similarity
    structural = tl.sum(u * tl.sum(kernel * gain * v[None, :, :], axis=1), axis=0)
    if DUSTBIN:
        structural += bin_similarity
    solved = fits & (tl.abs(structural) <= 2.0)  # false for NaN
    return (
        tl.where(solved, structural, float("nan")),
        tl.where(solved, iterations, -1),
        solved & reached,
    )


@triton.jit
def _bound(similarity, mu_a, mu_b, inside_a, inside_b, wanted, bin_similarity, TRANSPORT: tl.constexpr):
    """The best match in the other image of every part of the side whose marginals are met; with 0 iterations."""
    if TRANSPORT == "one-sided":
        highest = tl.max(tl.where(inside_b[None, :, None], similarity, -3.0e38), axis=1)
        bound = tl.sum(tl.where(inside_a[:, None], mu_a * highest, 0.0), axis=0)
    else:
        highest = tl.max(tl.where(inside_a[:, None, None], similarity, -3.0e38), axis=0)
        if TRANSPORT == "dustbin":
            highest = tl.maximum(highest, bin_similarity)
        bound = tl.sum(tl.where(inside_b[:, None], mu_b * highest, 0.0), axis=0)
    return bound, wanted.to(tl.int32) * 0, wanted


@triton.jit
def images(index, first, slot, end, LISTED: tl.constexpr):
    """Images in the slots of a tile: `first + slot`, or that entry of a list; beyond the end the last one again."""
    at = tl.minimum(first + slot, end - 1).to(tl.int64)
    if LISTED:
        at = tl.load(index + at).to(tl.int64)
    return at


@triton.jit
def _products(
    parts_a, pooled_a, stride_a, image_x, part_x, image_p, parts_b, pooled_b, stride_b, image_y, part_y, image_q, dim,
    R_A: tl.constexpr, R_B: tl.constexpr,
    CROSS: tl.constexpr, BLOCK: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Rows of a times rows of b; with CROSS, rows times the pooled vectors of the other side; pooled times pooled."""
    TYPE: tl.constexpr = parts_a.dtype.element_ty
    p, q = tl.arange(0, 16), tl.arange(0, 8)
    local = tl.zeros((image_x.shape[0], image_y.shape[0]), tl.float32)
    along_a = tl.zeros((image_x.shape[0], 8), tl.float32)
    along_b = tl.zeros((16, image_y.shape[0]), tl.float32)
    both = tl.zeros((16, 8), tl.float32)
    for start in range(0, dim, BLOCK):
        k = start + tl.arange(0, BLOCK)
        a = _load(parts_a, image_x[:, None], part_x[:, None], part_x[:, None] < R_A, k[None, :], stride_a, dim, EVEN)
        b = _load(parts_b, image_y[None, :], part_y[None, :], part_y[None, :] < R_B, k[:, None], stride_b, dim, EVEN)
        pa = _load_pooled(pooled_a, image_p[:, None], (p // 8 == 1)[:, None], k[None, :], dim, TYPE)
        pb = _load_pooled(pooled_b, image_q[None, :], (q % 2 == 1)[None, :], k[:, None], dim, TYPE)
        local = tl.dot(a, b, local, input_precision=PRECISION)
        both = tl.dot(pa, pb, both, input_precision=PRECISION)
        if CROSS:
            along_a = tl.dot(a, pb, along_a, input_precision=PRECISION)
            along_b = tl.dot(pa, b, along_b, input_precision=PRECISION)
    return local, along_a, along_b, both


@triton.jit
def score_tile(
    parts_a, scale_a, pooled_a, weights_a, stride_a, index_a, first_a, end_a,
    parts_b, scale_b, pooled_b, weights_b, stride_b, index_b, first_b, end_b,
    dim, per_eps, tolerance, limit, bin_similarity,
    R_A: tl.constexpr, R_B: tl.constexpr, PAD_A: tl.constexpr, PAD_B: tl.constexpr,
    IMAGES_A: tl.constexpr, IMAGES_B: tl.constexpr, LISTED_A: tl.constexpr, LISTED_B: tl.constexpr,
    CROSS: tl.constexpr, WEIGHTED: tl.constexpr, TRANSPORT: tl.constexpr, NARROW: tl.constexpr,
    BLOCK: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr, BOUNDS: tl.constexpr,
):  # fmt: skip
    """Structural, pooled, iterations, converged and "is a pair", each (pairs,), images of a changing slowest.

    With BOUNDS, upper bounds of the structural similarities without any iteration: see diml.matching.topk.
    """
    LANES_A: tl.constexpr = 8 // IMAGES_A  # lanes that share the parts of an image of a
    LANES_B: tl.constexpr = 4 // IMAGES_B
    PAIRS: tl.constexpr = IMAGES_A * IMAGES_B
    BLOCKS_A: tl.constexpr = PAD_A // LANES_A
    BLOCKS_B: tl.constexpr = PAD_B // (2 * LANES_B)
    # The order of rows described above: x = (block, image, lane), y = (block, image, lane, one of two).
    x, y = tl.arange(0, IMAGES_A * PAD_A), tl.arange(0, IMAGES_B * PAD_B)
    image_x = images(index_a, first_a, x % 8 // LANES_A, end_a, LISTED_A)
    image_y = images(index_b, first_b, y % 8 // (2 * LANES_B), end_b, LISTED_B)
    part_x = x // 8 * LANES_A + x % LANES_A
    part_y = y // 8 * (2 * LANES_B) + y % (2 * LANES_B)
    # One more block on each side for the pooled vectors: its halves are the rounded vector and the rounding error.
    image_p = images(index_a, first_a, tl.arange(0, 16) % 8 // LANES_A, end_a, LISTED_A)
    image_q = images(index_b, first_b, tl.arange(0, 8) // (2 * LANES_B), end_b, LISTED_B)
    local, along_a, along_b, both = _products(
        parts_a, pooled_a, stride_a, image_x, part_x, image_p, parts_b, pooled_b, stride_b, image_y, part_y, image_q,
        dim, R_A, R_B, CROSS, BLOCK, EVEN, PRECISION,
    )  # fmt: skip
    # Rows are stored unscaled and scaled to unit length here, in float32, so that half precision costs no accuracy.
    unit_x = tl.load(scale_a + image_x * R_A + part_x, mask=part_x < R_A, other=0.0)
    unit_y = tl.load(scale_b + image_y * R_B + part_y, mask=part_y < R_B, other=0.0)
    local = local * unit_x[:, None] * unit_y[None, :]
    local = tl.reshape(local, (BLOCKS_A, IMAGES_A, LANES_A, BLOCKS_B, IMAGES_B, 2 * LANES_B))
    similarity = tl.reshape(tl.permute(local, (0, 2, 3, 5, 1, 4)), (PAD_A, PAD_B, PAIRS))
    # Lanes that share an image hold the same sums with its pooled vector: the maximum selects any of them.
    along_a = tl.reshape(along_a * unit_x[:, None], (BLOCKS_A, IMAGES_A, LANES_A, IMAGES_B, LANES_B, 2))
    along_a = tl.permute(tl.max(tl.sum(along_a, axis=5), axis=4), (0, 2, 1, 3))
    along_b = tl.reshape(along_b * unit_y[None, :], (2, IMAGES_A, LANES_A, BLOCKS_B, IMAGES_B, 2 * LANES_B))
    along_b = tl.permute(tl.max(tl.sum(along_b, axis=0), axis=1), (1, 3, 0, 2))
    both = tl.sum(tl.sum(tl.reshape(both, (2, IMAGES_A, LANES_A, IMAGES_B, LANES_B, 2)), axis=5), axis=0)
    pooled = tl.reshape(tl.max(tl.max(both, axis=3), axis=1), (PAIRS,))
    pair = tl.arange(0, PAIRS)
    part_a, part_b = tl.arange(0, PAD_A), tl.arange(0, PAD_B)
    inside_a, inside_b = part_a < R_A, part_b < R_B
    image_a = images(index_a, first_a, pair // IMAGES_B, end_a, LISTED_A)
    image_b = images(index_b, first_b, pair % IMAGES_B, end_b, LISTED_B)
    mu_a = _marginals(tl.reshape(along_a, (PAD_A, PAIRS)), weights_a, image_a, part_a, R_A, CROSS, WEIGHTED)
    mu_b = _marginals(tl.reshape(along_b, (PAD_B, PAIRS)), weights_b, image_b, part_b, R_B, CROSS, WEIGHTED)
    wanted = (first_a + pair // IMAGES_B < end_a) & (first_b + pair % IMAGES_B < end_b)
    if BOUNDS:
        structural, iterations, converged = _bound(
            similarity, mu_a, mu_b, inside_a, inside_b, wanted, bin_similarity, TRANSPORT
        )
    else:
        structural, iterations, converged = _transport(
            similarity, mu_a, mu_b, inside_a, inside_b, wanted, per_eps, tolerance, limit, bin_similarity,
            NARROW, TRANSPORT,
        )  # fmt: skip
    return structural, pooled, iterations, converged, wanted
