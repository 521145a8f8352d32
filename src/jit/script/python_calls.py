"""Calls back into Python at run time: functions marked `@jit.ignore`, and functions compiled by Numba.

What an ignored function gives is what its annotation says; of tensors that says neither dtype nor rank, so that the
program runs once as plain Python, where what is returned is noted by function and line (see `marks.noting`).
"""

import functools
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...eager.tensor import Tensor, wrap
from ...ir.callbacks import Callback, register
from ...ir.core import Value
from ...ir.dtypes import from_numpy
from ...ir.types import NoneType, TensorType, Type
from ..errors import NeedsRun
from ..tree import LEAF, Structure, flatten, flatten_call, unflatten
from .context import Context
from .lists import from_element
from .marks import Site
from .results import Results
from .unknown import annotated_type
from .values import (
    Abstract,
    Cell,
    Constant,
    DictItems,
    DictRef,
    Entries,
    ObjectRef,
    Tuple,
)

__all__ = ["Returned", "call_ignored", "emit_call", "noted"]


@dataclass(frozen=True)
class Returned:
    """What a function gives: how it is put together, and the types of its leaves, with a symbol for each size."""

    structure: Structure
    types: tuple[Any, ...]  # a graph type, or (dtype, rank) of a tensor
    tracks: bool = False  # whether a tensor took part in gradients


def noted(result: Any) -> Returned:
    """The form of what a function returned."""
    leaves, structure = flatten(result)
    tracks = any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves)
    return Returned(structure, tuple([_leaf(leaf) for leaf in leaves]), tracks)


def _leaf(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return (from_numpy(leaf._array.dtype), leaf._array.ndim)
    return annotated_type(type(leaf))


def _name(function: Any) -> str:
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    return name.removeprefix("__main__.")


class _Arguments(Results):
    """The structure of a call's arguments: whatever cannot change is passed as it is."""

    def part(self, value: Abstract) -> Structure:
        if isinstance(value, Constant):
            from ..tree import constant_structure

            return constant_structure(value.value)
        return super().part(value)


def emit_call(
    context: Context,
    function: Callable[..., Any],
    arguments: list[Abstract],
    keywords: dict[str, Abstract],
    returned: Returned,
    native: Any = None,
) -> Abstract:
    """The instruction that calls a function, and what it gives."""
    values: list[Value] = []
    parts = _Arguments(context, values, {})
    positional = parts.part(Tuple(tuple(arguments)))
    named = Structure("dict", tuple([parts.part(v) for v in keywords.values()]), tuple(keywords))
    structure = Structure("tuple", (positional, named))
    types: list[Type] = []
    for leaf in returned.types:
        if isinstance(leaf, Type):
            types.append(leaf)
        else:
            dtype, rank = leaf
            types.append(TensorType(dtype, tuple(context.builder.sizes.fresh(prefix="d") for _ in range(rank))))
    title = _name(function) if native is None else f"{_name(function)}@{native.fingerprint}"
    operands = tuple([context.type_of(v) for v in values])
    key = (id(function), structure, operands, returned)
    caller = _Caller(function, _name(function), structure, returned)
    make = functools.partial(
        Callback, caller.title, operands, tuple(types), caller.on_arrays, caller.on_tensors, returned.tracks, native
    )
    name = register(title, key, make)
    context.forget_raised()
    results = context.builder.emit_all("python.call", values, {"function": name, "results": tuple(types)})
    context.checkpoint()
    return _rebuilt(context, returned.structure, iter(results))


def _rebuilt(context: Context, structure: Structure, values: Any) -> Abstract:
    """What a function gave, as the program sees it."""
    match structure.kind:
        case "leaf":
            value = next(values)
            if isinstance(value.type, TensorType):
                return context.new_tensor(value)
            return from_element(context, value)
        case "constant":
            return Constant(unflatten(structure, ()))
    parts = tuple([_rebuilt(context, child, values) for child in structure.children])
    cls = structure.cls
    if structure.kind == "tuple" or (structure.kind == "record" and cls is not None and issubclass(cls, tuple)):
        return Tuple(parts, cls or tuple)
    if structure.kind == "list":
        return context.lists.new(context, parts)  # type: ignore[no-any-return]
    cell = Cell(structure.kind)
    if structure.kind == "dict":
        context.heap[cell] = DictItems(tuple(zip(structure.keys, parts, strict=True)))
        return DictRef(cell)
    if cls is None:
        raise context.error(f"a function that is called back gives a {structure.kind}, which cannot be compiled")
    context.heap[cell] = Entries(dict(zip(structure.keys, parts, strict=True)))
    return ObjectRef(cell, cls)


# -- calling -----------------------------------------------------------------------------------------------------------


_IMMUTABLE = frozenset({bool, int, float, complex, str, type(None)})


def _is_constant(structure: Structure) -> bool:
    return structure.kind in ("leaf", "constant", "tuple") and all(map(_is_constant, structure.children))


class _Caller:
    """Calls a function with values of the graph, and takes apart what it returns."""

    def __init__(self, function: Callable[..., Any], title: str, structure: Structure, returned: Returned) -> None:
        self.function, self.title, self.structure, self.returned = function, title, structure, returned
        positional, named = structure.children
        self.is_flat = not named.children and all(child == LEAF for child in positional.children)
        # Whether nothing that holds the arguments can be changed.
        self.is_constant = _is_constant(positional) and all(map(_is_constant, named.children))

    def on_arrays(self, values: Sequence[Any]) -> list[Any]:
        """Arrays and other values in and out; arrays are copied, as the program goes on with its own."""
        given = [wrap(np.array(v)) if isinstance(v, np.ndarray) else v for v in values]
        found = self.on_tensors(given)
        if any(isinstance(r, Tensor) and r.requires_grad for r in found) and not self.returned.tracks:
            raise RuntimeError(
                f"{self.title} returned a tensor that requires grad, which it did not when it was first run: the "
                "gradient would be lost; detach() it, or run the program under no_grad()"
            )
        return [np.array(r._array) if isinstance(r, Tensor) else r for r in found]

    def on_tensors(self, values: Sequence[Any]) -> list[Any]:
        """Tensors and other values in and out."""
        if self.is_flat and all(type(v) in _IMMUTABLE for v in values):
            return self.leaves(self.function(*values))
        arguments, keywords = unflatten(self.structure, values)
        if self.is_constant and all(type(v) in _IMMUTABLE for v in values):
            return self.leaves(self.function(*arguments, **keywords))
        tensors = [v for v in values if isinstance(v, Tensor)]
        versions = [t.version_counter()[0] for t in tensors]
        before = flatten_call(arguments, keywords)
        result = self.function(*arguments, **keywords)
        leaves, structure = flatten_call(arguments, keywords)
        unchanged = structure == before[1] and all(a is b or a == b for a, b in zip(leaves, before[0], strict=True)
                                                   if not isinstance(a, Tensor) or a is not b)  # fmt: skip
        if not unchanged or versions != [t.version_counter()[0] for t in tensors]:
            raise RuntimeError(
                f"{self.title} changed an argument in place, which a compiled program that calls it back does not see: "
                "return the new value instead"
            )
        return self.leaves(result)

    def leaves(self, result: Any) -> list[Any]:
        """The leaves of a result; TypeError where it is not of the form that was compiled."""
        returned = self.returned
        if returned.structure == LEAF and isinstance(returned.types[0], Type):
            value = _converted(result, returned.types[0])
            if value is not None:
                return [value[0]]
        else:
            leaves, structure = flatten(result)
            if structure == returned.structure:
                found = [_converted(leaf, t) for leaf, t in zip(leaves, returned.types, strict=True)]
                if all(f is not None for f in found):
                    return [f[0] for f in found if f is not None]
        shown = (
            f"a Tensor of {result.dtype} and rank {result.ndim}" if isinstance(result, Tensor) else repr(result)[:80]
        )
        raise TypeError(f"{self.title} returned {shown}, where the program was compiled for {self.expected()}")

    def expected(self) -> str:
        """The form that is expected, for messages."""
        parts = [str(t) if isinstance(t, Type) else f"a Tensor of {t[0]} and rank {t[1]}" for t in self.returned.types]
        if self.returned.structure == LEAF:
            return parts[0]
        return f"a {self.returned.structure.kind} of {', '.join(parts)}" if parts else "None"


def _converted(value: Any, type: Any) -> tuple[Any] | None:
    """A value as one of a type, in a tuple; None where it is none."""
    if not isinstance(type, Type):
        dtype, rank = type
        fits = isinstance(value, Tensor) and value.dtype is dtype and value.ndim == rank
        return (value,) if fits else None
    if isinstance(value, np.generic):
        value = value.item()
    from ...ir.interp import has_type

    if str(type) == "float" and builtin_int(value):
        value = float(value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise OverflowError("an integer of a compiled program does not fit in 64 bits")
    return (value,) if has_type(value, type) else None


def builtin_int(value: Any) -> bool:
    """Whether a value is an int and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


# -- ignored functions -------------------------------------------------------------------------------------------------


def call_ignored(
    context: Context, function: Callable[..., Any], arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    """A call of a function marked `@jit.ignore`."""
    returned = _annotated(function)
    if returned is None:
        place = context.location()
        site: Site = (function, "" if place is None else place.file, 0 if place is None else place.line)
        known: Mapping[Any, Returned] = context.returned
        returned = known.get(site) or known.get(function)
        if returned is None:
            raise NeedsRun(
                f"what {_name(function)} returns is known only after a call has run it: call "
                f"{context.builder.graph.name} first, or annotate what it returns, if that is no tensor",
                place,
            )
    return emit_call(context, function, arguments, keywords, returned)


def _annotated(function: Callable[..., Any]) -> Returned | None:
    """What a function's annotation says it returns; None where it says nothing, or that there are tensors."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:
        return None
    if "return" not in hints:
        return None
    hint = hints["return"]
    if hint in (None, type(None)):
        return noted(None)
    found = annotated_type(hint)
    return None if found is None or isinstance(found, NoneType) else Returned(LEAF, (found,))
