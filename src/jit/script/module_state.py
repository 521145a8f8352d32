"""Numbers that a program keeps in attributes of modules, as in `self.calls += 1`.

The first assignment to one makes the program be compiled again with the number in a tensor beside the module: a
parameter of the graph, read and written back like a buffer. So another value needs no other graph.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...eager.module import Module
from ...eager.tensor import Tensor, wrap
from ...ir.core import Value
from ...ir.dtypes import bool_, float64, int64
from ..errors import ScriptError
from .context import Context
from .operators import number, scalar_kind
from .values import Abstract, Cell, Items, Scalar, TensorRef

__all__ = ["ModuleNumber", "NeedsState", "assign_number", "begin_state", "is_state", "state_results"]

_DTYPES = {bool: bool_, int: int64, float: float64}


@dataclass
class ModuleNumber:
    """An attribute that programs assign: the module, its name, the type of its values, and the tensor beside it."""

    owner: Module
    name: str
    kind: type
    tensor: Tensor

    def load(self) -> None:
        """Take the attribute's present value; TypeError where it is no longer of its type."""
        value = self.owner.__dict__[self.name]
        if type(value) is not self.kind:
            raise TypeError(
                f"attribute {self.name!r} of {type(self.owner).__name__} was {self.kind.__name__} when the program was "
                f"compiled, and is {type(value).__name__} now"
            )
        self.tensor._array[...] = value

    def store(self) -> None:
        """Give the attribute what the program left."""
        self.owner.__dict__[self.name] = self.tensor.item()


class NeedsState(Exception):
    """A program assigns to an attribute of a module that was taken as a constant so far."""

    def __init__(self, found: ModuleNumber, error: ScriptError) -> None:
        super().__init__(found.name)
        self.found, self.error = found, error


def is_state(context: Context, module: Module, name: str) -> bool:
    """Whether the program keeps this attribute as state."""
    return (id(module), name) in context.states


def begin_state(context: Context) -> None:
    """Read all state where the program begins."""
    from .objects import parameter

    for key, kept in context.states.items():
        reference = parameter(context, kept.tensor, f"{context.module_name(kept.owner)}{kept.name}")
        cell = Cell("attribute", name=kept.name)
        context.attributes[key] = cell
        context.initial[cell] = Items((Scalar(context.emit("item", context.read(reference))),))
        context.state_tensors[cell] = reference


def assign_number(context: Context, module: Module, name: str, value: Abstract) -> bool:
    """`module.name = value` for an attribute that is a number; False where it is none."""
    if name not in module.__dict__ or type(module.__dict__[name]) not in _DTYPES:
        return False
    kind: type = type(module.__dict__[name])
    if not is_state(context, module, name):
        tensor = wrap(_scalar(kind, module.__dict__[name]))
        raise NeedsState(
            ModuleNumber(module, name, kind, tensor),
            context.error(f"attribute {name!r} of {type(module).__name__} cannot be assigned here"),
        )
    given = scalar_kind(value)
    if isinstance(value, TensorRef) or given is None or given not in _FITS[kind]:
        raise context.error(
            f"attribute {name!r} of {type(module).__name__} is {kind.__name__} and cannot become "
            f"{context.describe(value)}",
            "keep one type of number in an attribute",
        )
    cell = context.attributes[(id(module), name)]
    found = number(context, value)
    if given != kind.__name__:
        found = context.emit(f"scalar.to_{kind.__name__}", found)
    context.heap[cell] = Items((Scalar(found),))
    return True


_FITS = {bool: ("bool",), int: ("int",), float: ("float",)}


def _scalar(kind: type, value: Any) -> Any:
    return np.asarray(value, _DTYPES[kind].numpy)


def state_results(context: Context) -> list[tuple[TensorRef, Value]]:
    """The tensors of state that changed, and their new values."""
    found: list[tuple[TensorRef, Value]] = []
    for cell, reference in context.state_tensors.items():
        (old,), (new,) = context.initial[cell].items, context.heap[cell].items
        if new is not old:
            dtype = context.tensor_type(reference).dtype
            found.append((reference, context.emit("full", number(context, new), dtype=dtype)))
    return found
