"""The shorter ways to evaluate ops give exactly, or for sums nearly, what the op records give."""

import warnings
from contextlib import suppress
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.eager.dispatch import dispatch
from ingot.eager.fast import CHECKED_SHORTCUTS, FLOAT_UFUNCS
from ingot.eager.fast import SHORTCUTS as UNCHECKED_SHORTCUTS
from ingot.eager.fast_gradients import FAST_GRADIENTS
from ingot.eager.fast_views import VIEW_SHORTCUTS
from ingot.eager.selection import chosen, kept
from ingot.ir.ops._op import get_op
from op_samples import infer

SHORTCUTS = UNCHECKED_SHORTCUTS | CHECKED_SHORTCUTS | VIEW_SHORTCUTS
SAMPLES = [(name, i) for name in SHORTCUTS for i, _ in enumerate(get_op(name).samples())]
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3e38], np.float32)


def both(name: str, operands: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        op = get_op(name)
        try:
            infer(op, operands, attributes)
            refused = False
        except (RuntimeError, IndexError, TypeError, ValueError):
            refused = True
        try:
            short = SHORTCUTS[name](*operands, **attributes)
        except (AttributeError, TypeError, ValueError, IndexError):
            short = NotImplemented
        if refused:  # what the record refuses, no short form that runs before it may accept
            assert name in CHECKED_SHORTCUTS or short is NotImplemented
            return NotImplemented, None
        return short, op.evaluate(np, *operands, **attributes)


# Of several numpy calls in another order than the reference's, or sums: equal but for rounding.
ROUNDED = {"cross_entropy", "linear", "log_softmax", "mean", "sigmoid", "silu", "softmax", "sum"}


def assert_same(name: str, short: Any, reference: Any) -> None:
    if short is NotImplemented:
        return
    assert short.dtype == reference.dtype and short.shape == reference.shape
    if name in ROUNDED:
        np.testing.assert_allclose(short, reference, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(short, reference)
        assert (np.signbit(short) == np.signbit(reference)).all()


@pytest.mark.parametrize(("name", "number"), SAMPLES)
def test_samples(name: str, number: int) -> None:
    sample = list(get_op(name).samples())[number]
    operands, attributes = get_op(name).schema.bind(*sample.args, **sample.kwargs)
    short, reference = both(name, operands, attributes)
    assert_same(name, short, reference)


@pytest.mark.parametrize("name", [name for name in SHORTCUTS if any(True for _ in get_op(name).errors())])
def test_what_the_record_refuses_is_left_to_it(name: str) -> None:
    for sample in get_op(name).errors():
        try:
            operands, attributes = get_op(name).schema.bind(*sample.args, **sample.kwargs)
        except TypeError:
            continue
        try:
            short, _ = both(name, operands, attributes)
        except (RuntimeError, IndexError, TypeError, ValueError):  # what only evaluation finds
            with suppress(AttributeError, TypeError, ValueError, IndexError):
                assert SHORTCUTS[name](*operands, **attributes) is NotImplemented
            continue
        assert short is NotImplemented


@pytest.mark.parametrize("name", VIEW_SHORTCUTS)
def test_views_share_memory_in_the_same_places(name: str) -> None:
    for sample in get_op(name).samples():
        operands, attributes = get_op(name).schema.bind(*sample.args, **sample.kwargs)
        short, reference = both(name, operands, attributes)
        if short is NotImplemented or not short.size:
            continue
        assert np.shares_memory(short, operands[0])
        place = [n for n in range(short.ndim) if short.shape[n] > 1]  # strides of size 1 say nothing
        assert [short.strides[n] for n in place] == [reference.strides[n] for n in place]
        assert short.__array_interface__["data"][0] == reference.__array_interface__["data"][0]


GRADIENTS = [(name, i) for name in FAST_GRADIENTS for i, _ in enumerate(get_op(name).samples())]


@pytest.mark.parametrize(("name", "number"), GRADIENTS)
def test_short_gradients_are_those_of_the_records(name: str, number: int) -> None:
    sample = list(get_op(name).samples())[number]

    def gradients(short: bool) -> list[Any] | None:
        op = get_op(name)
        operands, attributes = op.schema.bind(*sample.args, **sample.kwargs)
        tensors = [
            ingot.tensor(o, requires_grad=o.dtype.kind == "f") if isinstance(o, np.ndarray) else o for o in operands
        ]
        result = dispatch(op, tuple(tensors), attributes)
        if not isinstance(result, ingot.Tensor) or not result.requires_grad:
            return None
        seed = ingot.from_numpy(np.random.default_rng(0).random(result.shape).astype(result.numpy(force=True).dtype))
        leaves = [t for t in tensors if isinstance(t, ingot.Tensor) and t.requires_grad]
        if short:
            result.backward(seed)
            return [leaf.grad for leaf in leaves]
        return list(ingot.autograd.grad(result, leaves, seed, create_graph=True, allow_unused=True))

    found, expected = gradients(True), gradients(False)
    if found is None or expected is None:
        return
    for a, b in zip(found, expected, strict=True):
        if a is None or b is None:
            assert a is b
            continue
        assert a.dtype is b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a.numpy(), b.numpy(force=True), rtol=1e-5, atol=1e-6)


def test_the_shortcuts_apply_to_floats() -> None:
    applied = {name for name, _ in SAMPLES for short, _ in [both_of_first(name)] if short is not NotImplemented}
    assert applied >= set(FLOAT_UFUNCS) | {"add", "mul", "div", "relu", "sum", "mean", "matmul", "max_pool2d", "where"}


def both_of_first(name: str) -> tuple[Any, Any]:
    sample = next(iter(get_op(name).samples()))
    operands, attributes = get_op(name).schema.bind(*sample.args, **sample.kwargs)
    return both(name, operands, attributes)


@pytest.mark.parametrize("name", [*FLOAT_UFUNCS, "relu"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_special_values(name: str, dtype: str) -> None:
    with np.errstate(all="ignore"):
        values = SPECIAL.astype(dtype)
    short, reference = both(name, (values,), {})
    assert_same(name, short, reference)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum", "eq", "lt"])
@pytest.mark.parametrize("other", [2.5, 3, 0, -0.0, float("nan"), float("inf")])
def test_numbers(name: str, other: Any) -> None:
    for operands in ((SPECIAL, other), (other, SPECIAL), (SPECIAL.reshape(7, 1), SPECIAL)):
        short, reference = both(name, operands, {})
        assert_same(name, short, reference)


@pytest.mark.parametrize("shape", [(40_003,), (200, 201), (7, 11, 600), (3, 20_000), (64, 1024)])
@pytest.mark.parametrize("dim", [None, (0,), (-1,), (0, 1)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_large_sums(shape: tuple[int, ...], dim: Any, keepdim: bool) -> None:
    if dim is not None and max(dim) >= len(shape):
        dim = (0,)
    x = np.random.default_rng(0).random(shape, np.float32)
    for name in ("sum", "mean"):
        short, reference = both(name, (x,), {"dim": dim, "keepdim": keepdim, "dtype": None})
        short = np.asarray(short)
        exact = getattr(np, name)(x.astype(np.float64), axis=dim, keepdims=keepdim)
        assert short.dtype == np.float32 and short.shape == reference.shape
        np.testing.assert_allclose(short, exact, rtol=2e-6)


def test_large_sums_keep_nan_and_infinity() -> None:
    x = np.ones(100_000, np.float32)
    x[77_777] = np.inf
    assert ingot.from_numpy(x).sum().item() == np.inf
    x[5] = -np.inf
    assert np.isnan(ingot.from_numpy(x).sum().item())


def test_pooling_takes_the_first_of_equal_elements() -> None:
    x = ingot.zeros(1, 1, 4, 4, requires_grad=True)
    ingot.nn.functional.max_pool2d(x, 2).backward(ingot.tensor([[[[1.0, float("inf")], [3.0, 4.0]]]]))
    assert x.grad is not None
    expected = [[1, 0, np.inf, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_choices_by_mask_are_numpys(dtype: Any) -> None:
    draws = np.random.default_rng(0)
    a, b = draws.standard_normal((2, 60, 70)).astype(dtype)
    mask = draws.random((60, 70)) > 0.5
    a[0, :4] = [np.nan, np.inf, -0.0, -np.inf]
    for x, y in ((a, b), (a, dtype(3)), (dtype(0), b), (np.asfortranarray(a), b), (a, b[0])):
        np.testing.assert_array_equal(chosen(mask, x, y).view(np.uint8), np.where(mask, x, y).view(np.uint8))
    for values in (a, a.T.copy().T, a[:2, :2]):
        part = mask[: values.shape[0], : values.shape[1]]
        np.testing.assert_array_equal(kept(part, values), np.where(part, values, 0))


@pytest.mark.parametrize("shape", [(6, 4, 5, 3), (7, 4), (5, 4, 6)])
def test_the_short_gradient_of_batch_norm_is_that_of_the_record(shape: tuple[int, ...]) -> None:
    draws = np.random.default_rng(0)
    x = ingot.tensor(draws.standard_normal(shape), requires_grad=True)
    weight, bias = (ingot.tensor(draws.standard_normal(4), requires_grad=True) for _ in range(2))
    seed = ingot.tensor(draws.standard_normal(shape))
    result = ingot.nn.functional.batch_norm(x, None, None, weight, bias, training=True)
    expected = ingot.autograd.grad(result, [x, weight, bias], seed, create_graph=True)
    result.backward(seed)
    for leaf, other in zip((x, weight, bias), expected, strict=True):
        np.testing.assert_allclose(leaf.grad.numpy(), other.detach().numpy(), rtol=1e-9, atol=1e-12)
