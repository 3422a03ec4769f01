"""Atomic operations on words that threads share.

A word is an int64 at an address. All operations but `store` are sequentially consistent: every thread sees them in
one common order. `store` is a release: whoever sees its value also sees everything written before it.
"""

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .ir import INT32, INT64, int64
from .target import X86

CONSISTENT = "seq_cst"


def _word(builder, address):
    return builder.inttoptr(address, INT64.as_pointer())


@intrinsic
def load(context, address):
    """The word at an address."""

    def emit(context, builder, signature, arguments):
        return builder.load_atomic(_word(builder, arguments[0]), CONSISTENT, 8)

    return int64(int64), emit


@intrinsic
def store(context, address, value):
    """Write a word."""

    def emit(context, builder, signature, arguments):
        builder.store_atomic(arguments[1], _word(builder, arguments[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(int64, int64), emit


def _read_modify_write(operation: str, what: str):
    """An intrinsic (address, value) that changes a word in one step and returns what it was before."""

    @intrinsic
    def change(context, address, value):
        def emit(context, builder, signature, arguments):
            return builder.atomic_rmw(operation, _word(builder, arguments[0]), arguments[1], CONSISTENT)

        return int64(int64, int64), emit

    change.__doc__ = f"{what}; returns the word as it was before."
    return change


add = _read_modify_write("add", "Add to a word")
set_bits = _read_modify_write("or", "Set the bits of a mask in a word")
keep_bits = _read_modify_write("and", "Clear the bits of a word that a mask does not have")


@intrinsic
def compare_and_swap(context, address, expected, desired):
    """Write `desired` if the word is `expected`; returns whether it was."""

    def emit(context, builder, signature, arguments):
        address, expected, desired = arguments
        result = builder.cmpxchg(_word(builder, address), expected, desired, CONSISTENT, CONSISTENT)
        return builder.extract_value(result, 1)

    return types.boolean(int64, int64, int64), emit


@intrinsic
def pause(context):
    """Tell the processor that this is a loop that waits for another core."""

    def emit(context, builder, signature, arguments):
        if X86:
            name, values = "llvm.x86.sse2.pause", []
        elif platform.machine().lower() in ("aarch64", "arm64"):
            name, values = "llvm.aarch64.hint", [INT32(1)]  # YIELD
        else:
            return context.get_dummy_value()
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)
        return context.get_dummy_value()

    return types.void(), emit
