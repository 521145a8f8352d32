"""Ints of scripted programs that need no check: the items of a range; and the hash of numbers."""

from typing import Any

from ..dims import Dim
from ..sizes import Sizes
from ..types import BoolType, DictType, IntType, ListType, ScalarType, SetType, StrType, Type
from ._op import Custom, ErrorSample, Sample, Trait, define

_LONGEST = 200


def _known(type: Any) -> Dim | None:
    if not isinstance(type, IntType):
        raise TypeError(f"scalar.range_item: expected ints, given {type}")
    return type.value


def _range_item_type(sizes: Sizes, start: Any, index: Any, step: Any, stop: Any) -> Type:
    first, position, distance, _ = (_known(t) for t in (start, index, step, stop))
    if first is None or position is None or distance is None:
        return IntType()
    try:
        value = sizes.resolve(first) + sizes.resolve(position) * sizes.resolve(distance)
    except ValueError:  # the expression would be too complex to carry on
        return IntType()
    return IntType(value if len(str(value)) <= _LONGEST else None)


RANGE_ITEM = define(
    "range_item(start: Int, index: Int, step: Int, stop: Int)",
    "Item number `index` of range(start, stop, step): it lies between two ints, so that it needs no check.",
    name="scalar.range_item",
    infer=_range_item_type,
    evaluate=lambda xp, start, index, step, stop: start + index * step,
    traits=(Trait.PURE,),
    lower=Custom("scalar.range_item"),
    samples=lambda: [Sample((30, 4, -2, 0))],
    errors=lambda: [ErrorSample((1.5, 1, 1, 5), TypeError, "int")],
)


def _hash_type(sizes: Sizes, value: Any) -> Type:
    if not isinstance(value, (ScalarType, StrType)):
        raise TypeError(f"hash(): expected a number or string, given {value}")
    return IntType()


HASH = define(
    "hash_(value: Scalar)",
    "hash(value) of a number or string.",
    name="scalar.hash",
    infer=_hash_type,
    evaluate=lambda xp, value: hash(value),
    traits=(Trait.PURE,),
    lower=Custom("scalar.hash"),
    samples=lambda: [Sample((-1,)), Sample((2.5,)), Sample((True,)), Sample((1 << 62,)), Sample((-(1 << 63),))],
    errors=lambda: [ErrorSample((None,), TypeError, "number or string")],
)


def _same_type(sizes: Sizes, left: Any, right: Any) -> Type:
    for type in (left, right):
        if not isinstance(type, (ListType, DictType, SetType)):
            raise TypeError(f"is: expected lists, dicts or sets, given {type}")
    return BoolType()


SAME = define(
    "same(left: Scalar, right: Scalar)",
    "Whether two names have one list, dict or set.",
    name="scalar.same",
    infer=_same_type,
    evaluate=lambda xp, left, right: left is right,
    traits=(Trait.EFFECT,),
    lower=Custom("scalar.same"),
)
