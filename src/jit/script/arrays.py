"""Numpy arrays that only sizes decide, such as tables of indices: computed when the program is compiled.

The sizes become conditions of the graph. Arrays that depend on values of run time cannot be had this way.
"""

import types
import typing
from typing import Any

import numpy as np

from ...ir.types import IntType
from .context import Context
from .values import Abstract, Constant, Items, ListRef, Scalar, Slice, Tuple

__all__ = ["array_call", "array_operation", "is_array", "known_value"]

_UNKNOWN = object()


def is_array(value: Abstract) -> bool:
    """Whether a value is a numpy array known when compiling."""
    return isinstance(value, Constant) and isinstance(value.value, (np.ndarray, np.generic))


def known_value(context: Context, value: Abstract) -> Any:
    """A value as a Python object, sizes as they are in this call; `_UNKNOWN` where it is of run time."""
    match value:
        case Constant(value=constant):
            return constant
        case Scalar(value=graph_value):
            type = context.type_of(graph_value)
            if isinstance(type, IntType) and type.value is not None:
                hint = context.builder.sizes.hint(type.value)
                if hint is not None:
                    context.builder.sizes.equal(type.value, hint, f"a table was made for the size {hint}")
                    return hint
            return _UNKNOWN
        case Slice(start=start, stop=stop, step=step):
            parts = [known_value(context, p) for p in (start, stop, step)]
            return _UNKNOWN if any(p is _UNKNOWN for p in parts) else slice(*parts)
        case Tuple(items=items):
            known = [known_value(context, i) for i in items]
            return _UNKNOWN if any(k is _UNKNOWN for k in known) else tuple(known)
        case ListRef(cell=cell) if isinstance(content := context.heap[cell], Items):
            known = [known_value(context, i) for i in content.items]
            return _UNKNOWN if any(k is _UNKNOWN for k in known) else known
    return _UNKNOWN


def _makes_array(target: Any) -> bool:
    """Whether a call is of numpy, or of a function of Ingot's own that says that it gives an array."""
    if isinstance(target, (np.ufunc, type)):
        return isinstance(target, np.ufunc)
    if isinstance(getattr(target, "__self__", None), (np.ndarray, np.generic)):
        return True
    module = getattr(target, "__module__", None) or ""
    if module.partition(".")[0] == "numpy":
        return callable(target)
    if module.partition(".")[0] == "ingot" and isinstance(target, types.FunctionType):
        result = target.__annotations__.get("return")
        return result is np.ndarray or typing.get_origin(result) is np.ndarray
    return False


def array_call(
    context: Context, target: Any, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract | None:
    """A call that makes an array of sizes, made now; None where it is no such call."""
    if not _makes_array(target):
        return None
    values = [known_value(context, a) for a in arguments]
    named = {k: known_value(context, v) for k, v in keywords.items()}
    if any(v is _UNKNOWN for v in (*values, *named.values())):
        return None
    return _run(context, target, values, named)


def array_operation(context: Context, function: Any, *operands: Abstract) -> Abstract | None:
    """An operator with an array among its operands; None where there is none."""
    if not any(map(is_array, operands)):
        return None
    values = [known_value(context, o) for o in operands]
    return None if any(v is _UNKNOWN for v in values) else _run(context, function, values, {})


def _run(context: Context, function: Any, values: list[Any], named: dict[str, Any]) -> Abstract:
    try:
        result = function(*values, **named)
    except (RuntimeError, ValueError, IndexError) as error:
        context.fails(error)
    except TypeError as error:
        raise context.type_error(str(error)) from error
    if isinstance(result, (np.bool_, np.integer, np.floating)):
        return Constant(result.item())
    return Constant(result)
