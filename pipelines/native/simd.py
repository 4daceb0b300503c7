"""Vector instructions for kernels that Numba compiles: what Python's operators cannot say.

Addresses are integers; whoever loads from one answers for it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 32
WIDE = 64

_BYTE = ir.IntType(8)
_MASK = ir.IntType(LANES)
_BLOCK = ir.VectorType(_BYTE, LANES)


def _splat(value: int) -> ir.Constant:
    return ir.Constant(_BLOCK, [ir.Constant(_BYTE, value)] * LANES)


def _block_at(builder: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, _BLOCK.as_pointer()), align=1)


@intrinsic
def text_ends(typing_context: Any, address: Any) -> Any:
    """Mask (uint32) of those of 32 bytes that end plain JSON text: quotes, backslashes, control
    characters, and bytes that are not ASCII."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _block_at(builder, arguments[0])
        # As signed bytes, all that are not ASCII are below zero.
        low = builder.icmp_signed("<", block, _splat(0x20))
        quote = builder.icmp_unsigned("==", block, _splat(ord('"')))
        backslash = builder.icmp_unsigned("==", block, _splat(ord("\\")))
        return builder.bitcast(builder.or_(low, builder.or_(quote, backslash)), _MASK)

    return types.uint32(types.int64), emit


@intrinsic
def unclean(typing_context: Any, address: Any) -> Any:
    """Mask (uint32) of those of 32 bytes that unescaping or cleaning a text must look at."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _block_at(builder, arguments[0])
        found = builder.icmp_signed("<", block, _splat(0x20))
        for byte in (*b"\\&@/", 0x7F):
            found = builder.or_(found, builder.icmp_unsigned("==", block, _splat(byte)))
        return builder.bitcast(found, _MASK)

    return types.uint32(types.int64), emit


@intrinsic
def copy_block(typing_context: Any, source: Any, target: Any) -> Any:
    """Copies 32 bytes from one address to another."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[1], _BLOCK.as_pointer())
        builder.store(_block_at(builder, arguments[0]), pointer, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def any_of(typing_context: Any, address: Any, one: Any, two: Any, three: Any) -> Any:
    """Mask (uint32) of those of 32 bytes that are one of three."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = _block_at(builder, arguments[0])
        empty = ir.Constant(_BLOCK, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        masks = []
        for byte in arguments[1:]:
            first = builder.insert_element(empty, byte, ir.Constant(ir.IntType(32), 0))
            splat = builder.shuffle_vector(first, empty, zeros)
            masks.append(builder.icmp_unsigned("==", block, splat))
        found = builder.or_(masks[0], builder.or_(masks[1], masks[2]))
        return builder.bitcast(found, _MASK)

    return types.uint32(types.int64, types.uint8, types.uint8, types.uint8), emit


@intrinsic
def word_at(typing_context: Any, address: Any) -> Any:
    """The 8 bytes at an address as a uint64, the first one lowest."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(types.int64), emit


@intrinsic
def byte_at(typing_context: Any, address: Any) -> Any:
    """The byte at an address."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _BYTE.as_pointer()), align=1)

    return types.uint8(types.int64), emit


@intrinsic
def first_bit(typing_context: Any, mask: Any) -> Any:
    """Number of the lowest bit set in a uint32 that is not 0."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        not_zero = ir.Constant(ir.IntType(1), 1)
        return builder.zext(builder.cttz(arguments[0], not_zero), ir.IntType(64))

    return types.int64(types.uint32), emit


@intrinsic
def equal_bytes(typing_context: Any, one: Any, other: Any) -> Any:
    """Mask (uint32) of those of 32 bytes that are equal at two addresses."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        blocks = [_block_at(builder, address) for address in arguments]
        return builder.bitcast(builder.icmp_unsigned("==", *blocks), _MASK)

    return types.uint32(types.int64, types.int64), emit


@intrinsic
def num_equal(typing_context: Any, one: Any, other: Any) -> Any:
    """How many of 64 bytes at two addresses are equal before the first that differ."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(_BYTE, WIDE).as_pointer()
        blocks = [builder.load(builder.inttoptr(a, kind), align=1) for a in arguments]
        differ = builder.bitcast(builder.icmp_unsigned("!=", *blocks), ir.IntType(WIDE))
        return builder.cttz(differ, ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64, types.int64), emit


@intrinsic
def count_of(typing_context: Any, address: Any, byte: Any) -> Any:
    """How often a byte is among the 64 at an address."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block_type = ir.VectorType(_BYTE, WIDE)
        block = builder.load(builder.inttoptr(arguments[0], block_type.as_pointer()), align=1)
        empty = ir.Constant(block_type, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDE), [0] * WIDE)
        first = builder.insert_element(empty, arguments[1], ir.Constant(ir.IntType(32), 0))
        found = builder.icmp_unsigned("==", block, builder.shuffle_vector(first, empty, zeros))
        return builder.ctpop(builder.bitcast(found, ir.IntType(WIDE)))

    return types.int64(types.int64, types.uint8), emit


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Has the bytes at an address, which may lie anywhere, brought into the cache."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, number = _BYTE.as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        to_read, keep, data = (ir.Constant(number, value) for value in (0, 3, 1))
        at = builder.inttoptr(arguments[0], pointer)
        builder.call(function, [at, to_read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), emit
