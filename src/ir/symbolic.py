"""Runs rules written in public ops (`F.exp(x)`) on graph values: each call appends an instruction.

Derivative rules and decompositions are Python functions over tensors. Inside `building(builder)` they get
`SymbolicTensor`s, and every `F` call infers its types and emits an instruction, so that one rule serves eager
execution and graphs alike.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .builder import Builder
from .core import Value
from .dims import Dim, DimExpr
from .dtypes import DType
from .ops._op import Op, counted_builder, set_builder_dispatcher
from .ops.schema import Role
from .types import ScalarType, TensorType

__all__ = ["SymbolicTensor", "building", "emit_call", "unwrap", "wrap"]


class SymbolicTensor:
    """A tensor that is a value of the graph being built: it has a type and no data."""

    __slots__ = ("builder", "value")
    __array_ufunc__ = None

    def __init__(self, builder: Builder, value: Value) -> None:
        self.builder = builder
        self.value = value

    @property
    def type(self) -> TensorType:
        type = self.builder.resolve(self.value.type)
        assert isinstance(type, TensorType)
        return type

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    def __repr__(self) -> str:
        return f"SymbolicTensor({self.value!r})"


class SymbolicScalar:
    """A Python number that is a value of the graph being built."""

    __slots__ = ("builder", "value")

    def __init__(self, builder: Builder, value: Value) -> None:
        self.builder = builder
        self.value = value


_local = threading.local()


@contextmanager
def building(builder: Builder) -> Iterator[Builder]:
    """Send `F` calls of this thread into the builder."""
    previous = getattr(_local, "builder", None)
    with counted_builder():
        _local.builder = builder
        try:
            yield builder
        finally:
            _local.builder = previous


def wrap(builder: Builder, value: Value | None) -> Any:
    """What a rule sees of a graph value."""
    if value is None:
        return None
    if isinstance(value.type, TensorType):
        return SymbolicTensor(builder, value)
    constant = value.instruction
    if constant is not None and constant.op.name == "constant":
        return constant.attributes["value"]
    return SymbolicScalar(builder, value)


def unwrap(builder: Builder, value: Any) -> Value | None:
    """The graph value of what a rule passes on: a symbolic tensor, a number (made a constant), a size, an array."""
    match value:
        case None:
            return None
        case SymbolicTensor() | SymbolicScalar():
            return value.value
        case Value():
            return value
        case DimExpr():
            return builder.dim(value)
        case bool() | int() | float() | complex() | str() | np.ndarray():
            return builder.constant(value)
        case np.generic():
            return builder.constant(value.item())
    raise TypeError(f"a rule passed {type(value).__name__} to an op: expected a tensor or a number")


def emit_call(builder: Builder, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Emit an op on rule-level operands (one per operand parameter) and wrap its results."""
    flat: list[Value | None] = []
    for parameter, operand in zip(op.schema.operands, operands, strict=True):
        for item in operand if parameter.role.is_group else (operand,):
            value = unwrap(builder, item)
            if parameter.role in (Role.INT, Role.SIZE) and value is not None and isinstance(value.type, ScalarType):
                value, _ = builder.as_dim(value)
            flat.append(value)
    results = [wrap(builder, r) for r in builder.emit_all(op, flat, attributes)]
    return results[0] if len(results) == 1 else tuple(results)


def _dispatch_to_builder(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    builder = getattr(_local, "builder", None)
    return NotImplemented if builder is None else emit_call(builder, op, operands, attributes)


set_builder_dispatcher(_dispatch_to_builder)
