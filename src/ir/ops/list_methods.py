"""Lists of scripted programs, continued: sorting by keys, comparison, slices assigned and deleted; values or None."""

from typing import Any

from ..open_sizes import opened
from ..sizes import Sizes
from ..types import BoolType, IntType, ListType, NoneType, OptionalType, Type
from ._op import Custom, Trait, define

_EFFECT = (Trait.EFFECT,)


def _list(name: str, type: Any) -> ListType:
    if not isinstance(type, ListType):
        raise TypeError(f"{name}: expected a list, given {type}")
    return type


def _no_result(name: str) -> Any:
    def infer(sizes: Sizes, list: Any, *operands: Any, **attributes: Any) -> tuple[Type, ...]:
        _list(name, list)
        return ()

    return infer


def _sort_by(list: list[Any], keys: list[Any], reverse: bool) -> tuple[()]:
    order = sorted(range(len(list)), key=keys.__getitem__, reverse=reverse)
    list[:] = [list[i] for i in order]
    return ()


SORT_BY = define(
    "sort_by(list: Scalar, keys: Scalar, *, reverse: bool)",
    "Sorts a list in place by a list of keys of the same length; equal keys keep their order.",
    name="list.sort_by",
    infer=_no_result("list.sort_by"),
    evaluate=lambda xp, list, keys, *, reverse: _sort_by(list, keys, reverse),
    traits=_EFFECT,
    lower=Custom("list.sort_by"),
    outputs=0,
)


def _assign(list: list[Any], start: int | None, stop: int | None, step: int | None, other: list[Any]) -> tuple[()]:
    list[start:stop:step] = other
    return ()


ASSIGN = define(
    "assign(list: Scalar, start: Int, stop: Int, step: Int, other: Scalar)",
    "list[start:stop:step] = other, by Python's rules.",
    name="list.assign",
    infer=_no_result("list.assign"),
    evaluate=lambda xp, list, start, stop, step, other: _assign(list, start, stop, step, other),
    traits=_EFFECT,
    lower=Custom("list.assign"),
    outputs=0,
)


def _delete(list: list[Any], start: int | None, stop: int | None, step: int | None) -> tuple[()]:
    del list[start:stop:step]
    return ()


DELETE = define(
    "delete(list: Scalar, start: Int, stop: Int, step: Int)",
    "del list[start:stop:step].",
    name="list.delete",
    infer=_no_result("list.delete"),
    evaluate=lambda xp, list, start, stop, step: _delete(list, start, stop, step),
    traits=_EFFECT,
    lower=Custom("list.delete"),
    outputs=0,
)


def _equals_type(sizes: Sizes, list: Any, other: Any) -> Type:
    _list("list.equals", list), _list("list.equals", other)
    return BoolType()


def _compare_type(sizes: Sizes, list: Any, other: Any) -> Type:
    _list("list.compare", list), _list("list.compare", other)
    return IntType()


EQUALS = define(
    "equals(list: Scalar, other: Scalar)",
    "list == other, for elements that can be compared.",
    name="list.equals",
    infer=_equals_type,
    evaluate=lambda xp, list, other: list == other,
    traits=_EFFECT,
    lower=Custom("list.equals"),
)
COMPARE = define(
    "compare(list: Scalar, other: Scalar)",
    "-1, 0 or 1 as a list is less than, equal to or greater than another, element by element.",
    name="list.compare",
    infer=_compare_type,
    evaluate=lambda xp, list, other: -1 if list < other else int(list > other),
    traits=_EFFECT,
    lower=Custom("list.compare"),
)


# -- a value or None ---------------------------------------------------------------------------------------------------


def _optional(name: str, type: Any) -> OptionalType:
    if not isinstance(type, OptionalType):
        raise TypeError(f"{name}: expected an optional value, given {type}")
    return type


def _make_type(sizes: Sizes, value: Any, *, element: Any) -> Type:
    if value is not None and isinstance(value, NoneType):
        raise TypeError("optional.make: None is given by leaving the operand out")
    return OptionalType(element)


MAKE = define(
    "make(value: Scalar = None, *, element: any)",
    "A value as one that may be None; None where the operand is absent. `element` is the type without None.",
    name="optional.make",
    infer=_make_type,
    evaluate=lambda xp, value, *, element: (value,),
    lower=Custom("optional.make"),
)
IS_NONE = define(
    "is_none(value: Scalar)",
    "Whether an optional value is None.",
    name="optional.is_none",
    infer=lambda sizes, value: (_optional("optional.is_none", value), BoolType())[1],
    evaluate=lambda xp, value: value is None,
    lower=Custom("optional.is_none"),
)
UNWRAP = define(
    "unwrap(value: Scalar)",
    "An optional value that is known not to be None; whatever where it is.",
    name="optional.unwrap",
    infer=lambda sizes, value: opened(_optional("optional.unwrap", value).element, sizes.fresh),
    evaluate=lambda xp, value: (value,),
    lower=Custom("optional.unwrap"),
)
