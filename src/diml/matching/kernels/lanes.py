"""Sixteen or eight float32 numbers as one SIMD value in compiled code, so that as many pairs are matched in step.

numba vectorises a loop only if it can prove that this is allowed. Here the vector operations are explicit, and running
sums stay in registers. A value is a register of AVX-512 or AVX2, elsewhere two; the code is the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import models, overload, register_model

# What numba compiles for, by which it also tells apart the code that it keeps for other processors.
_, _, FEATURES = cpu_target.target_context.codegen().magic_tuple()
AVX512, F16C = (f"+{name}" in FEATURES.split(",") for name in ("avx512f", "f16c"))
# Numbers of a value. Twice as many as a register has would not leave enough registers for the running sums.
WIDTH = 16 if AVX512 else 8
# Steps in which the numbers of a value are halved until one is left.
HALVINGS = WIDTH.bit_length() - 1
# In compiled code an intrinsic takes other arguments than its Python function does.
intrinsic: Any = extending.intrinsic

F32, I8, I16, I32 = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32)
FLOATS, INTS = ir.VectorType(F32, WIDTH), ir.VectorType(I32, WIDTH)
# One bit for each number.
MASK, BITS = ir.IntType(WIDTH), ir.VectorType(ir.IntType(1), WIDTH)
# Pointers are only guaranteed to be aligned to single numbers.
ALIGN = 4


class LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"Lanes{WIDTH}")


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, FLOATS)


def splat(builder: Any, value: Any, shape: Any = FLOATS) -> Any:
    first = builder.insert_element(ir.Constant(shape, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, ir.Constant(shape, ir.Undefined), ir.Constant(INTS, [0] * WIDTH))


def constant(value: float, shape: Any = FLOATS) -> Any:
    return ir.Constant(shape, [value] * WIDTH)


def address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), FLOATS.as_pointer())


def _call(builder: Any, name: str, *values: Any) -> Any:
    kind = ir.FunctionType(FLOATS, [FLOATS] * len(values))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}f32")
    return builder.call(function, values)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "fma", a, b, c)


@intrinsic
def wide(typing_context: Any) -> Any:
    """Request the widest registers: LLVM avoids them on processors that used to lower their clock for them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite checks names against a list that lacks string attributes.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def load(typing_context: Any, array: Any, offset: Any) -> Any:
    """`array[offset : offset + WIDTH]` of a flat contiguous float32 array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(address(context, builder, signature.args[0], *arguments), align=ALIGN)

    return lanes(array, types.intp), generate


@intrinsic
def store(typing_context: Any, array: Any, offset: Any, value: Any) -> Any:
    """`array[offset : offset + WIDTH] = value`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = address(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], target, align=ALIGN)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic
def every_at(typing_context: Any, array: Any, offset: Any) -> Any:
    """`array[offset]` in all lanes, without numba's check for a negative index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return splat(builder, builder.load(builder.gep(data, [arguments[1]])))

    return lanes(array, types.intp), generate


@intrinsic
def copy(typing_context: Any, source: Any, offset: Any, target: Any, to: Any) -> Any:
    """`target[to] = source[offset]`, without the checks for negative indices."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, offset, target, to = arguments
        source = context.make_array(signature.args[0])(context, builder, source).data
        target = context.make_array(signature.args[2])(context, builder, target).data
        builder.store(builder.load(builder.gep(source, [offset])), builder.gep(target, [to]))
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), generate


def _copy_of(count: int) -> Any:
    """`target[to : to + count] = source[offset : offset + count]`."""
    kind = ir.VectorType(F32, count)

    @intrinsic
    def operation(typing_context: Any, source: Any, offset: Any, target: Any, to: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, offset, target, to = arguments
            source = context.make_array(signature.args[0])(context, builder, source).data
            target = context.make_array(signature.args[2])(context, builder, target).data
            places = (builder.gep(source, [offset]), builder.gep(target, [to]))
            start, end = (builder.bitcast(place, kind.as_pointer()) for place in places)
            builder.store(builder.load(start, align=ALIGN), end, align=ALIGN)
            return context.get_dummy_value()

        return types.void(source, types.intp, target, types.intp), generate

    return operation


copy4, copy8 = _copy_of(4), _copy_of(8)


@intrinsic
def every(typing_context: Any, value: Any) -> Any:
    """One number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return splat(builder, arguments[0])

    return lanes(types.float32), generate


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return multiply_add(builder, *arguments)

    return lanes(lanes, lanes, lanes), generate


def _binary(method: str) -> Any:
    @intrinsic
    def operation(typing_context: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, method)(*arguments)

        return lanes(lanes, lanes), generate

    return operation


def _overload(symbol: Callable[..., Any], method: str) -> None:
    operation = _binary(method)

    @overload(symbol)
    def operator_of_lanes(a, b):  # type: ignore[no-untyped-def]  # numba compares it with the lambda, which has none
        if isinstance(a, LanesType) and isinstance(b, LanesType):
            return lambda a, b: operation(a, b)  # noqa: PLW0108 (numba compiles it)
        return None


for _symbol, _method in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _overload(_symbol, _method)


def _of_one(name: str) -> Any:
    @intrinsic
    def operation(typing_context: Any, a: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _call(builder, name, *arguments)

        return lanes(lanes), generate

    return operation


magnitude = _of_one("fabs")


def _choice(comparison: str) -> Any:
    @intrinsic
    def operation(typing_context: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, b = arguments
            return builder.select(builder.fcmp_ordered(comparison, a, b), a, b)

        return lanes(lanes, lanes), generate

    return operation


larger, smaller = _choice(">"), _choice("<")


@intrinsic
def at_most(typing_context: Any, a: Any, b: Any) -> Any:
    """Bit l of the result says whether a <= b in lane l; it is 0 if one of them is NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(builder.fcmp_ordered("<=", *arguments), MASK)
        return builder.zext(bits, I32)

    return types.uint32(lanes, lanes), generate


@intrinsic
def select(typing_context: Any, bits: Any, a: Any, b: Any) -> Any:
    """a in the lanes whose bit is set, b in the others."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits, a, b = arguments
        mask = builder.bitcast(builder.trunc(bits, MASK), BITS)
        return builder.select(mask, a, b)

    return lanes(types.uint32, lanes, lanes), generate


@intrinsic
def exponential(typing_context: Any, x: Any) -> Any:
    """`exp(x)` for x in -86..86, to 2e-7: `2^n * p(x - n log 2)`, where p is the Taylor polynomial of degree 7."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        [x] = arguments
        rounding = constant(12582912.0)  # 1.5 * 2^23: adding it leaves the rounded number in the lowest bits
        shifted = multiply_add(builder, x, constant(1.4426950408889634), rounding)
        whole = builder.fsub(shifted, rounding)
        rest = multiply_add(builder, whole, constant(-0.693359375), x)  # log 2 in two parts, the first exact
        rest = multiply_add(builder, whole, constant(2.12194440e-4), rest)
        value = constant(1 / 5040)
        for factorial in (720, 120, 24, 6, 2, 1, 1):
            value = multiply_add(builder, value, rest, constant(1 / factorial))
        exponent = builder.shl(builder.bitcast(shifted, INTS), constant(23, INTS))
        return builder.bitcast(builder.add(builder.bitcast(value, INTS), exponent), FLOATS)

    return lanes(lanes), generate


@intrinsic
def inverse(typing_context: Any, x: Any) -> Any:
    """`1 / x` for x in 1e-37..1e37, accurate to 1e-7; NaN for 0.

    An estimate from the bits and three of Newton's steps take a quarter of the time of a division.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        [x] = arguments
        guess = builder.bitcast(builder.sub(constant(0x7EF311C3, INTS), builder.bitcast(x, INTS)), FLOATS)
        for _ in range(3):
            error = multiply_add(builder, builder.fneg(x), guess, constant(1.0))
            guess = multiply_add(builder, guess, error, guess)
        return guess

    return lanes(lanes), generate


@intrinsic
def total(typing_context: Any, a: Any) -> Any:
    """The sum of all lanes, of which halves are added to halves."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        [found] = arguments
        for step in range(1, HALVINGS + 1):
            half = WIDTH >> step
            order = ir.Constant(INTS, [(lane + half) % WIDTH for lane in range(WIDTH)])
            found = builder.fadd(found, builder.shuffle_vector(found, found, order))
        return builder.extract_element(found, ir.Constant(I32, 0))

    return types.float32(lanes), generate


@intrinsic
def transposed(typing_context: Any, source: Any, offsets: Any, start: Any, target: Any, to: Any, stride: Any) -> Any:
    """`target[to + k * stride + l] = source[offsets[l] + start + k]` for k and l below WIDTH.

    Interleaving the first half of the registers with the second, as often as they can be halved, transposes the block.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, offsets, start, target, to, stride = arguments
        source_type, offsets_type, _, target_type, _, _ = signature.args
        places = context.make_array(offsets_type)(context, builder, offsets).data
        index = ir.IntType(64)
        rows = []
        for lane in range(WIDTH):
            place = builder.load(builder.gep(places, [ir.Constant(index, lane)]))
            rows.append(
                builder.load(address(context, builder, source_type, source, builder.add(place, start)), align=ALIGN)
            )
        half = WIDTH // 2
        low = ir.Constant(INTS, [lane // 2 + WIDTH * (lane % 2) for lane in range(WIDTH)])
        high = ir.Constant(INTS, [half + lane // 2 + WIDTH * (lane % 2) for lane in range(WIDTH)])
        for _ in range(HALVINGS):
            pairs = [(rows[k], rows[k + half]) for k in range(half)]
            rows = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in (low, high)]
        for k, row in enumerate(rows):
            offset = builder.add(to, builder.mul(stride, ir.Constant(index, k)))
            builder.store(row, address(context, builder, target_type, target, offset), align=ALIGN)
        return context.get_dummy_value()

    signature = types.void(source, offsets, types.intp, target, types.intp, types.intp)
    return signature, generate
