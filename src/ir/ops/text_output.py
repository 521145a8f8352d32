"""Text of values and output: Python's `format`, `print`, and numbers read from text."""

from collections.abc import Callable
from typing import Any

from ..sizes import Sizes
from ..types import FloatType, IntType, NoneType, ScalarType, StrType, TensorType, Type
from ._op import Custom, Trait, define

__all__ = ["TEXT_FORMAT", "TEXT_PRINT", "TEXT_ROUND", "TEXT_TO_INT", "set_tensor_maker"]

# Makes a tensor of an array: the text of tensors is eager's, which says here how.
_as_tensor: list[Callable[[Any], Any]] = [lambda array: array]


def set_tensor_maker(function: Callable[[Any], Any]) -> None:
    """Say what makes a tensor, whose text is formatted, of an array."""
    _as_tensor[0] = function


_CONVERSIONS: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}


def _format_type(sizes: Sizes, value: Type, spec: Type, *, conversion: int) -> Type:
    if not isinstance(value, (ScalarType, StrType, NoneType, TensorType)) or not isinstance(spec, StrType):
        raise TypeError(f"text.format: expected a number, string or tensor and a spec, given {value} and {spec}")
    return StrType()


def _format(xp: Any, value: Any, spec: str, *, conversion: int) -> str:
    if hasattr(value, "dtype"):
        value = _as_tensor[0](value)
    if conversion:
        value = _CONVERSIONS[conversion](value)
    return format(value, spec)


TEXT_FORMAT = define(
    "format(value: Scalar, spec: Scalar, *, conversion: int)",
    "Python's `format(value, spec)`, of what `conversion` makes of the value: the code of r, s or a, or 0.",
    name="text.format",
    infer=_format_type,
    evaluate=_format,
    traits=(Trait.EFFECT,),  # it may raise
    lower=Custom("text.format"),
)


def _print_type(sizes: Sizes, text: Type) -> tuple[Type, ...]:
    if not isinstance(text, StrType):
        raise TypeError(f"text.print: expected a str, given {text}")
    return ()


def _print(xp: Any, text: str) -> tuple[Any, ...]:
    print(text, end="", flush=True)
    return ()


TEXT_PRINT = define(
    "print_(text: Scalar)",
    "Writes a string to Python's `sys.stdout` and flushes it.",
    name="text.print",
    infer=_print_type,
    evaluate=_print,
    traits=(Trait.EFFECT,),
    lower=Custom("text.print"),
    outputs=0,
)


def _to_int_type(sizes: Sizes, text: Type, base: Type) -> Type:
    if not isinstance(text, StrType) or not isinstance(base, IntType):
        raise TypeError(f"int(): expected a str and an int base, given {text} and {base}")
    return IntType()


def _to_int(xp: Any, text: str, base: int) -> int:
    number = int(text, base)
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError("an integer of a compiled program does not fit in 64 bits")
    return number


TEXT_TO_INT = define(
    "to_int(text: Scalar, base: Int)",
    "The int that a string is in a base.",
    name="text.to_int",
    infer=_to_int_type,
    evaluate=_to_int,
    traits=(Trait.EFFECT,),
    lower=Custom("text.to_int"),
)


def _round_type(sizes: Sizes, value: Type, digits: Type) -> Type:
    if not isinstance(value, FloatType) or not isinstance(digits, IntType):
        raise TypeError(f"round(): expected a float and an int, given {value} and {digits}")
    return FloatType()


TEXT_ROUND = define(
    "round(value: Scalar, digits: Int)",
    "Python's `round(value, digits)` of a float: the nearest number with that many decimals, read as text.",
    name="text.round",
    infer=_round_type,
    evaluate=lambda xp, value, digits: round(value, digits),
    traits=(Trait.EFFECT,),
    lower=Custom("text.round"),
)
