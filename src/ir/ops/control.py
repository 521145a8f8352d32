"""Ops that shape a program rather than compute: constants, sizes, branches, loops, tuples, lists, raise, print."""

from typing import Any

from ..core import Array
from ..dims import parse_dim, symbol
from ..dtypes import from_numpy
from ..open_sizes import opened
from ..sizes import Sizes
from ..types import (
    BoolType,
    ComplexType,
    FloatType,
    IntType,
    ListType,
    NoneType,
    RecordType,
    ScalarType,
    StrType,
    TensorType,
    TupleType,
    Type,
)
from ._op import Custom, Trait, define

_EFFECT = (Trait.EFFECT,)


def _constant_type(sizes: Sizes, *, value: Any) -> Type:
    match value:
        case None:
            return NoneType()
        case bool():
            return BoolType()
        case int():
            return IntType(int(value))
        case float():
            return FloatType()
        case complex():
            return ComplexType()
        case str():
            return StrType()
        case Array():
            return TensorType(from_numpy(value.dtype), tuple(value.shape))
    raise TypeError(f"constant: expected a number, string, None or array, given {type(value).__name__}")


def _constant_value(xp: Any, *, value: Any) -> Any:
    return xp.asarray(value.require()) if isinstance(value, Array) else value


CONSTANT = define(
    "constant(*, value: any)",
    "A value known when the graph is built: a number, a string, None or a tensor.",
    infer=_constant_type,
    evaluate=_constant_value,
    lower=Custom("constant"),
)


def _dim_type(sizes: Sizes, *, expression: Any) -> Type:
    return IntType(parse_dim(expression) if isinstance(expression, str) else expression)


DIM = define(
    "dim(*, expression: any)",
    "The value of a size expression over the symbols in scope, as an int.",
    infer=_dim_type,
    lower=Custom("dim"),  # the executors evaluate it: only they know the symbols' values
)


def _bind_dim_type(sizes: Sizes, value: Type, *, symbol: str) -> Type:
    if not isinstance(value, IntType):
        raise TypeError(f"bind_dim: expected an int, given {value}")
    return IntType(_symbol(symbol))


_symbol = symbol

BIND_DIM = define(
    "bind_dim(value: Int, *, symbol: str)",
    "The same int, from here on also known as a dimension symbol; it must not be negative.",
    infer=_bind_dim_type,
    traits=_EFFECT,
    lower=Custom("bind_dim"),
)


def _require_equal_types(sizes: Sizes, left: Type, right: Type, *, message: str) -> tuple[Type, ...]:
    if not (isinstance(left, IntType) and isinstance(right, IntType)):
        raise TypeError(f"require_equal: expected two ints, given {left} and {right}")
    return ()


def _require_equal(xp: Any, left: int, right: int, *, message: str) -> tuple[Any, ...]:
    if left != right:
        raise RuntimeError(f"{message} (at run time: {left} and {right})")
    return ()


REQUIRE_EQUAL = define(
    "require_equal(left: Int, right: Int, *, message: str)",
    "Raises RuntimeError(message) where two sizes differ.",
    infer=_require_equal_types,
    evaluate=_require_equal,
    traits=_EFFECT,
    lower=Custom("require_equal"),
    outputs=0,
)


def _no_results(sizes: Sizes, values: tuple[Type, ...] = ()) -> tuple[Type, ...]:
    return ()


RETURN = define(
    "return_(values: Tensors)",
    "Ends the graph with its results.",
    name="return",
    infer=_no_results,
    traits=(Trait.TERMINATOR,),
    lower=Custom("return"),
    outputs=0,
)
YIELD = define(
    "yield_(values: Tensors)",
    "Ends a region with its results.",
    name="yield",
    infer=_no_results,
    traits=(Trait.TERMINATOR,),
    lower=Custom("yield"),
    outputs=0,
)


def _if_types(sizes: Sizes, condition: Type) -> tuple[Type, ...]:
    if not isinstance(condition, BoolType):
        raise TypeError(f"if: expected a bool condition, given {condition}")
    raise TypeError("if: result types come from its regions")  # the builder passes them; verify compares the yields


IF = define(
    "if_(condition: Scalar)",
    "Runs its first region where the condition is true, else its second; results are what that region yields.",
    name="if",
    infer=_if_types,
    traits=_EFFECT,  # pure where both regions are; `rewrite.has_effect` looks inside
    lower=Custom("if"),
)
LOOP = define(
    "loop(trip_count: Int, condition: Scalar, carried: Tensors)",
    "Repeats its region while the condition holds, at most `trip_count` times (None: no bound).\n\n"
    "The region takes the iteration number and the carried values, and yields the next condition and carried values; "
    "the results are the last carried values.",
    infer=_if_types,
    traits=_EFFECT,
    lower=Custom("loop"),
)


def _call_types(sizes: Sizes, values: tuple[Type, ...], *, function: str) -> tuple[Type, ...]:
    raise TypeError("call: result types come from its function")  # the builder passes them; verify compares


CALL = define(
    "call(values: Tensors, *, function: str)",
    "Runs a function of the graph, written `call @name(...)`; results are what it returns.\n\n"
    "RecursionError where calls are nested deeper than Python allows calls of its own to be.",
    infer=_call_types,
    traits=_EFFECT,  # whatever the function does, so that calls stay, in their order
    lower=Custom("call"),
)


def _undefined(sizes: Sizes, *, type: Any) -> Type:
    result: Type = type
    return result


UNDEFINED = define(
    "undefined(*, type: any)",
    "A value of a type that is never read, as on a path that raises.",
    infer=_undefined,
    lower=Custom("undefined"),
)


def _raise_types(sizes: Sizes, arguments: tuple[Type, ...], *, exception: str) -> tuple[Type, ...]:
    for argument in arguments:
        if not isinstance(argument, (ScalarType, StrType, NoneType, TupleType)):
            raise TypeError(f"raise: expected numbers, strings and tuples of them, given {argument}")
    return ()


RAISE = define(
    "raise_(arguments: Tensors, *, exception: str)",
    "Raises the exception of that name (a builtin's, or one registered with the graph), made with the arguments.",
    name="raise",
    infer=_raise_types,
    traits=_EFFECT,
    lower=Custom("raise"),
    outputs=0,
)


# Tuples and records: values without identity, so every op on them is pure.
def _tuple_type(sizes: Sizes, values: tuple[Type, ...]) -> Type:
    return TupleType(values)


TUPLE_MAKE = define(
    "make(values: Tensors)",
    "A tuple of the operands.",
    name="tuple.make",
    infer=_tuple_type,
    evaluate=lambda xp, values: (tuple(values),),
    lower=Custom("tuple.make"),
)


def _record_type(sizes: Sizes, values: tuple[Type, ...], *, type: Any) -> Type:
    if not isinstance(type, RecordType) or len(type.fields) != len(values):
        raise TypeError(f"tuple.record: {len(values)} values do not make a {type}")
    result: Type = type
    return result


TUPLE_RECORD = define(
    "record(values: Tensors, *, type: any)",
    "A record, which is a tuple whose type has a name and names of its fields.",
    name="tuple.record",
    infer=_record_type,
    evaluate=lambda xp, values, *, type: (tuple(values),),
    lower=Custom("tuple.record"),
)


def _tuple_get_type(sizes: Sizes, value: Type, *, index: int) -> Type:
    if isinstance(value, TupleType) and 0 <= index < len(value.elements):
        return value.elements[index]
    if isinstance(value, RecordType) and 0 <= index < len(value.fields):
        return value.fields[index][1]
    raise TypeError(f"tuple.get: no element {index} in {value}")


TUPLE_GET = define(
    "get(value: Scalar, *, index: int)",
    "An element of a tuple, counted from 0.",
    name="tuple.get",
    infer=_tuple_get_type,
    evaluate=lambda xp, value, *, index: (None if value is None else value[index],),  # None: see optional.unwrap
    lower=Custom("tuple.get"),
)


# Lists: objects with identity, so that making and reading one keeps its order.
def _element(name: str, list_type: Type) -> Type:
    if not isinstance(list_type, ListType):
        raise TypeError(f"{name}: expected a list, given {list_type}")
    return list_type.element


def _list_type(sizes: Sizes, values: tuple[Type, ...], *, element: Any) -> Type:
    return ListType(element)


LIST_MAKE = define(
    "make(values: Tensors, *, element: any)",
    "A new list of the operands; `element` is the type of its elements.",
    name="list.make",
    infer=_list_type,
    evaluate=lambda xp, values, *, element: list(values),
    traits=_EFFECT,
    lower=Custom("list.make"),
)
LIST_APPEND = define(
    "append(list: Scalar, value: Scalar)",
    "Adds a value at the end of a list.",
    name="list.append",
    infer=lambda sizes, list, value: _no_results(sizes) if _element("list.append", list) else (),
    evaluate=lambda xp, list, value: (list.append(value), ())[1],
    traits=_EFFECT,
    lower=Custom("list.append"),
    outputs=0,
)
LIST_GET = define(
    "get(list: Scalar, index: Int)",
    "An element of a list; negative indices count from its end. IndexError where there is none.",
    name="list.get",
    infer=lambda sizes, list, index: opened(_element("list.get", list), sizes.fresh),
    evaluate=lambda xp, list, index: (list[index],),
    traits=_EFFECT,
    lower=Custom("list.get"),
)
LIST_SET = define(
    "set(list: Scalar, index: Int, value: Scalar)",
    "Replaces an element of a list. IndexError where there is none.",
    name="list.set",
    infer=lambda sizes, list, index, value: _no_results(sizes) if _element("list.set", list) else (),
    evaluate=lambda xp, list, index, value: (list.__setitem__(index, value), ())[1],
    traits=_EFFECT,
    lower=Custom("list.set"),
    outputs=0,
)


def _list_length_type(sizes: Sizes, list: Type) -> Type:
    _element("list.length", list)
    return IntType()


LIST_LENGTH = define(
    "length(list: Scalar)",
    "The number of elements of a list.",
    name="list.length",
    infer=_list_length_type,
    evaluate=lambda xp, list: len(list),
    traits=_EFFECT,
    lower=Custom("list.length"),
)
