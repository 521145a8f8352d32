"""Builtins of characters and hashes: ord, chr, hash."""

import builtins

from .context import Context
from .operators import number, scalar_kind, spread
from .registry import expect, handles
from .text import constant_of
from .values import Abstract, Constant, ObjectRef, Scalar, Tuple

__all__: list[str] = []


@handles(builtins.ord)
def _ord(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "ord", arguments, 1)

    def one(value: Abstract) -> Abstract:
        if scalar_kind(value) != "str":
            raise context.type_error(f"ord() expected string of length 1, but {context.describe(value)} found")
        if isinstance(value, Constant):
            try:
                return Constant(ord(value.value))
            except TypeError as error:
                context.fails(error)
        return Scalar(context.emit("str.ord", number(context, value)))

    return spread(context, one, arguments[0])


@handles(builtins.chr)
def _chr(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "chr", arguments, 1)

    def one(value: Abstract) -> Abstract:
        if scalar_kind(value) not in ("int", "bool"):
            raise context.type_error(f"{context.describe(value)} cannot be interpreted as an integer")
        if isinstance(value, Constant):
            try:
                return Constant(chr(value.value))
            except ValueError as error:
                context.fails(error)
        code = number(context, value)
        if scalar_kind(value) == "bool":
            code = context.emit("scalar.to_int", code)
        return Scalar(context.emit("str.chr", code))

    return spread(context, one, arguments[0])


@handles(builtins.hash)
def _hash(context: Context, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    expect(context, "hash", arguments, 1)

    def one(value: Abstract) -> Abstract:
        known = constant_of(context, value)
        if known is not None and isinstance(value, (Constant, Tuple)):
            try:
                return Constant(hash(known[0]))
            except TypeError as error:
                context.fails(error)
        if isinstance(value, ObjectRef) and getattr(value.type, "__hash__", None) is not object.__hash__:
            found = context.user_operator("hash", value)
            if found is not None:
                return found
        if scalar_kind(value) is None:
            raise context.error(
                f"hash() of {context.describe(value)} cannot be compiled", "numbers and strings can be hashed"
            )
        return Scalar(context.emit("scalar.hash", number(context, value)))

    return spread(context, one, arguments[0])
