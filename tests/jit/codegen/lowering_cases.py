"""Graphs for lowering tests: one op's sample as a graph, and running a graph on every executor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ingot.ir import run
from ingot.ir.builder import Builder
from ingot.ir.core import Graph, Value
from ingot.ir.dtypes import from_numpy
from ingot.ir.ops._op import Op, Sample
from ingot.ir.ops.schema import Role
from ingot.ir.symbolic import SymbolicTensor, building, emit_call
from ingot.ir.types import TensorType
from ingot.jit.codegen.compile import compile_module
from ingot.jit.codegen.generate import generate
from ingot.jit.codegen.module import GeneratedModule
from ingot.jit.program import Layout, NativeProgram, PythonProgram


@dataclass
class Case:
    """A graph and arguments for it."""

    graph: Graph
    arguments: list[Any]


def _flat_results(results: Any) -> list[Value]:
    found: list[Value] = []
    for result in results if isinstance(results, tuple) else (results,):
        found.append(result.value)
    return found


def case_of(op: Op, sample: Sample, *, symbolic: bool) -> Case:
    """A graph that applies the op to the sample: arrays become arguments, numbers constants.

    With `symbolic`, every size of an argument is a symbol.
    """
    operands, attributes = op.schema.bind(*sample.args, **sample.kwargs)
    builder = Builder(op.name.replace(".", "_"))
    arguments: list[Any] = []

    def value_of(value: Any, role: Role) -> Any:
        if isinstance(value, tuple):
            return tuple(value_of(v, role) for v in value)
        if not isinstance(value, (np.ndarray, np.generic)):
            return value
        array = np.asarray(value)
        shape = tuple(builder.sizes.fresh(hint=n) if symbolic else n for n in array.shape)
        argument = builder.argument(f"x{len(arguments)}", TensorType(from_numpy(array.dtype), shape))
        arguments.append(array)
        return SymbolicTensor(builder, argument)

    with building(builder):
        values = tuple(value_of(o, p.role) for o, p in zip(operands, op.schema.operands, strict=True))
        results = emit_call(builder, op, values, attributes)
    builder.return_(_flat_results(results))
    return Case(builder.finish(), arguments)


def native(graph: Graph, *, use_cache: bool = True) -> tuple[GeneratedModule, NativeProgram]:
    """The graph compiled."""
    module = generate(graph)
    return module, NativeProgram(Layout.of(module), compile_module(module, use_cache=use_cache).object)


def unjitted(graph: Graph) -> PythonProgram:
    """The graph's generated sources as plain Python."""
    return PythonProgram(generate(graph))


def reference(case: Case) -> list[Any]:
    """What the interpreter gives."""
    return run(case.graph, case.arguments)


def assert_same(found: Any, expected: Any, tolerance: float = 2e-6) -> None:
    """Equal values, shapes and dtypes; floats within a relative tolerance of the largest magnitude around 1."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind in "fc":
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(found, expected)
