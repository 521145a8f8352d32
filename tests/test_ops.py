"""Every op against its own record: types, values, gradients, lowerings and errors, on the record's samples."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from ingot.ir.builder import Builder
from ingot.ir.core import Array, Graph
from ingot.ir.dims import DimExpr
from ingot.ir.dtypes import DTYPES, from_numpy
from ingot.ir.interp import run as run_graph
from ingot.ir.matching import match_types
from ingot.ir.ops import _op
from ingot.ir.ops._op import Decompose, Elementwise, Op, Reduce, Trait, View, all_ops
from ingot.ir.ops.schema import Role
from ingot.ir.random_state import default_generator
from ingot.ir.symbolic import building, emit_call
from ingot.ir.symbolic import unwrap as unwrap_value
from ingot.ir.text import parse
from ingot.ir.types import BoolType, ComplexType, FloatType, IntType, NoneType, StrType, TensorType
from ingot.ir.verify import verify
from op_samples import (
    SAMPLES,
    SEED,
    arrays_of,
    evaluate,
    every_sample,
    infer,
    mapped,
    run,
    sample_name,
    sample_of,
    symbolic_operands,
    unwrap,
    wrap,
)


@pytest.fixture(autouse=True)
def reference_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules compute on `Reference` tensors here, whatever else is installed."""
    monkeypatch.setattr(_op, "_dispatcher", run)


def strided(array: np.ndarray) -> np.ndarray:
    """An equal array that is neither contiguous nor aligned with its base."""
    base = np.zeros((*array.shape[:-1], array.shape[-1] * 2 + 1) if array.ndim else (3,), array.dtype)
    if not array.ndim:
        view = base[1:2].reshape(())
    elif array.ndim > 1:
        view = np.zeros((array.shape[-1] * 2 + 1, *array.shape[:-1]), array.dtype)[1::2]
        view = np.moveaxis(view, 0, -1)
    else:
        view = base[1::2]
    view[...] = array
    return view


def assert_types(results: tuple[Any, ...], types: tuple[Any, ...]) -> None:
    assert len(results) == len(types)
    for result, type in zip(results, types, strict=True):
        if isinstance(type, TensorType):
            assert isinstance(result, (np.ndarray, np.generic)), f"evaluate gave {result!r} for {type}"
            assert from_numpy(result.dtype) is type.dtype
            assert len(type.shape) == result.ndim
            # A size that only the data decide is a symbol.
            assert all(isinstance(d, DimExpr) or d == n for d, n in zip(type.shape, result.shape, strict=True))
        elif isinstance(type, IntType):
            assert isinstance(result, int) and not isinstance(result, bool)
            assert type.value is None or type.value == result
        else:
            expected = {BoolType: bool, FloatType: float, StrType: str, ComplexType: complex, NoneType: type_none}
            assert isinstance(result, expected[type.__class__])


type_none = type(None)


@every_sample
def test_evaluate_gives_the_inferred_types_and_leaves_its_operands_alone(op: Op, index: int) -> None:
    _, operands, attributes = sample_of(op, index)
    before = mapped(operands, np.copy)
    types = infer(op, operands, attributes)
    default_generator.manual_seed(SEED)
    results = evaluate(op, operands, attributes)
    assert_types(results, types)
    for old, new in zip(arrays_of(before), arrays_of(operands), strict=True):
        np.testing.assert_array_equal(old, new)
    default_generator.manual_seed(SEED)
    again = evaluate(op, mapped(operands, strided), attributes)
    for a, b in zip(results, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6) if not isinstance(a, str) else None
        assert not isinstance(a, str) or a == b
    if Trait.VIEW in op.traits and results[0].size:
        first = next(arrays_of(operands))
        assert np.shares_memory(first, results[0]) or not first.flags.c_contiguous


@every_sample
def test_every_dtype_is_computed_as_inferred_or_refused(op: Op, index: int) -> None:
    _, operands, attributes = sample_of(op, index)
    for dtype in DTYPES.values():
        if dtype.is_complex:
            continue

        def convert(array: np.ndarray, dtype: Any = dtype) -> np.ndarray:
            same_kind = array.dtype.kind == "f" if dtype.kind == "f" else array.dtype.kind in "fiu"
            with np.errstate(invalid="ignore"):
                return np.abs(array).astype(dtype.numpy) if same_kind else array

        converted = mapped(operands, convert)
        try:
            types = infer(op, converted, attributes)
            default_generator.manual_seed(SEED)
            results = evaluate(op, converted, attributes)
        except (RuntimeError, TypeError, IndexError, ZeroDivisionError, ValueError, OverflowError):
            continue
        assert_types(results, types)


DECOMPOSED = [(op, i) for op, i in SAMPLES if isinstance(op.lower, Decompose)]


@pytest.mark.parametrize(("op", "index"), DECOMPOSED, ids=sample_name)
def test_decomposition_computes_the_same(op: Op, index: int) -> None:
    sample, operands, attributes = sample_of(op, index)
    default_generator.manual_seed(SEED)
    expected = evaluate(op, operands, attributes)
    default_generator.manual_seed(SEED)
    found = unwrap(op.lower.function(*wrap(operands), **attributes))
    found = found if isinstance(found, tuple) else (found,)
    for a, b in zip(expected, found, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(b, a, rtol=sample.tolerance or 2e-5, atol=1e-6)


@pytest.mark.parametrize(("op", "index"), DECOMPOSED, ids=sample_name)
def test_decomposition_builds_a_graph_for_symbolic_sizes(op: Op, index: int) -> None:
    _, operands, attributes = sample_of(op, index)
    if any(array.size == 0 for array in arrays_of(operands)):
        operands = mapped(
            operands, lambda array: array if array.size else np.ones([d or 2 for d in array.shape], array.dtype)
        )
    builder = Builder("decomposition")
    values, _ = symbolic_operands(builder, op, operands)
    with building(builder):
        whole = emit_call(builder, op, values, attributes)
        parts = op.lower.function(*values, **attributes)
    whole, parts = (v if isinstance(v, tuple) else (v,) for v in (whole, parts))
    for a, b in zip(whole, parts, strict=True):
        assert a.dtype is b.dtype
        assert [builder.sizes.hint(d) for d in a.shape] == [builder.sizes.hint(d) for d in b.shape]


VIEWS = [(op, i) for op, i in SAMPLES if isinstance(op.lower, View)]


@pytest.mark.parametrize(("op", "index"), VIEWS, ids=sample_name)
def test_index_map_finds_the_same_elements(op: Op, index: int) -> None:
    _, operands, attributes = sample_of(op, index)
    (expected,) = evaluate(op, operands, attributes)
    array = operands[0]
    assert op.lower.index_map is not None
    extra: dict[str, Any] = {}
    if op.lower.operands_in_map:
        sizes = [v for p, v in zip(op.schema.operands, operands, strict=True) if p.role in (Role.INT, Role.SIZE)]
        extra["operands"] = [v for value in sizes for v in (value if isinstance(value, tuple) else (value,))]
    for where in product(*map(range, expected.shape)):
        found = op.lower.index_map(list(where), array.shape, expected.shape, **extra, **attributes)
        assert all(0 <= i < size for i, size in zip(found, array.shape, strict=True))
        np.testing.assert_array_equal(array[tuple(found)], expected[where])


REDUCTIONS = [(op, i) for op, i in SAMPLES if isinstance(op.lower, Reduce)]
_NAMES = {
    "maximum": np.maximum, "minimum": np.minimum, "inf": math.inf, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "absolute": np.abs, "select": np.where, "nan": math.nan,
}  # fmt: skip


@pytest.mark.parametrize(("op", "index"), REDUCTIONS, ids=sample_name)
def test_reduction_expressions_compute_the_same(op: Op, index: int) -> None:
    _, operands, attributes = sample_of(op, index)
    (expected,) = evaluate(op, operands, attributes)
    array = operands[0]
    dims = attributes["dim"]
    axes = tuple(range(array.ndim)) if dims in (None, ()) else dims if isinstance(dims, tuple) else (dims,)
    axes = tuple(a % max(array.ndim, 1) for a in axes) if array.ndim else ()
    kept = [a for a in range(array.ndim) if a not in axes]
    rows = np.transpose(array, (*kept, *axes)).reshape(*(array.shape[a] for a in kept), -1 if array.size else 0)
    lower = op.lower

    def compute(expression: str, **names: Any) -> Any:
        text = expression.format(**{k: k for k in names}, **{k: repr(v) for k, v in attributes.items()})
        return eval(text, {**_NAMES, **names})

    with np.errstate(all="ignore"):
        acc = compute(lower.init) + np.zeros(rows.shape[:-1], np.result_type(array.dtype, expected.dtype))
        for k in range(rows.shape[-1]):
            x = compute(lower.map, x=rows[..., k].astype(acc.dtype))
            acc = compute(lower.combine, acc=acc, x=x)
        found = compute(lower.finish, acc=acc, n=rows.shape[-1])
    np.testing.assert_allclose(np.asarray(found).reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)


def test_elementwise_expressions_name_parameters_only() -> None:
    for op in all_ops():
        if isinstance(op.lower, Elementwise):
            op.lower.expression.format(**{p.name: "0" for p in op.schema.parameters})


def test_every_public_op_refuses_something() -> None:
    assert not [op.name for op in all_ops() if op.namespaces and not tuple(op.errors())]


ERRORS = [(op, i) for op in all_ops() for i in range(len(tuple(op.errors())))]


@pytest.mark.parametrize(("op", "index"), ERRORS, ids=sample_name)
def test_bad_arguments_are_refused(op: Op, index: int) -> None:
    sample = tuple(op.errors())[index]
    with pytest.raises(sample.exception, match=sample.match):
        operands, attributes = op.schema.bind(*sample.args, **sample.kwargs)
        infer(op, operands, attributes)
        evaluate(op, operands, attributes)


def graph_of(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Graph, list[np.ndarray]]:
    """The op on its sample as a graph of symbolic sizes, and the arguments to run it with."""
    builder = Builder("sample")
    values, _ = symbolic_operands(builder, op, operands)
    with building(builder):
        results = emit_call(builder, op, values, attributes)
    results = results if isinstance(results, tuple) else (results,)
    builder.return_([unwrap_value(builder, r) for r in results])
    return builder.finish(), list(arrays_of(operands))


@every_sample
def test_graph_round_trips_and_the_interpreter_agrees(op: Op, index: int) -> None:
    _, operands, attributes = sample_of(op, index)
    graph, arguments = graph_of(op, operands, attributes)
    verify(graph)
    assert parse(str(graph)) == graph
    default_generator.manual_seed(SEED)
    expected = evaluate(op, operands, attributes)
    default_generator.manual_seed(SEED)
    found = run_graph(graph, arguments, check=True)
    for a, b in zip(expected, found, strict=True):
        if isinstance(a, str):
            assert a == b
        else:
            np.testing.assert_array_equal(a, b)


@every_sample
def test_builds_a_graph_of_static_sizes(op: Op, index: int) -> None:
    _, operands, attributes = sample_of(op, index)
    builder = Builder("static")
    values = mapped(operands, lambda array: builder.constant(Array(array)))
    with building(builder):
        results = emit_call(builder, op, values, attributes)
    results = results if isinstance(results, tuple) else (results,)
    expected = infer(op, operands, attributes)
    found = [getattr(r, "value", None) for r in results]
    for value, type in zip(found, expected, strict=True):
        if hasattr(value, "type"):
            assert match_types(value.type, type, (), {})
