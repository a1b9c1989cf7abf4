"""Tiles of running sums of matrix products, all of which stay in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from diml.matching.kernels.lanes import ALIGN, AVX512, FLOATS, WIDTH, address, constant, intrinsic, multiply_add, splat

# Rows and columns of a tile that is full: its sums and the factors of a step fit into 32 registers, or 16.
ROWS, COLUMNS = (4, 4) if AVX512 else (4, 2)
# Sums that are added to in turn, so that none waits for its last addition.
LONG = 8


def _tile_of(rows: int, columns: int) -> Any:
    """`out[to + i * row + j * WIDTH] = sum_k a[start + i * across + k * along] * b[at + k * step + j * WIDTH]`.

    For all i < rows, j < columns and k < depth. Numbers of b and out are SIMD values, and those of a too unless it is
    `shared`: then each is one number for all lanes.
    """

    @intrinsic
    def tile(
        typing_context: Any, a: Any, start: Any, across: Any, along: Any, shared: Any, b: Any, at: Any, step: Any,
        depth: Any, out: Any, to: Any, row: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, start, across, along, shared, b, at, step, depth, out, to, row = arguments
            kind_a, kind_b, kind_out = (signature.args[k] for k in (0, 5, 9))
            numbers = context.make_array(kind_a)(context, builder, a).data

            def later(offset: Any, times: int, far: Any) -> Any:
                return builder.add(offset, builder.mul(ir.Constant(offset.type, times), far))

            def places(kind: Any, array: Any, first: Any) -> list[Any]:
                width = ir.Constant(first.type, WIDTH)
                return [address(context, builder, kind, array, later(first, j, width)) for j in range(columns)]

            def add(one: bool) -> None:
                with cgutils.for_range(builder, depth) as loop:
                    first = builder.add(at, builder.mul(step, loop.index))
                    factors = [builder.load(place, align=ALIGN) for place in places(kind_b, b, first)]
                    first = builder.add(start, builder.mul(along, loop.index))
                    for i in range(rows):
                        offset = later(first, i, across)
                        if one:
                            x = splat(builder, builder.load(builder.gep(numbers, [offset])))
                        else:
                            x = builder.load(address(context, builder, kind_a, a, offset), align=ALIGN)
                        for place, factor in zip(sums[i], factors, strict=True):
                            builder.store(multiply_add(builder, x, factor, builder.load(place)), place)

            # The compiler keeps these in registers.
            sums = [[cgutils.alloca_once(builder, FLOATS) for _ in range(columns)] for _ in range(rows)]
            for place in (place for places in sums for place in places):
                builder.store(constant(0.0), place)
            with builder.if_else(shared) as (then, otherwise):
                with then:
                    add(one=True)
                with otherwise:
                    add(one=False)
            for i in range(rows):
                for place, target in zip(sums[i], places(kind_out, out, later(to, i, row)), strict=True):
                    builder.store(builder.load(place), target, align=ALIGN)
            return context.get_dummy_value()

        number = types.intp
        given = (a, number, number, number, types.boolean, b, number, number, number, out, number, number)
        return types.void(*given), generate

    return tile


tile, long_row, long_column, cell = (_tile_of(*shape) for shape in ((ROWS, COLUMNS), (1, LONG), (LONG, 1), (1, 1)))
