"""Ops that draw random numbers, from the generator of `random_state`; their order in a graph is kept."""

from typing import Any

import numpy as np

from ..dtypes import DType, bool_, default_dtype, int64
from ..random_state import default_generator
from ..sizes import Sizes
from ..types import IntType, TensorType
from ._common import array_dtype, floating, ints, randoms, require_tensor
from ._op import Custom, Decompose, ErrorSample, F, Sample, Trait, VjpContext, define
from .create import size_dims

_RANDOM = (Trait.RANDOM,)


def _floating_size(name: str, size: tuple[Any, ...], dtype: DType | None) -> TensorType:
    dtype = dtype or default_dtype()
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating-point dtype, given {dtype!r}")
    return TensorType(dtype, size_dims(name, size))


RAND = define(
    "rand(*size: Size, dtype: dtype | None = None)",
    "A tensor of numbers uniform in [0, 1).",
    infer=lambda sizes, size, *, dtype: _floating_size("rand", size, dtype),
    evaluate=lambda xp, size, *, dtype: xp.asarray(default_generator.uniform(size, (dtype or default_dtype()).numpy)),
    traits=_RANDOM,
    lower=Custom("rand"),
    samples=lambda: [Sample((2, 3)), Sample(((0, 4),)), Sample(((),)), Sample((5,), {"dtype": "float64"})],
    errors=lambda: [
        ErrorSample((2, -3), RuntimeError, "negative"),
        ErrorSample((2,), RuntimeError, "floating-point", {"dtype": "int64"}),
    ],
)
RANDN = define(
    "randn(*size: Size, dtype: dtype | None = None)",
    "A tensor of numbers from the standard normal distribution.",
    infer=lambda sizes, size, *, dtype: _floating_size("randn", size, dtype),
    evaluate=lambda xp, size, *, dtype: xp.asarray(default_generator.normal(size, (dtype or default_dtype()).numpy)),
    traits=_RANDOM,
    lower=Custom("randn"),
    samples=lambda: [Sample((2, 3)), Sample(((0, 4),)), Sample(((),)), Sample((5,), {"dtype": "float16"})],
    errors=lambda: [ErrorSample((2,), RuntimeError, "floating-point", {"dtype": "bool"})],
)


def _infer_randint(sizes: Sizes, low: Any, high: Any, size: tuple[Any, ...], *, dtype: DType) -> TensorType:
    for name, type in (("low", low), ("high", high)):
        if not isinstance(type, IntType):
            raise TypeError(f"randint(): argument '{name}' must be int, not {type}")
    if isinstance(low.value, int) and isinstance(high.value, int) and low.value >= high.value:
        raise RuntimeError(f"randint: expected low < high, given low={low.value} and high={high.value}")
    return TensorType(dtype, size_dims("randint", size))


def _evaluate_randint(xp: Any, low: int, high: int, size: tuple[int, ...], *, dtype: DType) -> Any:
    if low >= high:
        raise RuntimeError(f"randint: expected low < high, given low={low} and high={high}")
    return xp.asarray(default_generator.integers(low, high, size).astype(dtype.numpy))


RANDINT = define(
    "randint(low: Int, high: Int, size: Size, *, dtype: dtype = 'int64')",
    "A tensor of integers uniform in [low, high).",
    infer=_infer_randint,
    evaluate=_evaluate_randint,
    traits=_RANDOM,
    lower=Custom("randint"),
    samples=lambda: [
        Sample((0, 10, (2, 3)), {"dtype": "int64"}),
        Sample((-5, -4, (7,)), {"dtype": "float32"}),
        Sample((0, 2, ()), {"dtype": "int64"}),
    ],
    errors=lambda: [ErrorSample((3, 3, (2,)), RuntimeError, "low < high", {"dtype": "int64"})],
)


def _infer_randperm(sizes: Sizes, n: Any, *, dtype: DType) -> TensorType:
    return TensorType(dtype, size_dims("randperm", (n,)))


RANDPERM = define(
    "randperm(n: Int, *, dtype: dtype = 'int64')",
    "The integers 0 to n - 1 in random order.",
    infer=_infer_randperm,
    evaluate=lambda xp, n, *, dtype: xp.asarray(default_generator.permutation(n).astype(dtype.numpy)),
    traits=_RANDOM,
    lower=Custom("randperm"),
    samples=lambda: [Sample((7,), {"dtype": "int64"}), Sample((0,), {"dtype": "int32"})],
    errors=lambda: [ErrorSample((-1,), RuntimeError, "negative", {"dtype": "int64"})],
)


def _infer_bernoulli(sizes: Sizes, input: TensorType) -> TensorType:
    input = require_tensor("bernoulli", "input", input)
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"bernoulli: expected a floating-point tensor of probabilities, given {input}")
    return input


def _evaluate_bernoulli(xp: Any, input: Any) -> Any:
    if not bool(((input >= 0) & (input <= 1)).all()):
        raise RuntimeError("bernoulli: expected probabilities between 0 and 1")
    return xp.asarray(default_generator.uniform(input.shape, np.float64) < input).astype(input.dtype)


BERNOULLI = define(
    "bernoulli(input: Tensor)",
    "1 with the probability that the input says, else 0, for each element; no gradient flows.\n\n"
    ">>> ingot.bernoulli(ingot.tensor([0., 1.]))\n"
    "tensor([0., 1.])",
    infer=_infer_bernoulli,
    evaluate=_evaluate_bernoulli,
    vjp=lambda c, g, input: (None,),
    traits=_RANDOM,
    lower=Custom("bernoulli"),
    public=("", "method"),
    samples=lambda: [
        Sample((randoms(3, 4, low=0.0, high=1.0),), differentiable=False),
        Sample((randoms(0),), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((ints(3),), RuntimeError, "floating-point"),
        ErrorSample((randoms(3) + 3,), RuntimeError, "between 0 and 1"),
    ],
)


# -- dropout -----------------------------------------------------------------------------------------------------------


def _infer_dropout(sizes: Sizes, input: Any, *, p: float) -> tuple[TensorType, TensorType]:
    input = require_tensor("dropout", "input", input)
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    return (
        TensorType(floating(input.dtype), input.shape, input.device),
        TensorType(bool_, input.shape, input.device),
    )


def _scale(p: float) -> float:
    return 0.0 if p == 1.0 else 1.0 / (1.0 - p)


def _evaluate_dropout(xp: Any, input: Any, *, p: float) -> tuple[Any, Any]:
    dtype = floating(array_dtype(input)).numpy
    mask = xp.asarray(default_generator.uniform(input.shape, np.float32) >= p)
    return xp.where(mask, input.astype(dtype, copy=False) * dtype.type(_scale(p)), dtype.type(0)), mask


def _decompose_dropout(input: Any, *, p: float) -> tuple[Any, Any]:
    mask = F.ge(F.rand(tuple(input.shape), dtype="float32"), p)
    return F.where(mask, F.mul(input, _scale(p)), 0.0), mask


def _dropout_vjp(c: VjpContext, g: Any, input: Any, *, p: float) -> tuple[Any]:
    return (None if g[0] is None else F.where(c.outputs[1], F.mul(g[0], _scale(p)), 0.0),)


NATIVE_DROPOUT = define(
    "native_dropout(input: Tensor, p: float)",
    "The input with elements set to 0 with probability p and the others scaled by 1 / (1 - p), and the mask of those "
    "that were kept (Srivastava et al., 2014).",
    infer=_infer_dropout,
    evaluate=_evaluate_dropout,
    vjp=_dropout_vjp,
    traits=_RANDOM,
    lower=Decompose(_decompose_dropout),
    outputs=2,
    samples=lambda: [
        Sample((randoms(4, 5), 0.3)),
        Sample((randoms(3), 0.0)),
        Sample((randoms(3), 1.0)),
        Sample((randoms(0, 2), 0.5)),
    ],
    errors=lambda: [ErrorSample((randoms(3), 1.5), ValueError, "between 0 and 1")],
)


# -- classes -----------------------------------------------------------------------------------------------------------


def _infer_multinomial(sizes: Sizes, input: Any, num_samples: Any, *, replacement: bool) -> TensorType:
    input = require_tensor("multinomial", "input", input)
    if not input.dtype.is_floating_point or input.rank not in (1, 2):
        raise RuntimeError(f"multinomial: expected floating-point weights of rank 1 or 2, given {input}")
    count = size_dims("multinomial", (num_samples,))[0]
    hint, classes = sizes.hint(count), sizes.hint(input.shape[-1])
    if hint == 0 or (not replacement and hint is not None and classes is not None and hint > classes):
        raise RuntimeError(
            f"multinomial: cannot sample n_sample <= 0 or > prob_dist.size(-1) samples without replacement: {count}"
        )
    return TensorType(int64, (*input.shape[:-1], count), input.device)


def _evaluate_multinomial(xp: Any, input: Any, num_samples: int, *, replacement: bool) -> Any:
    weights = xp.asarray(input, np.float64)
    totals = weights.sum(axis=-1, keepdims=True)
    if not bool(xp.isfinite(weights).all()) or bool((weights < 0).any()) or bool((totals <= 0).any()):
        raise RuntimeError("multinomial: expected weights that are finite, not negative, and not all 0")
    if replacement:
        edges = xp.cumsum(weights / totals, axis=-1)
        edges[..., -1] = 1.0
        draws = default_generator.uniform((*weights.shape[:-1], num_samples), np.float64)
        return (xp.expand_dims(draws, -1) >= xp.expand_dims(edges, -2)).sum(axis=-1).astype(np.int64)
    if bool(((weights > 0).sum(axis=-1) < num_samples).any()):
        raise RuntimeError("multinomial: fewer weights above 0 than samples without replacement")
    # The smallest of exponential variables with these rates are a sample without replacement.
    with np.errstate(all="ignore"):
        times = -xp.log1p(-default_generator.uniform(weights.shape, np.float64)) / weights
    times = xp.where(weights > 0, times, np.inf)
    return xp.argsort(times, axis=-1, kind="stable")[..., :num_samples].astype(np.int64)


MULTINOMIAL = define(
    "multinomial(input: Tensor, num_samples: Int, replacement: bool = False)",
    "Positions drawn with probabilities that are proportional to the weights in each row, each at most once unless "
    "`replacement`.\n\n"
    ">>> ingot.multinomial(ingot.tensor([0., 1., 0.]), 1)\ntensor([1])",
    infer=_infer_multinomial,
    evaluate=_evaluate_multinomial,
    traits=_RANDOM,
    lower=Custom("multinomial"),
    public=("", "method"),
    samples=lambda: [
        Sample((randoms(5, low=0.1), 3)),
        Sample((randoms(3, 4, low=0.1), 6, True)),
        Sample((np.array([0.0, 1.0, 0.0], np.float32), 2, True)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, low=0.1), 4), RuntimeError, "without replacement"),
        ErrorSample((np.zeros(3, np.float32), 1), RuntimeError, "not all 0"),
        ErrorSample((np.array([1.0, 0.0], np.float32), 2), RuntimeError, "fewer weights"),
        ErrorSample((ints(3), 1), RuntimeError, "floating-point"),
    ],
)
