"""Every op's samples in a graph with symbolic sizes: verified, printed, read, run, optimised, differentiated."""

from typing import Any

import numpy as np
import pytest
from ingot import ir
from ingot.ir.ops._op import Trait
from ingot.ir.ops.schema import Role
from ingot.ir.passes import DifferentiationError, decompose, differentiate
from ingot.ir.pipeline import run_pipeline
from ingot.ir.symbolic import building, unwrap, wrap


def _samples() -> list[Any]:
    found = []
    for op in ir.all_ops():
        if not op.name.startswith(("dict.", "list.", "optional.", "scalar.", "set.", "str.", "tuple.")):
            for index, sample in enumerate(op.samples()):
                found.append(pytest.param(op, sample, id=f"{op.name}-{index}"))
    return found


def _build(op: ir.Op, sample: Any) -> tuple[ir.Graph, list[Any]]:
    """A graph of one instruction whose arguments are the sample's arrays, with a symbol for each size but 0."""
    builder = ir.Builder("sample")
    arrays: list[Any] = []

    def argument(value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.asarray(value)
            arrays.append(array)
            # An empty dimension is a different program: some decompositions give a constant for it.
            shape = tuple(builder.sizes.fresh(size) if size else 0 for size in array.shape)
            return wrap(
                builder, builder.argument(f"x{len(arrays)}", ir.TensorType(ir.dtypes.from_numpy(array.dtype), shape))
            )
        if isinstance(value, (list, tuple)) and any(isinstance(v, np.ndarray) for v in value):
            return [argument(v) for v in value]
        return value

    args = [argument(v) for v in sample.args]
    kwargs = {k: argument(v) for k, v in sample.kwargs.items()}
    operands, attributes = op.schema.bind(*args, **kwargs)
    flat: list[Any] = []
    with building(builder):
        for parameter, operand in zip(op.schema.operands, operands, strict=True):
            for item in operand if parameter.role.is_group else (operand,):
                value = unwrap(builder, item)
                if parameter.role in (Role.INT, Role.SIZE) and value is not None:
                    value, _ = builder.as_dim(value)
                flat.append(value)
        results = builder.emit_all(op, flat, attributes)
    builder.return_(results)
    return builder.finish(), arrays


def _same(expected: list[Any], actual: list[Any], tolerance: float = 1e-4) -> None:
    assert len(expected) == len(actual)
    for a, b in zip(expected, actual, strict=True):
        assert type(a) is type(b)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("op", "sample"), _samples())
def test_sample(op: ir.Op, sample: Any) -> None:
    graph, arrays = _build(op, sample)
    ir.verify(graph)
    assert ir.parse(str(graph)) == graph
    if Trait.RANDOM in op.traits:
        run_pipeline(graph, verify=True)
        return
    expected = ir.run(graph, arrays, check=True)
    half = any(a.dtype == np.float16 for a in (*arrays, *(r for r in expected if isinstance(r, np.ndarray))))
    tolerance = 2e-2 if half else 1e-4
    for changed in (run_pipeline(graph, verify=True), decompose(graph)):
        ir.verify(changed)
        _same(expected, ir.run(changed, arrays, check=True), tolerance)
    try:
        derivative = differentiate(graph)
    except DifferentiationError:
        return
    ir.verify(derivative.forward)
    ir.verify(derivative.backward)
    results = ir.run(derivative.forward, arrays, check=True)
    _same(expected, results[: len(expected)], tolerance)
    seeds = [np.ones_like(expected[i]) for i in derivative.outputs]
    gradients = ir.run(derivative.backward, [*results[len(expected) :], *seeds], check=True)
    assert [g.shape for g in gradients] == [arrays[i].shape for i in derivative.inputs]
