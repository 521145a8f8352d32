"""Samples of every op as arrays, graph values and `Reference` tensors, for the tests that walk the records."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from ingot.ir import ops as families
from ingot.ir.builder import Builder
from ingot.ir.dtypes import from_numpy
from ingot.ir.ops._op import Op, Sample, all_ops
from ingot.ir.sizes import STATIC
from ingot.ir.symbolic import SymbolicTensor
from ingot.ir.types import BoolType, ComplexType, FloatType, IntType, StrType, TensorType

assert families
OPS = [op for op in all_ops() if op.evaluate is not None and tuple(op.samples())]
SAMPLES = [(op, i) for op in OPS for i in range(len(tuple(op.samples())))]
SEED = 1234


class Reference:
    """A tensor for rules written in public ops: an array, and the attributes that rules may read."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> Any:
        return from_numpy(self.array.dtype)


def wrap(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return Reference(value)
    return tuple(map(wrap, value)) if isinstance(value, (tuple, list)) else value


def unwrap(value: Any) -> Any:
    if isinstance(value, Reference):
        return value.array
    return tuple(map(unwrap, value)) if isinstance(value, (tuple, list)) else value


def type_of(value: Any) -> Any:
    match value:
        case tuple() | list():
            return tuple(map(type_of, value))
        case np.ndarray() | np.generic():
            return TensorType(from_numpy(value.dtype), np.shape(value))
        case None:
            return None
        case bool():
            return BoolType()
        case int():
            return IntType(value)
        case float():
            return FloatType()
        case complex():
            return ComplexType()
        case str():
            return StrType()
    raise TypeError(f"no type for {value!r}")


def infer(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Any, ...]:
    return op.infer_types(STATIC, type_of(operands), attributes)


def evaluate(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Any, ...]:
    assert op.evaluate is not None
    result = op.run(np, operands, attributes)
    return tuple(result) if op.outputs != 1 else (result,)


def run(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    arrays = unwrap(operands)
    infer(op, arrays, attributes)
    results = wrap(evaluate(op, arrays, attributes))
    return results[0] if len(results) == 1 else results


def sample_of(op: Op, index: int) -> tuple[Sample, tuple[Any, ...], dict[str, Any]]:
    sample = tuple(op.samples())[index]
    operands, attributes = op.schema.bind(*sample.args, **sample.kwargs)
    return sample, as_arrays(operands), attributes


def as_arrays(values: Any) -> Any:
    """numpy's scalars as arrays of rank 0."""
    return tuple(
        as_arrays(v) if isinstance(v, tuple) else np.asarray(v) if isinstance(v, np.generic) else v for v in values
    )


def sample_name(value: Any) -> str:
    return value.name if isinstance(value, Op) else str(value)


def arrays_of(values: Any) -> Iterator[np.ndarray]:
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from arrays_of(value)


def mapped(values: Any, function: Callable[[np.ndarray], Any]) -> Any:
    return tuple(
        function(v) if isinstance(v, np.ndarray) else mapped(v, function) if isinstance(v, tuple) else v for v in values
    )


def needed(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Which operands take a gradient: the floating-point tensors."""
    return tuple(
        needed(v) if isinstance(v, tuple) else getattr(getattr(v, "dtype", None), "kind", "") == "f" for v in operands
    )


def symbolic_operands(builder: Builder, op: Op, operands: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Any]]:
    """The operands as arguments of a graph, every size a symbol with the sample's size as its example."""
    types: list[Any] = []

    def argument(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(argument(v) for v in value)
        if not isinstance(value, np.ndarray):
            return value
        shape = tuple(builder.sizes.fresh(hint=size) for size in value.shape)
        type = TensorType(from_numpy(value.dtype), shape)
        types.append(type)
        return SymbolicTensor(builder, builder.argument(f"x{len(types)}", type))

    return tuple(argument(v) for v in operands), types


every_sample = pytest.mark.parametrize(("op", "index"), SAMPLES, ids=sample_name)
