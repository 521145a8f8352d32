"""Derivative rules of every op: against differences, once more differentiated, and as graphs of symbolic sizes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from ingot.ir.builder import Builder
from ingot.ir.dims import DimExpr
from ingot.ir.dtypes import float64
from ingot.ir.interp import run as run_graph
from ingot.ir.ops import _op
from ingot.ir.ops._derive import derived_vjp
from ingot.ir.ops._op import Op, Trait, VjpContext
from ingot.ir.random_state import default_generator
from ingot.ir.symbolic import SymbolicTensor, building, emit_call
from op_samples import (
    SAMPLES,
    SEED,
    Reference,
    arrays_of,
    evaluate,
    infer,
    mapped,
    needed,
    run,
    sample_name,
    sample_of,
    symbolic_operands,
    wrap,
)


@pytest.fixture(autouse=True)
def reference_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules compute on `Reference` tensors here, whatever else is installed."""
    monkeypatch.setattr(_op, "_dispatcher", run)


def to_float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array.copy()


GRADIENTS = [(op, i) for op, i in SAMPLES if op.vjp is not None and tuple(op.samples())[i].differentiable]


@pytest.mark.parametrize(("op", "index"), GRADIENTS, ids=sample_name)
def test_vjp_agrees_with_central_differences(op: Op, index: int) -> None:
    sample, operands, attributes = sample_of(op, index)
    operands = mapped(operands, to_float64)
    if attributes.get("dtype") is not None:
        attributes["dtype"] = float64

    def outputs() -> tuple[Any, ...]:
        default_generator.manual_seed(SEED)
        return tuple(np.asarray(r) for r in evaluate(op, operands, attributes))

    generator = np.random.default_rng(SEED)
    results = outputs()
    cotangents = tuple(generator.uniform(-1, 1, r.shape) if r.dtype.kind == "f" else None for r in results)

    def objective() -> float:
        return sum(float((c * r).sum()) for c, r in zip(cotangents, outputs(), strict=True) if c is not None)

    context = VjpContext(wrap(results), needed(operands))
    gradients = tuple(None if c is None else Reference(c) for c in cotangents)
    found = op.vjp(context, gradients if len(gradients) > 1 else gradients[0], *wrap(operands), **attributes)
    assert len(found) == len(operands)
    compared = 0
    for operand, gradient in zip(operands, found, strict=True):
        pairs = (
            zip(operand, gradient, strict=True)
            if isinstance(operand, tuple) and gradient is not None
            else [(operand, gradient)]
        )
        for array, analytic in pairs:
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
                continue
            if analytic is not None:
                assert analytic.shape == array.shape and analytic.dtype is float64
            numeric = differences(objective, array)
            actual = np.zeros(array.shape) if analytic is None else analytic.array
            np.testing.assert_allclose(actual, numeric, rtol=sample.tolerance or 2e-6, atol=2e-7)
            compared += 1
    assert compared


def differences(objective: Callable[[], float], array: np.ndarray) -> np.ndarray:
    """The derivative of the objective by each element of the array, by central differences of fourth order."""
    step = 1e-4
    result = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        value = array[index]
        total = 0.0
        for multiple, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            array[index] = value + multiple * step
            total += weight * objective()
        array[index] = value
        result[index] = total / (12 * step)
    return result


def flat_tensors(values: Any, gradients: Any) -> Iterator[tuple[Any, Any]]:
    """Each tensor operand with its gradient (None: zero)."""
    for value, gradient in zip(values, gradients, strict=True):
        if isinstance(value, tuple):
            yield from flat_tensors(value, gradient if gradient is not None else (None,) * len(value))
        elif hasattr(value, "shape"):
            yield value, gradient


SECOND = [(op, i) for op, i in GRADIENTS if op.is_pure]


@pytest.mark.parametrize(("op", "index"), SECOND, ids=sample_name)
def test_vjp_is_differentiable(op: Op, index: int) -> None:
    """The rule's own derivative, along a random direction, against central differences."""
    _, operands, attributes = sample_of(op, index)
    operands = mapped(operands, to_float64)
    if attributes.get("dtype") is not None:
        attributes["dtype"] = float64
    generator = np.random.default_rng(SEED)
    needs = needed(operands)
    cotangents = tuple(
        Reference(generator.uniform(-1, 1, np.shape(r))) if np.asarray(r).dtype.kind == "f" else None
        for r in evaluate(op, operands, attributes)
    )

    def gradients(*values: Any) -> tuple[Any, ...]:
        results = run(op, values, attributes)
        if _op._local.calls is not None:
            _op._local.calls.append((op, values, attributes, results))
        outputs = results if isinstance(results, tuple) else (results,)
        given = cotangents if len(cotangents) > 1 else cotangents[0]
        found = op.vjp(VjpContext(outputs, needs), given, *values, **attributes)
        return tuple(g for _, g in flat_tensors(values, found) if g is not None)

    weights = [Reference(generator.uniform(-1, 1, g.shape)) for g in gradients(*wrap(operands))]

    def objective() -> float:
        found = gradients(*wrap(operands))
        return sum(float((w.array * g.array).sum()) for w, g in zip(weights, found, strict=True))

    found = derived_vjp(gradients)(VjpContext((), needs), tuple(weights), *wrap(operands))
    pairs = [(a, g) for a, g in flat_tensors(operands, found) if a.dtype.kind == "f"]
    directions = [generator.uniform(-1, 1, a.shape) for a, _ in pairs]
    analytic = sum(float((d * g.array).sum()) for (_, g), d in zip(pairs, directions, strict=True) if g is not None)
    numeric, step = 0.0, 1e-4
    for multiple, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
        for (array, _), direction in zip(pairs, directions, strict=True):
            array += multiple * step * direction
        numeric += weight * objective() / (12 * step)
        for (array, _), direction in zip(pairs, directions, strict=True):
            array -= multiple * step * direction
    assert analytic == pytest.approx(numeric, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("op", "index"), GRADIENTS, ids=sample_name)
def test_vjp_of_symbolic_sizes_computes_the_same(op: Op, index: int) -> None:
    """The rule as a graph whose sizes are symbols, and what the interpreter makes of it."""
    _, operands, attributes = sample_of(op, index)
    generator = np.random.default_rng(SEED)
    builder = Builder("gradient")
    values, types = symbolic_operands(builder, op, operands)
    assert types
    default_generator.manual_seed(SEED)
    results = evaluate(op, operands, attributes)
    with building(builder):
        outputs = emit_call(builder, op, values, attributes)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        floats = [r.dtype.kind == "f" for r in outputs]
        # Gradients have the results' sizes: a graph of their symbols where those stand alone, of numbers where not.
        arrays = [
            generator.uniform(-1, 1, np.shape(r)).astype(np.asarray(r).dtype) if f else None
            for r, f in zip(results, floats, strict=True)
        ]
        gradients = tuple(
            SymbolicTensor(builder, builder.argument(f"g{i}", r.type)) if f else None
            for i, (r, f) in enumerate(zip(outputs, floats, strict=True))
        )
        given = gradients if len(gradients) > 1 else gradients[0]
        found = op.vjp(VjpContext(outputs, needed(values)), given, *values, **attributes)
        pairs = [(v, g) for v, g in flat_tensors(values, found) if g is not None]
        for value, gradient in pairs:
            assert gradient.dtype is value.dtype
            assert [builder.sizes.hint(d) for d in gradient.shape] == [builder.sizes.hint(d) for d in value.shape]
    if Trait.RANDOM in op.traits or any(
        isinstance(d, DimExpr) for t in infer(op, operands, attributes) for d in t.shape
    ):
        return  # the sizes of a result are not known before it is computed
    builder.return_([g.value for _, g in pairs])
    graph = builder.finish()
    direct_given = tuple(None if a is None else Reference(a) for a in arrays)
    direct_given = direct_given if len(direct_given) > 1 else direct_given[0]
    direct = op.vjp(VjpContext(wrap(results), needed(operands)), direct_given, *wrap(operands), **attributes)
    expected = [g.array for _, g in flat_tensors(operands, direct) if g is not None]
    arguments = [*arrays_of(operands), *(a for a in arrays if a is not None)]
    for a, b in zip(expected, run_graph(graph, arguments), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
