"""How nested Python containers are put together from leaves, as data that can be compared and saved."""

import functools
import keyword
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..ir.dtypes import DType, dtype_named
from ..ir.records import field, record
from .containers import Fixed, leaf_type

__all__ = [
    "LEAF", "Structure", "constant_structure", "take_apart", "tuple_structure", "unflatten", "with_constant_numbers",
]  # fmt: skip

_MAX_DEPTH = 64
_NUMBERS = (bool, int, float, complex)
_CONVERTERS: dict[type, Callable[[Any], Any]] = {bool: bool, int: int, float: float, complex: complex}
_KINDS = ("tuple", "list", "dict", "record", "set", "union")


@record
class _Identity:
    """An object that is equal to itself only, kept alive."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@record
class _Exactly:
    """A float or complex number that is equal where its text is: -0.0 is not 0.0, and NaN is NaN."""

    value: float | complex

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Exactly) and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))


@record
class Structure:
    """How leaves are put together: `kind` is "leaf", "constant", "tuple", "list", "dict", "record" or "union".

    A union, of results only, is one of its children: its first leaf is the number of the one that counts.
    `keys` are a dict's keys or a record's field names; `name` is a record's class name. `cls`, the class itself, is not
    compared: a loaded program has records without their classes.
    """

    kind: str
    children: tuple["Structure", ...] = ()
    keys: tuple[Any, ...] = ()
    name: str = ""
    value: Any = None
    cls: type | None = field(default=None, compare=False)

    @property
    def n_leaves(self) -> int:
        """How many leaves the structure takes."""
        if self.kind == "leaf":
            return 1
        return sum(child.n_leaves for child in self.children) + (self.kind == "union")

    def to_json(self) -> Any:
        """The structure as JSON data; ValueError where it holds a constant that has no such form."""
        match self.kind:
            case "leaf":
                return "leaf"
            case "constant":
                return {"constant": _constant_to_json(_plain(self.value))}
        return {
            "kind": self.kind,
            "name": "Size" if self.kind == "tuple" and getattr(self.cls, "__name__", "") == "Size" else self.name,
            "keys": [k if isinstance(k, str) else {"constant": _constant_to_json(_plain(k))} for k in self.keys],
            "children": [child.to_json() for child in self.children],
        }

    @classmethod
    def from_json(cls, data: Any, depth: int = 0) -> "Structure":
        """The structure that JSON data describes; ValueError for anything else."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"a structure is nested deeper than {_MAX_DEPTH}")
        if data == "leaf":
            return LEAF
        match data:
            case {"constant": constant}:
                return constant_structure(_constant_from_json(constant))
            case {"kind": str(kind), "name": str(name), "keys": list(keys), "children": list(children)} if (
                kind in _KINDS
            ):
                keys = [_key_from_json(key) for key in keys]
                if kind != "dict" and not all(isinstance(key, str) for key in keys):
                    raise ValueError("the names of a structure must be strings")
                if kind in ("dict", "record") and len(keys) != len(children):
                    raise ValueError(f"a structure has {len(keys)} keys for {len(children)} children")
                made = tuple(cls.from_json(child, depth + 1) for child in children)
                if kind == "record":
                    if keyword.iskeyword(name) or not (name.isidentifier() and all(key.isidentifier() for key in keys)):
                        raise ValueError("a record's name and fields must be identifiers")
                    if len(set(keys)) != len(keys) or any(keyword.iskeyword(key) or key[0] == "_" for key in keys):
                        raise ValueError("a record's fields must have different names, and none that Python reserves")
                    return cls(kind, made, tuple(keys), name)
                if (kind, name) == ("tuple", "Size"):
                    from ..eager.tensor import Size

                    return cls(kind, made, tuple(keys), name, cls=Size)
                return cls(kind, made, tuple(keys), name)
        raise ValueError(f"not a structure: {str(data)[:80]}")


def _key_from_json(data: Any) -> Any:
    match data:
        case str():
            return data
        case {"constant": constant}:
            return _constant_from_json(constant)
    raise ValueError(f"not a key of a structure: {str(data)[:80]}")


LEAF = Structure("leaf")


def constant_structure(value: Any) -> Structure:
    """The structure of a value that is no container, as a constant."""
    if isinstance(value, (float, complex)):
        return Structure("constant", value=_Exactly(value))
    try:
        hash(value)
    except TypeError:
        return Structure("constant", value=_Identity(value))
    # True and 1 are equal in Python but are different constants.
    return Structure("constant", name=type(value).__name__, value=value)


def tuple_structure(children: Sequence[Structure]) -> Structure:
    """A tuple of structures."""
    return Structure("tuple", tuple(children))


def take_apart(
    value: Any, leaves: list[Any], is_leaf: Callable[[Any], bool], depth: int = 0, dynamic: int = 0
) -> Structure:
    """The structure of nested containers, whose leaves (numbers, and what `is_leaf` says) are added to `leaves`.

    `dynamic` says which strings and containers are leaves (see `containers`).
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"arguments are nested deeper than {_MAX_DEPTH} (does a container hold itself?)")
    kind = type(value)
    if kind in _NUMBERS or is_leaf(value):
        leaves.append(value)
        return LEAF
    if kind is Fixed:
        return constant_structure(value.value)
    if dynamic and leaf_type(value, dynamic) is not None:
        leaves.append(value)
        return LEAF
    if kind is tuple or kind is list:
        name = "tuple" if kind is tuple else "list"
        return Structure(name, tuple([take_apart(item, leaves, is_leaf, depth + 1, dynamic) for item in value]))
    if kind is dict:
        return Structure(
            "dict", tuple([take_apart(v, leaves, is_leaf, depth + 1, dynamic) for v in value.values()]), tuple(value)
        )
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        names: tuple[str, ...] = value._fields
        return Structure(
            "record",
            tuple([take_apart(v, leaves, is_leaf, depth + 1, dynamic) for v in value]),
            names,
            kind.__name__,
            cls=kind,
        )
    if isinstance(value, tuple):  # a Size, say
        return Structure("tuple", tuple([take_apart(item, leaves, is_leaf, depth + 1, dynamic) for item in value]))
    if hasattr(kind, "__dataclass_fields__"):
        import dataclasses  # not at the top: few programs have any

        names = tuple(f.name for f in dataclasses.fields(value) if f.init)
        children = tuple([take_apart(getattr(value, name), leaves, is_leaf, depth + 1, dynamic) for name in names])
        return Structure("record", children, names, kind.__name__, cls=kind)
    if isinstance(value, _NUMBERS):  # subclasses, as numpy.float64
        leaves.append(next(_CONVERTERS[t](value) for t in _NUMBERS if isinstance(value, t)))
        return LEAF
    return constant_structure(value)


def with_constant_numbers(
    structure: Structure, leaves: Sequence[Any], is_number: Callable[[Any], bool]
) -> tuple[Structure, list[Any]]:
    """The structure with the numbers among its leaves as constants, and the leaves that remain."""
    source = iter(leaves)

    def convert(part: Structure) -> Structure:
        if part.kind == "leaf":
            leaf = next(source)
            return constant_structure(leaf) if is_number(leaf) else part
        children = tuple([convert(child) for child in part.children])
        return Structure(part.kind, children, part.keys, part.name, part.value, part.cls)

    return convert(structure), [leaf for leaf in leaves if not is_number(leaf)]


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The containers of a structure with these leaves; ValueError where their number is wrong."""
    source = iter(leaves)
    try:
        result = _unflatten(structure, source)
    except StopIteration:
        raise ValueError(f"a structure of {structure.n_leaves} leaves was given {len(leaves)}") from None
    if next(source, source) is not source:
        raise ValueError(f"a structure of {structure.n_leaves} leaves was given {len(leaves)}")
    return result


def _unflatten(structure: Structure, leaves: Iterator[Any]) -> Any:
    match structure.kind:
        case "leaf":
            return next(leaves)
        case "constant":
            return _plain(structure.value)
    tag = next(leaves) if structure.kind == "union" else 0
    # A generator would turn StopIteration into RuntimeError.
    children = [_unflatten(child, leaves) for child in structure.children]
    match structure.kind:
        case "tuple":
            return tuple(children) if structure.cls is None else structure.cls(children)
        case "list":
            return children
        case "set":
            return set(children)
        case "dict":
            return dict(zip(structure.keys, children, strict=True))
        case "union":
            return children[tag]
    record = structure.cls or _record_class(structure.name, structure.keys)
    return record(**dict(zip(structure.keys, children, strict=True)))


@functools.lru_cache(maxsize=1000)
def _record_class(name: str, fields: tuple[str, ...]) -> Any:
    """The class of records whose own is not known: a named tuple, made when one is first put together."""
    return namedtuple(name, fields)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, (_Identity, _Exactly)) else value


def _constant_to_json(value: Any) -> Any:
    match value:
        case None:
            return {"none": True}
        case bool():
            return {"bool": value}
        case int():
            return {"int": str(value)}
        case float():
            return {"float": repr(value)}
        case str():
            return {"str": value}
        case DType():
            return {"dtype": value.name}
        case tuple() if type(value) is tuple:
            return {"tuple": [_constant_to_json(item) for item in value]}
    from ..eager.device import device  # not at the top: who runs compiled programs needs nothing of eager execution

    if isinstance(value, device):
        return {"device": str(value)}
    raise ValueError(f"a constant of type {type(value).__name__} cannot be saved: {value!r:.80}")


def _constant_from_json(data: Any) -> Any:
    match data:
        case {"none": True}:
            return None
        case {"tuple": list(items)} if len(items) <= 1000:
            return tuple(map(_constant_from_json, items))
        case {"bool": bool(value)}:
            return value
        case {"int": str(text)} if len(text) <= 1000:
            return int(text)
        case {"float": str(text)}:
            return float(text)
        case {"str": str(text)}:
            return text
        case {"dtype": str(name)}:
            return dtype_named(name)
        case {"device": str(name)}:
            from ..eager.device import device

            return device(name)
    raise ValueError(f"not a constant: {str(data)[:80]}")
