"""Losses: cross entropy, negative log likelihood, squared and absolute errors, binary cross entropy, divergence."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..dims import product
from ..sizes import Sizes
from ..types import TensorType
from ._common import broadcast_types, ints, randoms, require_tensor, shape_text, sum_to
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Op, Sample, VjpContext, define

_REDUCTIONS = ("none", "mean", "sum")


def require_reduction(name: str, reduction: str, allowed: tuple[str, ...] = _REDUCTIONS) -> None:
    if reduction not in allowed:
        raise ValueError(f"{name}: {reduction!r} is not a valid value for reduction: expected one of {allowed}")


def reduced(type: TensorType, reduction: str) -> TensorType:
    return type if reduction == "none" else TensorType(type.dtype, (), type.device)


def reduce(value: Any, reduction: str) -> Any:
    return value if reduction == "none" else F.mean(value) if reduction == "mean" else F.sum(value)


def reduce_array(xp: Any, value: Any, reduction: str) -> Any:
    if reduction == "none":
        return value
    with np.errstate(all="ignore"):
        total = value.sum(dtype=np.float32 if value.dtype == np.float16 else value.dtype)
        return xp.asarray(total / total.dtype.type(value.size) if reduction == "mean" else total, value.dtype)


# -- between two tensors, element by element ---------------------------------------------------------------------------


def _pairwise(
    name: str,
    doc: str,
    compute: Callable[..., Any],
    decompose: Callable[..., Any],
    *,
    schema: str = "",
    low: float = -2.0,
    high: float = 2.0,
    allowed: tuple[str, ...] = _REDUCTIONS,
    check: Callable[..., None] = lambda **_: None,
    extra_samples: Callable[[], list[Sample]] = list,
    vjp: Callable[..., Any] | None = None,
) -> Op:
    """A loss with an element for each pair of elements, which are then reduced.

    `compute(xp, input, target, **attributes)` and `decompose(input, target, **attributes)` give the elements.
    """

    numbers = partial(randoms, low=low, high=high)

    def infer(sizes: Sizes, input: Any, target: Any, *, reduction: str, **attributes: Any) -> TensorType:
        require_tensor(name, "input", input)
        require_tensor(name, "target", target)
        require_reduction(name, reduction, allowed)
        check(**attributes)
        result = broadcast_types(sizes, name, (input, target))
        if not result.dtype.is_floating_point:
            raise RuntimeError(f"{name}: expected floating-point tensors, given {input} and {target}")
        if reduction == "batchmean" and not input.rank:
            raise RuntimeError(f"{name}: reduction='batchmean' needs an input of rank 1 or more, given {input}")
        return reduced(result, reduction)

    def evaluate(xp: Any, input: Any, target: Any, *, reduction: str, **attributes: Any) -> Any:
        dtype = np.result_type(input.dtype, target.dtype)
        if dtype.kind == "f" and dtype.itemsize > max(v.dtype.itemsize for v in (input, target) if v.dtype.kind == "f"):
            dtype = next(v.dtype for v in (input, target) if v.dtype.kind == "f")
        with np.errstate(all="ignore"):
            value = compute(xp, input.astype(dtype, copy=False), target.astype(dtype, copy=False), **attributes)
            if reduction == "batchmean":
                return xp.asarray(reduce_array(xp, value, "sum") / dtype.type(input.shape[0]), dtype)
            return reduce_array(xp, value.astype(dtype, copy=False), reduction)

    def decomposed(input: Any, target: Any, *, reduction: str, **attributes: Any) -> Any:
        value = decompose(input, target, **attributes)
        if reduction == "batchmean":
            return F.div(F.sum(value), input.shape[0])
        return reduce(value, reduction)

    return define(
        f"{name}(input: Tensor, target: Tensor, *, {schema}reduction: str = 'mean')",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=vjp or derived_vjp(decomposed),
        lower=Decompose(decomposed),
        public=("functional",),
        samples=lambda: [
            Sample((numbers(3, 4), numbers(3, 4, seed=1))),
            Sample((numbers(5), numbers(5, seed=1)), {"reduction": "sum"}),
            Sample((numbers(2, 3), numbers(2, 3, seed=1)), {"reduction": "none"}),
            Sample((numbers(0), numbers(0)), {"reduction": "sum"}),
            *extra_samples(),
        ],
        errors=lambda: [
            ErrorSample((randoms(3), randoms(3)), ValueError, "not a valid value for reduction", {"reduction": "max"}),
            ErrorSample((randoms(3), randoms(4)), RuntimeError, "broadcast"),
            ErrorSample((ints(3), ints(3)), RuntimeError, "floating-point"),
        ],
    )


def _mse_vjp(c: VjpContext, g: Any, input: Any, target: Any, *, reduction: str) -> tuple[Any, Any]:
    difference = F.sub(input, target)
    factor: Any = (
        2.0 if reduction != "mean" else F.div(F.full((), 2.0, dtype=g.dtype), product(tuple(difference.shape)))
    )
    slope = F.mul(F.mul(difference, factor), g)
    return (
        sum_to(slope, input) if c.needs[0] else None,
        sum_to(F.neg(slope), target) if c.needs[1] else None,
    )


MSE_LOSS = _pairwise(
    "mse_loss",
    "The squared difference of two tensors, as its mean, its sum, or each element ('none').\n\n"
    ">>> ingot.nn.functional.mse_loss(ingot.tensor([1., 3.]), ingot.tensor([1.5, 0.]))\n"
    "tensor(4.6250)",
    lambda xp, a, b: xp.square(a - b),
    lambda a, b: F.square(F.sub(a, b)),
    vjp=_mse_vjp,
)
L1_LOSS = _pairwise(
    "l1_loss",
    "The absolute difference of two tensors, as its mean, its sum, or each element ('none').\n\n"
    ">>> ingot.nn.functional.l1_loss(ingot.tensor([1., 3.]), ingot.tensor([1.5, 0.]))\n"
    "tensor(1.7500)",
    lambda xp, a, b: xp.abs(a - b),
    lambda a, b: F.abs(F.sub(a, b)),
)


def _require_positive(name: str, what: str, *, zero: bool) -> Callable[..., None]:
    def check(**attributes: Any) -> None:
        value = attributes[what]
        if value < 0 or (value == 0 and not zero):
            error = RuntimeError if name == "huber_loss" else ValueError
            raise error(f"{name}: expected {what} {'of at least' if zero else 'above'} 0, given {value}")

    return check


def _smooth_l1(a: Any, b: Any, *, beta: float) -> Any:
    size = F.abs(F.sub(a, b))
    if beta == 0:
        return size
    return F.where(F.lt(size, beta), F.div(F.square(size), 2 * beta), F.sub(size, beta / 2))


def _smooth_l1_elements(xp: Any, a: Any, b: Any, *, beta: float) -> Any:
    size = xp.abs(a - b)
    return size if beta == 0 else xp.where(size < beta, xp.square(size) / (2 * beta), size - beta / 2)


SMOOTH_L1_LOSS = _pairwise(
    "smooth_l1_loss",
    "The squared difference over 2 * beta where it is below beta, else the absolute difference less beta / 2.\n\n"
    ">>> ingot.nn.functional.smooth_l1_loss(ingot.tensor([1., 3.]), ingot.tensor([1.5, 0.]))\n"
    "tensor(1.3125)",
    _smooth_l1_elements,
    _smooth_l1,
    schema="beta: float = 1.0, ",
    check=_require_positive("smooth_l1_loss", "beta", zero=True),
    extra_samples=lambda: [
        Sample((randoms(7), randoms(7, seed=1)), {"beta": 0.5}),
        Sample((randoms(3), randoms(3, seed=1)), {"beta": 0.0}),
    ],
)
HUBER_LOSS = _pairwise(
    "huber_loss",
    "Half the squared difference where it is below delta, else delta times (the absolute difference less delta / 2)."
    "\n\n>>> ingot.nn.functional.huber_loss(ingot.tensor([1., 3.]), ingot.tensor([1.5, 0.]))\n"
    "tensor(1.3125)",
    lambda xp, a, b, *, delta: xp.where(
        xp.abs(a - b) < delta, xp.square(a - b) / 2, delta * (xp.abs(a - b) - delta / 2)
    ),
    lambda a, b, *, delta: F.mul(_smooth_l1(a, b, beta=delta), delta),
    schema="delta: float = 1.0, ",
    check=_require_positive("huber_loss", "delta", zero=False),
    extra_samples=lambda: [Sample((randoms(7), randoms(7, seed=1)), {"delta": 0.5})],
)


def _kl_div(xp: Any, a: Any, b: Any, *, log_target: bool) -> Any:
    if log_target:
        return xp.exp(b) * (b - a)
    return xp.where(b == 0, a.dtype.type(0), b * xp.log(xp.where(b == 0, b.dtype.type(1), b))) - b * a


def _decompose_kl_div(a: Any, b: Any, *, log_target: bool) -> Any:
    if log_target:
        return F.mul(F.exp(b), F.sub(b, a))
    zero = F.eq(b, 0)
    return F.sub(F.where(zero, 0.0, F.mul(b, F.log(F.where(zero, 1.0, b)))), F.mul(b, a))


KL_DIV = _pairwise(
    "kl_div",
    "The Kullback-Leibler divergence, target * (log(target) - input), of log-probabilities from probabilities (or from "
    "log-probabilities: log_target); 'batchmean' divides the sum by the first size.\n\n"
    ">>> ingot.nn.functional.kl_div(ingot.tensor([-0.5, -1.]), ingot.tensor([0.5, 0.5]), reduction='sum')\n"
    "tensor(0.0569)",
    _kl_div,
    _decompose_kl_div,
    schema="log_target: bool = False, ",
    low=0.1,
    allowed=(*_REDUCTIONS, "batchmean"),
    extra_samples=lambda: [
        Sample((randoms(3, 4), randoms(3, 4, seed=1)), {"log_target": True, "reduction": "batchmean"}),
        Sample((randoms(3), np.array([0.0, 0.5, 0.5], np.float32)), differentiable=False),
    ],
)


# -- binary cross entropy ----------------------------------------------------------------------------------------------


def _infer_binary(
    name: str, sizes: Sizes, input: Any, target: Any, others: dict[str, Any], reduction: str
) -> TensorType:
    input, target = require_tensor(name, "input", input), require_tensor(name, "target", target)
    require_reduction(name, reduction)
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating-point input, given {input}")
    message = f"{name}: target size {shape_text(target.shape)} must be the same as input size {shape_text(input.shape)}"
    if input.rank != target.rank:
        raise ValueError(message)
    try:
        for a, b in zip(input.shape, target.shape, strict=True):
            sizes.equal(a, b, message)
    except RuntimeError as error:
        raise ValueError(message) from error
    present = [t for t in others.values() if t is not None]
    result = broadcast_types(sizes, name, (input, target, *present), input.dtype)
    return reduced(result, reduction)


def _weighted(value: Any, weight: Any) -> Any:
    return value if weight is None else F.mul(value, weight)


def _decompose_bce(input: Any, target: Any, weight: Any, *, reduction: str) -> Any:
    # Logarithms are cut off at -100, so that a sure and wrong answer has a finite loss.
    yes = F.mul(target, F.maximum(F.log(input), -100.0))
    no = F.mul(F.sub(1.0, target), F.maximum(F.log(F.sub(1.0, input)), -100.0))
    return reduce(_weighted(F.neg(F.add(yes, no)), weight), reduction)


def _evaluate_bce(xp: Any, input: Any, target: Any, weight: Any, *, reduction: str) -> Any:
    if not bool(((input >= 0) & (input <= 1)).all()):
        raise RuntimeError("binary_cross_entropy: all elements of input should be between 0 and 1")
    with np.errstate(all="ignore"):
        floor = input.dtype.type(-100)
        value = -(target * xp.maximum(xp.log(input), floor) + (1 - target) * xp.maximum(xp.log(1 - input), floor))
        value = value if weight is None else value * weight
    return reduce_array(xp, value.astype(input.dtype, copy=False), reduction)


BINARY_CROSS_ENTROPY = define(
    "binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = 'mean')",
    "-(target * log(input) + (1 - target) * log(1 - input)) of probabilities.\n\n"
    ">>> ingot.nn.functional.binary_cross_entropy(ingot.tensor([0.5, 0.9]), ingot.tensor([0., 1.]))\n"
    "tensor(0.3993)",
    infer=lambda sizes, input, target, weight, *, reduction: _infer_binary(
        "binary_cross_entropy", sizes, input, target, {"weight": weight}, reduction
    ),
    evaluate=_evaluate_bce,
    vjp=derived_vjp(_decompose_bce),
    lower=Decompose(_decompose_bce),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 4, low=0.1, high=0.9), randoms(3, 4, low=0.0, high=1.0, seed=1))),
        Sample((randoms(5, low=0.1, high=0.9), randoms(5, low=0.0, high=1.0), randoms(5)), {"reduction": "sum"}),
        Sample((np.array([0.0, 1.0], np.float32), np.array([1.0, 1.0], np.float32)), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, low=2.0, high=3.0), randoms(3)), RuntimeError, "between 0 and 1"),
        ErrorSample((randoms(3), randoms(3, 1)), ValueError, "same as input size"),
    ],
)


def _decompose_bce_logits(input: Any, target: Any, weight: Any, pos_weight: Any, *, reduction: str) -> Any:
    # log(1 + e**-x) = max(-x, 0) + log(1 + e**-|x|)
    softened = F.add(F.maximum(F.neg(input), 0.0), F.log1p(F.exp(F.neg(F.abs(input)))))
    if pos_weight is None:
        value = F.add(F.mul(F.sub(1.0, target), input), softened)
    else:
        positive = F.add(F.mul(F.sub(pos_weight, 1.0), target), 1.0)
        value = F.add(F.mul(F.sub(1.0, target), input), F.mul(positive, softened))
    return reduce(_weighted(value, weight), reduction)


def _evaluate_bce_logits(xp: Any, input: Any, target: Any, weight: Any, pos_weight: Any, *, reduction: str) -> Any:
    with np.errstate(all="ignore"):
        softened = xp.maximum(-input, 0) + xp.log1p(xp.exp(-xp.abs(input)))
        if pos_weight is not None:
            softened = softened * ((pos_weight - 1) * target + 1)
        value = (1 - target) * input + softened
        value = value if weight is None else value * weight
    return reduce_array(xp, value.astype(input.dtype, copy=False), reduction)


def _bce_logits_vjp(
    c: VjpContext, g: Any, input: Any, target: Any, weight: Any, pos_weight: Any, *, reduction: str
) -> tuple[Any, ...]:
    if pos_weight is None and not any(c.needs[1:]):
        # The derivative by a logit is sigmoid(x) - target, also at 0, where the parts above have corners.
        slope = _weighted(F.sub(F.sigmoid(input), target), weight)
        slope = F.mul(slope, g)
        return (F.div(slope, product(tuple(input.shape))) if reduction == "mean" else slope, None, None, None)
    return _derived_bce_logits(c, g, input, target, weight, pos_weight, reduction=reduction)


_derived_bce_logits = derived_vjp(_decompose_bce_logits)

BINARY_CROSS_ENTROPY_WITH_LOGITS = define(
    "binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None, "
    "*, reduction: str = 'mean', pos_weight: Tensor | None = None)",
    "binary_cross_entropy of sigmoid(input), without overflow; `pos_weight` scales the loss of positive targets.\n\n"
    ">>> ingot.nn.functional.binary_cross_entropy_with_logits(ingot.tensor([0., 2.]), ingot.tensor([0., 1.]))\n"
    "tensor(0.4100)",
    infer=lambda sizes, input, target, weight, pos_weight, *, reduction: _infer_binary(
        "binary_cross_entropy_with_logits",
        sizes,
        input,
        target,
        {"weight": weight, "pos_weight": pos_weight},
        reduction,
    ),
    evaluate=_evaluate_bce_logits,
    vjp=_bce_logits_vjp,
    lower=Decompose(_decompose_bce_logits),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 4), randoms(3, 4, low=0.0, high=1.0, seed=1))),
        Sample(
            (randoms(2, 4), randoms(2, 4, low=0.0, high=1.0)), {"reduction": "sum", "pos_weight": randoms(4, seed=2)}
        ),
        Sample((randoms(5), randoms(5, low=0.0, high=1.0), randoms(5, seed=3)), {"reduction": "none"}),
        Sample((np.array([1000.0, -1000.0], np.float32), np.array([0.0, 0.0], np.float32)), differentiable=False),
    ],
    errors=lambda: [ErrorSample((randoms(3), randoms(3, 1)), ValueError, "same as input size")],
)
