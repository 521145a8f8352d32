"""How nested Python containers are put together from leaves, as data that can be compared and saved."""

import functools
import keyword
from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..ir.dtypes import DType, dtype_named
from ..ir.records import field, record
from .argument_objects import attribute_names, is_plain_instance, make_object, resolve, set_attributes, update
from .containers import Fixed, leaf_type

__all__ = [
    "IDENTITY", "LEAF", "Structure", "constant_structure", "take_apart", "tuple_structure", "unflatten",
    "with_constant_numbers",
]  # fmt: skip

_MAX_DEPTH = 64
_NUMBERS = (bool, int, float, complex)
_CONVERTERS: dict[type, Callable[[Any], Any]] = {bool: bool, int: int, float: float, complex: complex}
_KINDS = ("tuple", "list", "dict", "record", "set", "union", "object", "argument", "again", "updates", "objects")
_NAMED = ("record", "object")
IDENTITY = "_identity"
"""The attribute that stands for the identity of an object of the arguments that a program has at run time."""


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
    """How leaves are put together: `kind` is "leaf", "constant", "tuple", "list", "dict", "record", "object", "union".

    A union, of results only, is one of its children: its first leaf is the number of the one that counts.
    `keys` are a dict's keys or the names of fields or attributes; `name` is a class's name. `cls`, the class itself, is
    not compared: a loaded program has records without their classes. A record is made by calling its class, an object
    without that, by setting its attributes.

    "objects" are one leaf, a value of the graph type `value`, in which objects and named tuples have other forms than
    the user's (see `record_values`); `cls` has their classes by name.

    An "argument" is the object at a place in the arguments, whose path its `keys` are; "again" is the container or
    object that was put together as number `keys[0]` of them. "updates" are results and what objects of the arguments
    hold afterwards: its last child is what is returned, and `keys` are the places of what the others replace.
    """

    kind: str
    children: tuple["Structure", ...] = ()
    keys: tuple[Any, ...] = ()
    name: str = ""
    value: Any = None
    cls: Any = field(default=None, compare=False)

    @property
    def n_leaves(self) -> int:
        """How many leaves the structure takes."""
        if self.kind in ("leaf", "objects"):
            return 1
        return sum(child.n_leaves for child in self.children) + (self.kind == "union")

    def to_json(self) -> Any:
        """The structure as JSON data; ValueError where it holds a constant that has no such form."""
        match self.kind:
            case "leaf":
                return "leaf"
            case "constant":
                return {"constant": _constant_to_json(_plain(self.value))}
            case "objects":
                return {"objects": str(self.value)}
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
            case {"objects": str(text)}:
                from .layout import parse_type  # not at the top: few programs have any

                return cls("objects", value=parse_type(text), cls={})
            case {"kind": str(kind), "name": str(name), "keys": list(keys), "children": list(children)} if (
                kind in _KINDS
            ):
                keys = [_key_from_json(key) for key in keys]
                if kind in ("tuple", "list", "set", "union", *_NAMED) and not all(isinstance(key, str) for key in keys):
                    raise ValueError("the names of a structure must be strings")
                _check_references(kind, keys, len(children), depth)
                if kind in ("dict", *_NAMED) and len(keys) != len(children):
                    raise ValueError(f"a structure has {len(keys)} keys for {len(children)} children")
                made = tuple(cls.from_json(child, depth + 1) for child in children)
                if kind == "record":
                    if keyword.iskeyword(name) or not (name.isidentifier() and all(key.isidentifier() for key in keys)):
                        raise ValueError("a record's name and fields must be identifiers")
                    if len(set(keys)) != len(keys) or any(keyword.iskeyword(key) or key[0] == "_" for key in keys):
                        raise ValueError("a record's fields must have different names, and none that Python reserves")
                    return cls(kind, made, tuple(keys), name)
                if kind == "object" and not (
                    name.isidentifier() and all(key.isidentifier() and key[:2] != "__" for key in keys)
                ):
                    raise ValueError("an object's class and attributes must be identifiers")
                if (kind, name) == ("tuple", "Size"):
                    from ..eager.tensor import Size

                    return cls(kind, made, tuple(keys), name, cls=Size)
                return cls(kind, made, tuple(keys), name)
        raise ValueError(f"not a structure: {str(data)[:80]}")


def _check_references(kind: str, keys: list[Any], children: int, depth: int) -> None:
    """ValueError where references to other objects are not of their form."""
    if kind in ("argument", "again") and (children or not keys):
        raise ValueError("a reference to an object must have a place and nothing else")
    if kind == "again" and type(keys[0]) is not int:
        raise ValueError("a reference to an object that was put together must be a number")
    if kind == "updates" and (depth or len(keys) != children - 1 or not all(isinstance(k, tuple) for k in keys)):
        raise ValueError("what a program changes must have places, and stand outermost")


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
    value: Any,
    leaves: list[Any],
    is_leaf: Callable[[Any], bool],
    depth: int = 0,
    dynamic: int = 0,
    met: dict[int, tuple[Any, ...]] | None = None,
    path: tuple[Any, ...] = (),
) -> Structure:
    """The structure of nested containers, whose leaves (numbers, and what `is_leaf` says) are added to `leaves`.

    `dynamic` says which strings and containers are leaves (see `containers`). `met` is where objects are noted by the
    path to them (this one's is `path`), so that one that is met again is known; then instances of users' classes are
    taken apart, too.
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

    def children(names: Sequence[Any], items: Iterable[Any]) -> tuple[Structure, ...]:
        return tuple(
            [
                take_apart(item, leaves, is_leaf, depth + 1, dynamic, met, (*path, name))
                for name, item in zip(names, items, strict=True)
            ]
        )

    is_tuple, is_data = isinstance(value, tuple), hasattr(kind, "__dataclass_fields__") and not isinstance(value, type)
    if kind in (list, dict) or is_data or (met is not None and is_plain_instance(value)):
        if met is not None:
            known = met.setdefault(id(value), path)
            if known != path:
                return Structure("argument", keys=known)
        if kind is list:
            return Structure("list", children(range(len(value)), value))
        if kind is dict:
            return Structure("dict", children(tuple(value), value.values()), tuple(value))
        names = _record_names(kind) if is_data else None
        form = "record" if names is not None else "object"
        names = attribute_names(value) if names is None else names
        start = len(leaves)
        made = Structure(form, children(names, [getattr(value, n) for n in names]), names, kind.__name__, cls=kind)
        if form == "object" and not dynamic:
            # Numbers that cannot be values of run time are constants, as strings are.
            made, leaves[start:] = with_constant_numbers(made, leaves[start:], lambda leaf: not is_leaf(leaf))
        return made
    if is_tuple:
        places = range(len(value))
        if hasattr(value, "_fields"):
            return Structure("record", children(places, value), value._fields, kind.__name__, cls=kind)
        return Structure("tuple", children(places, value))  # a Size, too
    if isinstance(value, _NUMBERS):  # subclasses, as numpy.float64
        leaves.append(next(_CONVERTERS[t](value) for t in _NUMBERS if isinstance(value, t)))
        return LEAF
    return constant_structure(value)


def _record_names(cls: type) -> tuple[str, ...] | None:
    """The fields of a dataclass whose instances are all that their constructor is given; None for other classes."""
    import dataclasses  # not at the top: few programs have any

    fields = dataclasses.fields(cls)
    if hasattr(cls, "__post_init__") or not all(f.init for f in fields):
        return None
    return tuple([f.name for f in fields])


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


def unflatten(structure: Structure, leaves: Sequence[Any], arguments: Any = None) -> Any:
    """The containers of a structure with these leaves; ValueError where their number is wrong.

    `arguments` are the call's, as `(arguments, keywords)`, whose objects results refer to and may change.
    """
    builder = _Builder(leaves, arguments)
    try:
        result = builder.updated(structure) if structure.kind == "updates" else builder.build(structure)
    except StopIteration:
        raise ValueError(f"a structure of {structure.n_leaves} leaves was given {len(leaves)}") from None
    if next(builder.leaves, builder) is not builder:
        raise ValueError(f"a structure of {structure.n_leaves} leaves was given {len(leaves)}")
    return result


class _Builder:
    """Puts containers together; `made` are those that there are so far, in the order in which they begin."""

    def __init__(self, leaves: Sequence[Any], arguments: Any) -> None:
        self.leaves = iter(leaves)
        self.arguments = arguments
        self.made: list[Any] = []
        self.converter: Any = None  # of objects, where there are any

    def converted(self) -> Any:
        """What makes objects of the values that programs have for them."""
        if self.converter is None:
            from .record_values import Converter

            self.converter = Converter()
        return self.converter

    def build(self, structure: Structure) -> Any:
        kind, cls = structure.kind, structure.cls
        match kind:
            case "leaf":
                return next(self.leaves)
            case "constant":
                return _plain(structure.value)
            case "objects":
                return self.converted().convert(next(self.leaves), structure.value, cls)
            case "tuple":
                children = [self.build(child) for child in structure.children]
                return tuple(children) if cls is None else cls(children)
            case "union":
                tag = next(self.leaves)
                return [self.build(child) for child in structure.children][tag]
            case "argument":
                return self.argument(structure.keys)
            case "again":
                if not 0 <= structure.keys[0] < len(self.made):
                    raise ValueError("a structure refers to a container that is not in it")
                return self.made[structure.keys[0]]
        place = len(self.made)
        made: Any = {"list": list, "dict": dict, "set": set}.get(kind, lambda: None)()
        if kind == "object":
            made = make_object(cls, structure.name)
        self.made.append(made)
        children = [self.build(child) for child in structure.children]
        match kind:
            case "list":
                made.extend(children)
            case "set":
                made.update(children)
            case "dict":
                made.update(zip(structure.keys, children, strict=True))
            case "object":
                set_attributes(made, structure.keys, children)
            case _:
                record = cls or _record_class(structure.name, structure.keys)
                made = self.made[place] = record(**dict(zip(structure.keys, children, strict=True)))
        return made

    def argument(self, path: tuple[Any, ...]) -> Any:
        """The object at a place in the arguments; while arguments are put together, that is what there is of them."""
        return None if self.arguments is None else resolve(path, self.arguments)

    def updated(self, structure: Structure) -> Any:
        """What is returned, after the objects of the arguments were brought to what they hold now."""
        changes = []
        for path, child in zip(structure.keys, structure.children[:-1], strict=True):
            target, names = resolve(path, self.arguments), child.keys
            if child.kind == "object":
                self.made.append(None)
                parts = list(child.children)
                if names[:1] == (IDENTITY,):
                    # The object's identity in the program: what else holds it holds the caller's.
                    identity = self.build(parts.pop(0))
                    self.converted().known[id(identity)] = (identity, target)
                    names = names[1:]
                content: Any = [self.build(part) for part in parts]
            else:
                content = self.build(child)
            changes.append((target, child.kind, names, content))
        result = self.build(structure.children[-1])
        for target, kind, names, content in changes:
            kinds: dict[Any, str] = {list: "list", dict: "dict", set: "set"}
            update(target, kind if kind == "object" else kinds.get(type(content), kind), names, content)
        return result


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
