"""Dictionaries and sets of scripted programs: `dict.get`, `set.add` and so on. Each does what Python does."""

from collections.abc import Callable
from typing import Any

from ..open_sizes import opened
from ..sizes import Sizes
from ..types import (
    BoolType,
    ComplexType,
    DictType,
    FloatType,
    IntType,
    ListType,
    RecordType,
    SetType,
    StrType,
    TupleType,
    Type,
    contained_types,
)
from ._op import Custom, Trait, define

_EFFECT = (Trait.EFFECT,)


def is_hashable(type: Type) -> bool:
    """Whether values of the type can be keys: numbers, strings, and tuples of them (or "?", not known yet)."""
    if isinstance(type, (TupleType, RecordType)):
        return all(map(is_hashable, contained_types(type)))
    return isinstance(type, (BoolType, IntType, FloatType, ComplexType, StrType)) or str(type) == "?"


def _dict(name: str, type: Any) -> DictType:
    if not isinstance(type, DictType):
        raise TypeError(f"{name}: expected a dict, given {type}")
    return type


def _set(name: str, type: Any) -> SetType:
    if not isinstance(type, SetType):
        raise TypeError(f"{name}: expected a set, given {type}")
    return type


def _make_dict_type(sizes: Sizes, values: tuple[Type, ...], *, key: Any, element: Any) -> Type:
    if not is_hashable(key):
        raise TypeError(f"unhashable type: {key}")
    return DictType(key, element)


DICT_MAKE = define(
    "make(values: Tensors, *, key: any, element: any)",
    "A new dict of keys and values, given one after the other; `key` and `element` are their types.",
    name="dict.make",
    infer=_make_dict_type,
    evaluate=lambda xp, values, *, key, element: dict(zip(values[::2], values[1::2], strict=True)),
    traits=_EFFECT,
    lower=Custom("dict.make"),
)


def _dict_op(
    name: str,
    signature: str,
    doc: str,
    result: Callable[[DictType], Type | tuple[()]],
    evaluate: Callable[..., Any],
) -> None:
    def infer(sizes: Sizes, dict: Any, *operands: Any, **attributes: Any) -> Any:
        found = result(_dict(f"dict.{name}", dict))
        return opened(found, sizes.fresh) if isinstance(found, Type) else found

    outputs = 0 if result(DictType(IntType(), IntType())) == () else 1
    define(
        f"{name}_({', '.join(['dict: Scalar', *([signature] if signature else [])])})",
        doc,
        name=f"dict.{name}",
        infer=infer,
        evaluate=lambda xp, *operands: (evaluate(*operands), ())[1] if not outputs else (evaluate(*operands),),
        traits=_EFFECT,
        lower=Custom(f"dict.{name}"),
        outputs=outputs,
    )


def _element(type: DictType) -> Type:
    return type.element


def _unchanged(dict: Any, length: int) -> None:
    if len(dict) != length:
        raise RuntimeError("dictionary changed size during iteration")


_KEY, _PAIR = "key: Scalar", "key: Scalar, value: Scalar"
_dict_op("get", _KEY, "dict[key]. KeyError where there is no such key.", _element, lambda d, k: d[k])
_dict_op(
    "get_or", _PAIR, "The value of a key, or another one where there is none.", _element, lambda d, k, v: d.get(k, v)
)
_dict_op("set", _PAIR, "dict[key] = value.", lambda t: (), lambda d, k, v: d.__setitem__(k, v))
_dict_op("contains", _KEY, "key in dict.", lambda t: BoolType(), lambda d, k: k in d)
_dict_op("length", "", "len(dict).", lambda t: IntType(), len)
_dict_op(
    "pop", _KEY, "Removes a key and gives its value. KeyError where there is none.", _element, lambda d, k: d.pop(k)
)
_dict_op("pop_or", _PAIR, "Removes a key and gives its value, or another one.", _element, lambda d, k, v: d.pop(k, v))
_dict_op(
    "popitem",
    "",
    "Removes the last key and its value. KeyError where there is none.",
    lambda t: TupleType((t.key, t.element)),
    lambda d: d.popitem(),
)
_dict_op(
    "setdefault",
    _PAIR,
    "The value of a key, which gets one where it has none.",
    _element,
    lambda d, k, v: d.setdefault(k, v),
)
_dict_op("update", "other: Scalar", "dict.update(other).", lambda t: (), lambda d, o: d.update(o))
_dict_op("clear", "", "Removes every key.", lambda t: (), lambda d: d.clear())
_dict_op("copy", "", "A new dict with the same keys and values.", lambda t: t, lambda d: d.copy())
_dict_op("keys", "", "A new list of the keys, in order.", lambda t: ListType(t.key), list)
_dict_op("values", "", "A new list of the values, in order.", lambda t: ListType(t.element), lambda d: list(d.values()))
_dict_op(
    "items",
    "",
    "A new list of (key, value) pairs, in order.",
    lambda t: ListType(TupleType((t.key, t.element))),
    lambda d: list(d.items()),
)
_dict_op("equals", "other: Scalar", "dict == other.", lambda t: BoolType(), lambda d, o: d == o)
_dict_op(
    "unchanged",
    "length: Int",
    "RuntimeError where the number of keys is another than it was.",
    lambda t: (),
    _unchanged,
)


# -- sets --------------------------------------------------------------------------------------------------------------


def _make_set_type(sizes: Sizes, values: tuple[Type, ...], *, element: Any) -> Type:
    if not is_hashable(element):
        raise TypeError(f"unhashable type: {element}")
    return SetType(element)


SET_MAKE = define(
    "make(values: Tensors, *, element: any)",
    "A new set of the operands; `element` is the type of its elements.",
    name="set.make",
    infer=_make_set_type,
    evaluate=lambda xp, values, *, element: set(values),
    traits=_EFFECT,
    lower=Custom("set.make"),
)


def _from_list_type(sizes: Sizes, list: Any) -> Type:
    if not isinstance(list, ListType) or not is_hashable(list.element):
        raise TypeError(f"set(): expected a list of hashable elements, given {list}")
    return SetType(list.element)


SET_FROM = define(
    "of(list: Scalar)",
    "A new set of a list's elements.",
    name="set.of",
    infer=_from_list_type,
    evaluate=lambda xp, list: set(list),
    traits=_EFFECT,
    lower=Custom("set.of"),
)


def _set_op(
    name: str, signature: str, doc: str, result: Callable[[SetType], Type | tuple[()]], evaluate: Callable[..., Any]
) -> None:
    def infer(sizes: Sizes, set: Any, *operands: Any, **attributes: Any) -> Any:
        return result(_set(f"set.{name}", set))

    outputs = 0 if result(SetType(IntType())) == () else 1
    define(
        f"{name}_({', '.join(['set: Scalar', *([signature] if signature else [])])})",
        doc,
        name=f"set.{name}",
        infer=infer,
        evaluate=lambda xp, *operands, **attributes: (
            (evaluate(*operands, **attributes), ())[1] if not outputs else (evaluate(*operands, **attributes),)
        ),
        traits=_EFFECT,
        lower=Custom(f"set.{name}"),
        outputs=outputs,
    )


def _set_unchanged(set: Any, length: int) -> None:
    if len(set) != length:
        raise RuntimeError("Set changed size during iteration")


_VALUE = "value: Scalar"
_set_op("add", _VALUE, "set.add(value).", lambda t: (), lambda s, v: s.add(v))
_set_op("discard", _VALUE, "set.discard(value).", lambda t: (), lambda s, v: s.discard(v))
_set_op(
    "remove", _VALUE, "set.remove(value). KeyError where it is not in the set.", lambda t: (), lambda s, v: s.remove(v)
)
_set_op("contains", _VALUE, "value in set.", lambda t: BoolType(), lambda s, v: v in s)
_set_op("length", "", "len(set).", lambda t: IntType(), len)
_set_op(
    "pop", "", "Removes an element and gives it. KeyError where there is none.", lambda t: t.element, lambda s: s.pop()
)
_set_op("clear", "", "Removes every element.", lambda t: (), lambda s: s.clear())
_set_op("copy", "", "A new set of the same elements.", lambda t: t, lambda s: s.copy())
_set_op("values", "", "A new list of the elements, in the set's order.", lambda t: ListType(t.element), list)
_set_op(
    "combine",
    "other: Scalar, *, method: str",
    "A new set: union, intersection, difference or symmetric_difference, as `method` says.",
    lambda t: t,
    lambda s, o, *, method: getattr(s, method)(o),
)
_set_op(
    "update",
    "other: Scalar, *, method: str",
    "In place: update, intersection_update, difference_update or symmetric_difference_update, as `method` says.",
    lambda t: (),
    lambda s, o, *, method: getattr(s, method)(o),
)
_set_op(
    "compare",
    "other: Scalar, *, method: str",
    "Whether sets are equal, or issubset, issuperset or isdisjoint, as `method` says.",
    lambda t: BoolType(),
    lambda s, o, *, method: s == o if method == "equals" else getattr(s, method)(o),
)
_set_op(
    "unchanged",
    "length: Int",
    "RuntimeError where the number of elements is another than it was.",
    lambda t: (),
    _set_unchanged,
)
