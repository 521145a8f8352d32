"""Ops on lists beyond those in `control`: joining their tensors, and Python's list methods."""

from typing import Any

from ..dims import symbol
from ..open_sizes import join_elements, opened
from ..sizes import Sizes
from ..types import BoolType, IntType, ListType, TensorType, Type
from ._common import normalise_dim
from ._op import Custom, Trait, define

_EFFECT = (Trait.EFFECT,)


def _element(name: str, type: Any) -> Type:
    if not isinstance(type, ListType):
        raise TypeError(f"{name}: expected a list, given {type}")
    return type.element


def _tensor_element(sizes: Sizes, name: str, type: Any) -> TensorType:
    element = _element(name, type)
    if not isinstance(element, TensorType):
        raise TypeError(f"{name}: expected a list of tensors, given {type}")
    found = opened(element, sizes.fresh)
    assert isinstance(found, TensorType)
    return found


def _stack_type(sizes: Sizes, list: Any, *, dim: int, symbol: str) -> Type:
    element = _tensor_element(sizes, "stack", list)
    axis = normalise_dim("stack", dim, element.rank + 1)
    shape = (*element.shape[:axis], _symbol(symbol), *element.shape[axis:])
    return TensorType(element.dtype, shape, element.device)


def _cat_type(sizes: Sizes, list: Any, *, dim: int, symbol: str) -> Type:
    element = _tensor_element(sizes, "cat", list)
    if element.rank == 0:
        raise RuntimeError("cat: zero-dimensional tensors cannot be concatenated")
    axis = normalise_dim("cat", dim, element.rank)
    shape = (*element.shape[:axis], _symbol(symbol), *element.shape[axis + 1 :])
    return TensorType(element.dtype, shape, element.device)


_symbol = symbol


def _joined(name: str) -> Any:
    def evaluate(xp: Any, list: Any, *, dim: int, symbol: str) -> Any:
        if not list:
            raise RuntimeError(f"{name}: expected a non-empty list of Tensors")
        axis = None if name == "stack" else dim % list[0].ndim
        if len({tuple(n for a, n in enumerate(t.shape) if a != axis) for t in list}) > 1:
            raise RuntimeError(f"{name}: the tensors of the list differ in their sizes")
        return xp.stack(list, dim) if name == "stack" else xp.concatenate(list, dim)

    return evaluate


LIST_STACK = define(
    "stack(list: Scalar, *, dim: int, symbol: str)",
    "The tensors of a list along a new dimension, whose size is the new dimension symbol.",
    name="list.stack",
    infer=_stack_type,
    evaluate=_joined("stack"),
    traits=_EFFECT,
    lower=Custom("list.stack"),
)
LIST_CAT = define(
    "cat(list: Scalar, *, dim: int, symbol: str)",
    "The tensors of a list one after another along a dimension, whose size becomes the new dimension symbol.",
    name="list.cat",
    infer=_cat_type,
    evaluate=_joined("cat"),
    traits=_EFFECT,
    lower=Custom("list.cat"),
)


def _same_list(name: str) -> Any:
    def infer(sizes: Sizes, list: Any, *operands: Any) -> Type:
        return ListType(_element(name, list))

    return infer


def _effect(name: str) -> Any:
    def infer(sizes: Sizes, list: Any, *operands: Any) -> tuple[Type, ...]:
        _element(name, list)
        return ()

    return infer


LIST_POP = define(
    "pop(list: Scalar, index: Int)",
    "Removes an element of a list and gives it. IndexError where there is none.",
    name="list.pop",
    infer=lambda sizes, list, index: opened(_element("list.pop", list), sizes.fresh),
    evaluate=lambda xp, list, index: (list.pop(index),),
    traits=_EFFECT,
    lower=Custom("list.pop"),
)
LIST_INSERT = define(
    "insert(list: Scalar, index: Int, value: Scalar)",
    "Puts a value into a list before an index, as Python's list.insert.",
    name="list.insert",
    infer=_effect("list.insert"),
    evaluate=lambda xp, list, index, value: (list.insert(index, value), ())[1],
    traits=_EFFECT,
    lower=Custom("list.insert"),
    outputs=0,
)
LIST_EXTEND = define(
    "extend(list: Scalar, other: Scalar)",
    "Adds the elements of another list at the end of a list.",
    name="list.extend",
    infer=_effect("list.extend"),
    evaluate=lambda xp, list, other: (list.extend(other), ())[1],
    traits=_EFFECT,
    lower=Custom("list.extend"),
    outputs=0,
)
LIST_REVERSE = define(
    "reverse(list: Scalar)",
    "Reverses the order of a list's elements in place.",
    name="list.reverse",
    infer=_effect("list.reverse"),
    evaluate=lambda xp, list: (list.reverse(), ())[1],
    traits=_EFFECT,
    lower=Custom("list.reverse"),
    outputs=0,
)
LIST_SORT = define(
    "sort(list: Scalar)",
    "Sorts a list of numbers or strings in place, in increasing order.",
    name="list.sort",
    infer=_effect("list.sort"),
    evaluate=lambda xp, list: (list.sort(), ())[1],
    traits=_EFFECT,
    lower=Custom("list.sort"),
    outputs=0,
)
LIST_CLEAR = define(
    "clear(list: Scalar)",
    "Removes every element of a list.",
    name="list.clear",
    infer=_effect("list.clear"),
    evaluate=lambda xp, list: (list.clear(), ())[1],
    traits=_EFFECT,
    lower=Custom("list.clear"),
    outputs=0,
)
LIST_SLICE = define(
    "slice(list: Scalar, start: Int, stop: Int, step: Int)",
    "A new list of the elements of a slice; absent bounds are Python's.",
    name="list.slice",
    infer=_same_list("list.slice"),
    evaluate=lambda xp, list, start, stop, step: list[start:stop:step],
    traits=_EFFECT,
    lower=Custom("list.slice"),
)


def _concatenated_type(sizes: Sizes, list: Any, other: Any) -> Type:
    element, joined = _element("list.concatenate", list), None
    if isinstance(other, ListType):
        joined = join_elements(element, other.element)
    return ListType(element if joined is None else joined)


LIST_CONCATENATE = define(
    "concatenate(list: Scalar, other: Scalar)",
    "A new list of the elements of two.",
    name="list.concatenate",
    infer=_concatenated_type,
    evaluate=lambda xp, list, other: [*list, *other],
    traits=_EFFECT,
    lower=Custom("list.concatenate"),
)
LIST_REPEAT = define(
    "repeat(list: Scalar, count: Int)",
    "A new list of a list's elements, several times over.",
    name="list.repeat",
    infer=_same_list("list.repeat"),
    evaluate=lambda xp, list, count: list * count,
    traits=_EFFECT,
    lower=Custom("list.repeat"),
)


def _contains_type(sizes: Sizes, list: Any, value: Any) -> Type:
    _element("list.contains", list)
    return BoolType()


def _count_type(sizes: Sizes, list: Any, value: Any) -> Type:
    _element("list.count", list)
    return IntType()


LIST_CONTAINS = define(
    "contains(list: Scalar, value: Scalar)",
    "Whether a list of numbers or strings has an element equal to the value.",
    name="list.contains",
    infer=_contains_type,
    evaluate=lambda xp, list, value: value in list,
    traits=_EFFECT,
    lower=Custom("list.contains"),
)
LIST_COUNT = define(
    "count(list: Scalar, value: Scalar)",
    "How many elements of a list of numbers or strings are equal to the value.",
    name="list.count",
    infer=_count_type,
    evaluate=lambda xp, list, value: list.count(value),
    traits=_EFFECT,
    lower=Custom("list.count"),
)
LIST_INDEX = define(
    "index(list: Scalar, value: Scalar)",
    "The first index of an element equal to the value. ValueError where there is none.",
    name="list.index",
    infer=_count_type,
    evaluate=lambda xp, list, value: list.index(value),
    traits=_EFFECT,
    lower=Custom("list.index"),
)
