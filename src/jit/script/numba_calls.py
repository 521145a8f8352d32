"""Calls of functions that Numba compiled (`numba.njit`): scalar ops of the user's own."""

import inspect
import sys
from typing import Any

from ...ir.types import NoneType, TupleType, Type
from ..tree import LEAF, Structure, constant_structure, tuple_structure
from .context import Context
from .operators import number, scalar_kind
from .python_calls import Returned, emit_call
from .values import Abstract, Constant, Scalar, TensorRef, Tuple

__all__ = ["call_compiled", "is_compiled_by_numba"]


def is_compiled_by_numba(target: Any) -> bool:
    """Whether something is a function that `numba.njit` made; where it is, Numba is imported already."""
    numba = sys.modules.get("numba")
    return numba is not None and numba.extending.is_jitted(target)


def call_compiled(context: Context, target: Any, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    """A call of such a function: its own machine code, typed by Numba for the types of the arguments."""
    from ..codegen.numba_functions import resolve

    name = getattr(target, "__name__", "the function")
    try:
        bound = inspect.signature(target.py_func).bind(*arguments, **keywords)
    except TypeError as error:
        raise context.type_error(f"{name}() {error}") from error
    bound.apply_defaults()
    values = [v if isinstance(v, Abstract) else context.lift(v) for v in bound.args]
    operands = tuple([_operand_type(context, name, v) for v in values])
    try:
        found = resolve(target, operands)
    except TypeError as error:
        raise context.error(
            f"the Numba function {name} cannot be called with ({', '.join(map(str, operands))}): {error}",
            "pass what it takes, or call it in a Python function that is marked @jit.ignore",
        ) from error
    types: list[Type] = []
    structure = _structure(found.result, types)
    given = [_run_time(context, v) for v in values]
    return emit_call(context, target, given, {}, Returned(structure, tuple(types)), found)


def _run_time(context: Context, value: Abstract) -> Abstract:
    """An argument whose numbers are values of the graph, so that they are passed in one way."""
    if isinstance(value, Tuple):
        return Tuple(tuple([_run_time(context, v) for v in value.items]))
    return value if isinstance(value, Constant) and value.value is None else Scalar(number(context, value))


def _operand_type(context: Context, name: str, value: Abstract) -> Type:
    if isinstance(value, Tuple) and value.type is tuple:
        return TupleType(tuple([_operand_type(context, name, v) for v in value.items]))
    if isinstance(value, Constant) and value.value is None:
        return NoneType()
    if scalar_kind(value) in ("bool", "int", "float", "complex"):
        type = context.type_of(number(context, value))
        return type.__class__()
    hint = "take the number out: `x.item()`" if isinstance(value, TensorRef) else "pass its numbers"
    raise context.error(
        f"the Numba function {name} is called with {context.describe(value)}: a compiled program calls such functions "
        "with numbers, and tuples of them",
        f"{hint}, or call it in a Python function that is marked @jit.ignore",
    )


def _structure(type: Type, types: list[Type]) -> Structure:
    """How what a function gives is put together; the types of its numbers are added to `types`."""
    if isinstance(type, TupleType):
        return tuple_structure([_structure(t, types) for t in type.elements])
    if isinstance(type, NoneType):
        return constant_structure(None)
    types.append(type)
    return LEAF
