"""Numbers of 16, 8 and 4 bits, read from bytes as SIMD values of float32."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from diml.matching.kernels.lanes import F16C, FLOATS, I8, I16, I32, INTS, WIDTH, constant, intrinsic, lanes, splat


def _bytes(context: Any, builder: Any, kind: Any, signature: Any, arguments: Any) -> Any:
    """A value of this kind from the bytes of an array at any offset."""
    array, offset = arguments
    data = context.make_array(signature.args[0])(context, builder, array).data
    return builder.load(builder.bitcast(builder.gep(data, [offset]), kind.as_pointer()), align=1)


@intrinsic
def bytes_at(typing_context: Any, array: Any, offset: Any) -> Any:
    """WIDTH whole numbers of 8 bits, with signs, from `array[offset : offset + WIDTH]` of uint8."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = _bytes(context, builder, ir.VectorType(I8, WIDTH), signature, arguments)
        return builder.sitofp(found, FLOATS)

    return lanes(array, types.intp), generate


@intrinsic
def nibbles_at(typing_context: Any, array: Any, offset: Any) -> Any:
    """WIDTH whole numbers of 4 bits, less 8, from half as many bytes of an array, the lower half first."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        half = WIDTH // 2
        kind = ir.VectorType(I8, half)
        found = _bytes(context, builder, kind, signature, arguments)
        low = builder.and_(found, ir.Constant(kind, [15] * half))
        high = builder.lshr(found, ir.Constant(kind, [4] * half))
        order = ir.Constant(INTS, [lane // 2 + half * (lane % 2) for lane in range(WIDTH)])
        numbers = builder.uitofp(builder.shuffle_vector(low, high, order), FLOATS)
        return builder.fsub(numbers, constant(8.0))

    return lanes(array, types.intp), generate


@intrinsic
def halves_at(typing_context: Any, array: Any, offset: Any) -> Any:
    """WIDTH float16 numbers from `array[offset : offset + 2 * WIDTH]` of uint8."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = _bytes(context, builder, ir.VectorType(I16, WIDTH), signature, arguments)
        return _widened(builder, builder.zext(found, INTS))

    return lanes(array, types.intp), generate


@intrinsic
def half_at(typing_context: Any, array: Any, offset: Any) -> Any:
    """One float16 number from `array[offset : offset + 2]` of uint8."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = _bytes(context, builder, I16, signature, arguments)
        number = _widened(builder, splat(builder, builder.zext(found, I32), INTS))
        return builder.extract_element(number, ir.Constant(I32, 0))

    return types.float32(array, types.intp), generate


def _widened(builder: Any, bits: Any) -> Any:
    """float32 numbers from the bits of float16.

    By whole numbers where the processor has no instruction for it: the exponent is moved and its bias changed; the
    smallest numbers, which have no leading bit, get one that is subtracted again; infinity and NaN stay.
    """
    if F16C:
        halves = builder.bitcast(builder.trunc(bits, ir.VectorType(I16, WIDTH)), ir.VectorType(ir.HalfType(), WIDTH))
        return builder.fpext(halves, FLOATS)
    most, step = 0x7C00 << 13, 1 << 23
    shifted = builder.shl(builder.and_(bits, constant(0x7FFF, INTS)), constant(13, INTS))
    exponent = builder.and_(shifted, constant(most, INTS))
    number = builder.add(shifted, constant(112 * step, INTS))
    endless = builder.icmp_unsigned("==", exponent, constant(most, INTS))
    number = builder.select(endless, builder.add(number, constant(112 * step, INTS)), number)
    small = builder.bitcast(builder.add(number, constant(step, INTS)), FLOATS)
    small = builder.bitcast(builder.fsub(small, constant(2.0**-14)), INTS)
    tiny = builder.icmp_unsigned("==", exponent, constant(0, INTS))
    number = builder.select(tiny, small, number)
    sign = builder.shl(builder.and_(bits, constant(0x8000, INTS)), constant(16, INTS))
    return builder.bitcast(builder.or_(number, sign), FLOATS)
