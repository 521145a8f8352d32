"""Ops that draw random numbers, from the generator of `random_state`; their order in a graph is kept."""

import math
from typing import Any

import numpy as np

from ..dims import Dim, dim_min, product
from ..dtypes import DType, bool_, default_dtype, float32, float64, int64
from ..random_arrays import integers_on, keep_on, normal_on, permutation_on, uniform_on, words_on
from ..random_state import default_generator, random_words, signed
from ..sizes import Sizes
from ..types import IntType, TensorType
from ._common import array_dtype, floating, ints, randoms, require_tensor
from ._op import Custom, Decompose, ErrorSample, F, Sample, Trait, VjpContext, define
from .create import size_dims

_RANDOM = (Trait.RANDOM,)

# -- the stream --------------------------------------------------------------------------------------------------------
# Compiled code makes every random op of these two and of arithmetic: see `random_state`.


def _infer_take(sizes: Sizes, count: Any) -> IntType:
    if not isinstance(count, IntType):
        raise TypeError(f"take_random(): argument 'count' must be int, not {count}")
    return IntType()


TAKE_RANDOM = define(
    "take_random(count: Int)",
    "Advances the default generator by `count` words, and gives where they begin, for `random_bits`.",
    infer=_infer_take,
    evaluate=lambda xp, count: signed(default_generator.take(count)),
    traits=_RANDOM,
    lower=Custom("take_random"),
    samples=lambda: [Sample((5,)), Sample((0,))],
)


def _infer_bits(sizes: Sizes, start: Any, size: tuple[Any, ...]) -> TensorType:
    if not isinstance(start, IntType):
        raise TypeError(f"random_bits(): argument 'start' must be int, not {start}")
    return TensorType(int64, size_dims("random_bits", size))


RANDOM_BITS = define(
    "random_bits(start: Scalar, size: Size)",
    "The words of the random stream from `start` on (see `take_random`), as integers of 64 bits.",
    infer=_infer_bits,
    evaluate=lambda xp, start, size: (
        (random_words(start, math.prod(size)) if xp is np else words_on(xp, start, math.prod(size)))
        .view(np.int64)
        .reshape(size)
    ),
    lower=Custom("random_bits"),
    samples=lambda: [Sample((5, (2, 3))), Sample((-(1 << 63), (0, 4))), Sample((1 << 40, ()))],
)


def _sizes_of(size: Any) -> tuple[Dim, ...]:
    """Sizes as a rule gets them, as dimensions."""
    return tuple(s.value.type.value if hasattr(s, "value") else s for s in size)


def _bits(shape: tuple[Dim, ...]) -> Any:
    """A tensor of random words."""
    return F.random_bits(F.take_random(product(shape)), shape)


def _high_bits(words: Any, count: int) -> Any:
    """The `count` highest bits of words, as integers that are not negative."""
    return F.bitwise_and(F.bitwise_right_shift(words, 64 - count), (1 << count) - 1)


def _significant_bits(dtype: DType) -> int:
    return {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[dtype.name]


def _uniform(shape: tuple[Dim, ...], dtype: DType) -> Any:
    bits = _significant_bits(dtype)
    wide = float64 if dtype is float64 else float32
    values = F.mul(F.cast(_high_bits(_bits(shape), bits), dtype=wide), 2.0**-bits)
    return values if wide is dtype else F.cast(values, dtype=dtype)


def _normal(shape: tuple[Dim, ...], dtype: DType) -> Any:
    if dtype is float64:
        words = _high_bits(_bits((*shape, 2)), 53)
        u, v = (F.cast(F.select(words, i, dim=-1), dtype=float64) for i in (0, 1))
        u, v = F.mul(F.add(u, 1.0), 2.0**-53), F.mul(v, 2.0**-53)
    else:
        words = _bits(shape)
        u = F.cast(_high_bits(words, 32), dtype=float32)
        v = F.cast(F.bitwise_and(words, (1 << 32) - 1), dtype=float32)
        u, v = F.mul(F.add(u, 0.5), 2.0**-32), F.mul(v, 2.0**-32)
    values = F.mul(F.sqrt(F.mul(F.log(u), -2.0)), F.cos(F.mul(v, 2.0 * math.pi)))
    return values if dtype in (float32, float64) else F.cast(values, dtype=dtype)


def uniform_array(xp: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of numbers uniform in [0, 1), of the array module."""
    if xp is np:
        return default_generator.uniform(shape, dtype)
    return uniform_on(xp, default_generator, shape, dtype)


def _normal_array(xp: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return default_generator.normal(shape, dtype) if xp is np else normal_on(xp, default_generator, shape, dtype)


def _permutation_array(xp: Any, n: int) -> Any:
    return default_generator.permutation(n) if xp is np else permutation_on(xp, default_generator, n)


# -- tensors of random numbers -----------------------------------------------------------------------------------------


def _floating_size(name: str, size: tuple[Any, ...], dtype: DType | None) -> TensorType:
    dtype = dtype or default_dtype()
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating-point dtype, given {dtype!r}")
    return TensorType(dtype, size_dims(name, size))


RAND = define(
    "rand(*size: Size, dtype: dtype | None = None)",
    "A tensor of numbers uniform in [0, 1).",
    infer=lambda sizes, size, *, dtype: _floating_size("rand", size, dtype),
    evaluate=lambda xp, size, *, dtype: uniform_array(xp, size, (dtype or default_dtype()).numpy),
    traits=_RANDOM,
    lower=Decompose(lambda size, *, dtype: _uniform(_sizes_of(size), dtype or default_dtype())),
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
    evaluate=lambda xp, size, *, dtype: _normal_array(xp, size, (dtype or default_dtype()).numpy),
    traits=_RANDOM,
    lower=Decompose(lambda size, *, dtype: _normal(_sizes_of(size), dtype or default_dtype())),
    samples=lambda: [
        Sample((2, 3)),
        Sample(((0, 4),)),
        Sample(((),)),
        Sample((5,), {"dtype": "float64"}),
        Sample((5,), {"dtype": "float16"}),
    ],
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
    if xp is not np:
        return integers_on(xp, default_generator, low, high, size).astype(dtype.numpy)
    return default_generator.integers(low, high, size).astype(dtype.numpy)


_LOWEST = -(1 << 63)


def _decompose_randint(low: Any, high: Any, size: Any, *, dtype: DType) -> Any:
    low, high = _sizes_of((low, high))
    words, span = _bits(_sizes_of(size)), high - low
    if isinstance(span, int) and span >= 1 << 63:
        # The remainder of unsigned words, of which the span is more than half: compared with the sign bit turned over.
        is_below = F.lt(F.bitwise_xor(words, _LOWEST), signed(span ^ (1 << 63)))
        found = F.where(is_below, words, F.sub(words, signed(span)))
    else:
        if not isinstance(span, int):
            F.require_equal(dim_min(span, 1), 1, message="randint: expected low < high")
        found = F.remainder(F.bitwise_and(F.bitwise_right_shift(words, 1), (1 << 63) - 1), span)
    found = F.add(found, low)
    return found if dtype is int64 else F.cast(found, dtype=dtype)


RANDINT = define(
    "randint(low: Int, high: Int, size: Size, *, dtype: dtype = 'int64')",
    "A tensor of integers uniform in [low, high).",
    infer=_infer_randint,
    evaluate=_evaluate_randint,
    traits=_RANDOM,
    lower=Decompose(_decompose_randint),
    samples=lambda: [
        Sample((0, 10, (2, 3)), {"dtype": "int64"}),
        Sample((-5, -4, (7,)), {"dtype": "float32"}),
        Sample((0, 2, ()), {"dtype": "int64"}),
    ],
    errors=lambda: [ErrorSample((3, 3, (2,)), RuntimeError, "low < high", {"dtype": "int64"})],
)


def _infer_randperm(sizes: Sizes, n: Any, *, dtype: DType) -> TensorType:
    return TensorType(dtype, size_dims("randperm", (n,)))


def _decompose_randperm(n: Any, *, dtype: DType) -> Any:
    (size,) = _sizes_of((n,))
    # The order of unsigned words is that of signed ones with the sign bit turned over.
    order = F.argsort(F.bitwise_xor(_bits((size,)), _LOWEST))
    return order if dtype is int64 else F.cast(order, dtype=dtype)


RANDPERM = define(
    "randperm(n: Int, *, dtype: dtype = 'int64')",
    "The integers 0 to n - 1 in random order.",
    infer=_infer_randperm,
    evaluate=lambda xp, n, *, dtype: _permutation_array(xp, n).astype(dtype.numpy),
    traits=_RANDOM,
    lower=Decompose(_decompose_randperm),
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
    return (uniform_array(xp, input.shape, np.float64) < input).astype(input.dtype)


def _require_none(condition: Any, message: str) -> None:
    """RuntimeError where an element of a condition is true."""
    F.require_equal(F.item(F.sum(F.cast(condition, dtype=int64))), 0, message=message)


def _decompose_bernoulli(input: Any) -> Any:
    is_fine = F.logical_and(F.ge(input, 0), F.le(input, 1))
    _require_none(F.logical_not(is_fine), "bernoulli: expected probabilities between 0 and 1")
    return F.cast(F.lt(_uniform(tuple(input.shape), float64), input), dtype=input.dtype)


BERNOULLI = define(
    "bernoulli(input: Tensor)",
    "1 with the probability that the input says, else 0, for each element; no gradient flows.\n\n"
    ">>> ingot.bernoulli(ingot.tensor([0., 1.]))\n"
    "tensor([0., 1.])",
    infer=_infer_bernoulli,
    evaluate=_evaluate_bernoulli,
    vjp=lambda c, g, input: (None,),
    traits=_RANDOM,
    lower=Decompose(_decompose_bernoulli),
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
    mask = default_generator.keep(input.shape, p) if xp is np else keep_on(xp, default_generator, input.shape, p)
    return xp.where(mask, input.astype(dtype, copy=False) * dtype.type(_scale(p)), dtype.type(0)), mask


def _decompose_dropout(input: Any, *, p: float) -> tuple[Any, Any]:
    mask = F.ge(_uniform(tuple(input.shape), float32), p)
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
        draws = uniform_array(xp, (*weights.shape[:-1], num_samples), np.float64)
        return (xp.expand_dims(draws, -1) >= xp.expand_dims(edges, -2)).sum(axis=-1).astype(np.int64)
    if bool(((weights > 0).sum(axis=-1) < num_samples).any()):
        raise RuntimeError("multinomial: fewer weights above 0 than samples without replacement")
    # The smallest of exponential variables with these rates are a sample without replacement.
    with np.errstate(all="ignore"):
        draws = uniform_array(xp, weights.shape, np.float64)
        times = -xp.log1p(-draws) / weights
    times = xp.where(weights > 0, times, np.inf)
    return xp.argsort(times, axis=-1, kind="stable")[..., :num_samples].astype(np.int64)


def _decompose_multinomial(input: Any, num_samples: Any, *, replacement: bool) -> Any:
    weights = F.cast(input, dtype=float64)
    *rows, classes = input.shape
    (count,) = _sizes_of((num_samples,))
    totals = F.sum(weights, (-1,), True)
    is_fine = F.logical_and(F.isfinite(weights), F.ge(weights, 0.0))
    message = "multinomial: expected weights that are finite, not negative, and not all 0"
    _require_none(F.logical_not(F.logical_and(is_fine, F.gt(totals, 0.0))), message)
    if replacement:
        is_last = F.ge(F.arange(0, classes, 1), classes - 1)
        edges = F.where(is_last, 1.0, F.cumsum(F.div(weights, totals), -1))
        draws = _uniform((*rows, count), float64)
        return F.sum(F.cast(F.ge(F.unsqueeze(draws, -1), F.unsqueeze(edges, -2)), dtype=int64), (-1,))
    positive = F.gt(weights, 0.0)
    too_few = F.lt(F.sum(F.cast(positive, dtype=int64), (-1,)), count)
    _require_none(too_few, "multinomial: fewer weights above 0 than samples without replacement")
    times = F.div(F.neg(F.log1p(F.neg(_uniform(tuple(input.shape), float64)))), weights)
    return F.slice(F.argsort(F.where(positive, times, math.inf), -1), 0, count, dim=-1)


MULTINOMIAL = define(
    "multinomial(input: Tensor, num_samples: Int, replacement: bool = False)",
    "Positions drawn with probabilities that are proportional to the weights in each row, each at most once unless "
    "`replacement`.\n\n"
    ">>> ingot.multinomial(ingot.tensor([0., 1., 0.]), 1)\ntensor([1])",
    infer=_infer_multinomial,
    evaluate=_evaluate_multinomial,
    traits=_RANDOM,
    lower=Decompose(_decompose_multinomial),
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
