"""Every op against its own record: types, values, gradients, lowerings and errors, on the record's samples."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from ingot.ir import ops as families
from ingot.ir.builder import Builder
from ingot.ir.core import Array, Graph
from ingot.ir.dims import DimExpr
from ingot.ir.dtypes import DTYPES, float64, from_numpy
from ingot.ir.interp import run as run_graph
from ingot.ir.matching import match_types
from ingot.ir.ops import _op
from ingot.ir.ops._op import Decompose, Elementwise, Op, Reduce, Sample, Trait, View, VjpContext, all_ops
from ingot.ir.ops.schema import Role
from ingot.ir.random_state import default_generator
from ingot.ir.sizes import STATIC
from ingot.ir.symbolic import SymbolicTensor, building, emit_call
from ingot.ir.symbolic import unwrap as unwrap_value
from ingot.ir.text import parse
from ingot.ir.types import BoolType, ComplexType, FloatType, IntType, NoneType, StrType, TensorType
from ingot.ir.verify import verify

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
    result = op.evaluate(np, *operands, **attributes)
    return tuple(result) if op.outputs != 1 else (result,)


def run(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    arrays = unwrap(operands)
    infer(op, arrays, attributes)
    results = wrap(evaluate(op, arrays, attributes))
    return results[0] if len(results) == 1 else results


@pytest.fixture(autouse=True)
def reference_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules compute on `Reference` tensors here, whatever else is installed."""
    monkeypatch.setattr(_op, "_dispatcher", run)


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


every_sample = pytest.mark.parametrize(("op", "index"), SAMPLES, ids=sample_name)


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


def needed(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Which operands take a gradient: the floating-point tensors."""
    return tuple(
        needed(v) if isinstance(v, tuple) else getattr(getattr(v, "dtype", None), "kind", "") == "f" for v in operands
    )


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


@pytest.mark.parametrize(("op", "index"), GRADIENTS, ids=sample_name)
def test_vjp_builds_a_graph_for_symbolic_sizes(op: Op, index: int) -> None:
    """The rule runs on graph values whose sizes are symbols, and gradients have their operands' types."""
    _, operands, attributes = sample_of(op, index)
    builder = Builder("gradient")
    values, types = symbolic_operands(builder, op, operands)
    with building(builder):
        results = emit_call(builder, op, values, attributes)
        outputs = results if isinstance(results, tuple) else (results,)
        gradients = tuple(
            SymbolicTensor(builder, builder.argument(f"g{i}", r.type)) if r.dtype.kind == "f" else None
            for i, r in enumerate(outputs)
        )
        context = VjpContext(outputs, needed(values))
        found = op.vjp(context, gradients if len(gradients) > 1 else gradients[0], *values, **attributes)
    flat_values = [v for value in values for v in (value if isinstance(value, tuple) else (value,))]
    flat = [
        g
        for value, gradient in zip(values, found, strict=True)
        for g in (gradient or [None] * len(value) if isinstance(value, tuple) else (gradient,))
    ]
    checked = 0
    for value, gradient in zip(flat_values, flat, strict=True):
        if gradient is not None:
            hints = [builder.sizes.hint(d) for d in gradient.shape]
            assert gradient.dtype is value.dtype
            assert hints == [builder.sizes.hint(d) for d in value.shape]
            checked += 1
    assert checked or not any(g is not None for g in flat)
    assert types


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
