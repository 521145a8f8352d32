"""Calls of Python functions in the middle of a graph: `python.call`."""

from typing import Any

from ..callbacks import callback
from ..sizes import Sizes
from ..types import Type
from ._op import Custom, Trait, define

__all__ = ["PYTHON_CALL"]


def _result_types(sizes: Sizes, values: tuple[Type, ...], *, function: str, results: Any) -> tuple[Type, ...]:
    if not all(isinstance(type, Type) for type in results):
        raise TypeError("python.call: `results` must be types")
    return tuple(results)


def _call(xp: Any, values: tuple[Any, ...], *, function: str, results: Any) -> tuple[Any, ...]:
    return tuple(callback(function).on_arrays(values))


PYTHON_CALL = define(
    "call(values: Tensors, *, function: str, results: any)",
    "Calls the Python function of a name (see `ir.callbacks`), which gives values of the types `results`.",
    name="python.call",
    infer=_result_types,
    evaluate=_call,
    traits=(Trait.EFFECT,),
    lower=Custom("python.call"),
)
