"""Activation functions of neural networks."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..sizes import Sizes
from ..types import TensorType
from ._common import conjugating, ints, normalise_dim, randoms, require_tensor
from ._derive import derived_vjp
from ._op import Decompose, Elementwise, ErrorSample, F, Lowering, Op, Sample, Trait, VjpContext, define
from .unary import compute_erf, compute_sigmoid, unary

_SQRT_HALF = math.sqrt(0.5)
_ONE_OVER_SQRT_TWO_PI = 1.0 / math.sqrt(2.0 * math.pi)


def _relu_vjp(c: VjpContext, g: Any, x: Any) -> Any:
    return F.where(F.le(c.output, 0), 0.0, g)


RELU = unary(
    "relu",
    "Elementwise max(x, 0); NaN stays NaN.\n\n>>> ingot.relu(ingot.tensor([-1., 2.]))\ntensor([0., 2.])",
    lambda xp, x: xp.maximum(x, x.dtype.type(0)),
    "maximum({input}, 0)",
    _relu_vjp,
    float_only=False,
    refuse_bool=True,
    inplace=True,
    public=("", "method", "functional"),
    traits=(Trait.PURE, Trait.IDEMPOTENT),
)


def _activation(
    name: str,
    doc: str,
    compute: Callable[..., Any],
    lower: Lowering,
    vjp: Callable[..., Any],
    *,
    parameters: str = "",
    check: Callable[..., None] = lambda **_: None,
    more: Callable[[], list[Sample]] = list,
    errors: Callable[[], list[ErrorSample]] = list,
    integers: bool = False,
    complexes: bool = False,
) -> Op:
    """A function of one floating-point tensor (or of `integers`, `complexes` too) and of numbers, as attributes.

    `compute(xp, x, **attributes)` gives an array; `vjp(context, g, x, **attributes)` gives the gradient.
    """

    def infer(sizes: Sizes, input: TensorType, **attributes: Any) -> TensorType:
        input = require_tensor(name, "input", input)
        allowed = (integers and input.dtype.category == 1) or (complexes and input.dtype.is_complex)
        if not (input.dtype.is_floating_point or allowed):
            raise RuntimeError(f"{name}: expected a floating-point tensor, given {input}")
        check(**attributes)
        return input

    def evaluate(xp: Any, input: Any, **attributes: Any) -> Any:
        with np.errstate(all="ignore"):
            return xp.asarray(compute(xp, input, **attributes), input.dtype)

    def rule(c: VjpContext, g: Any, x: Any, **attributes: Any) -> tuple[Any]:
        return (vjp(c, g, x, **attributes),)

    if complexes:
        rule = conjugating(rule)  # type: ignore[assignment]
    return define(
        f"{name}(input: Tensor{parameters})",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=rule,
        lower=lower,
        public=("functional",),
        samples=lambda: [
            Sample((randoms(3, 5, low=-4.0, high=4.0),)),
            Sample((randoms(0, 2),)),
            Sample((randoms(),)),
            Sample((np.array([np.nan, np.inf, -np.inf, 0.0, 200.0, -200.0], np.float32),), differentiable=False),
            *more(),
        ],
        errors=lambda: [ErrorSample((ints(3) > 0,), RuntimeError, "floating-point"), *errors()],
    )


SILU = _activation(
    "silu",
    "Elementwise x * sigmoid(x) (Hendrycks and Gimpel, 2016).\n\n"
    ">>> ingot.nn.functional.silu(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-0.2384,  0.1405,  1.7616])",
    lambda xp, x: x * compute_sigmoid(xp, x),
    Elementwise("silu({input})"),
    lambda c, g, x: F.mul(g, F.mul(F.sigmoid(x), F.add(F.mul(x, F.sub(1.0, F.sigmoid(x))), 1.0))),
    complexes=True,
)


# -- gelu --------------------------------------------------------------------------------------------------------------


def _require_approximation(approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate must be 'none' or 'tanh', given {approximate!r}")


def _decompose_gelu(input: Any, *, approximate: str) -> Any:
    if approximate == "tanh":
        cube = F.mul(F.mul(input, input), input)
        inner = F.mul(F.add(input, F.mul(cube, 0.044715)), math.sqrt(2.0 / math.pi))
        return F.mul(F.mul(input, 0.5), F.add(F.tanh(inner), 1.0))
    return F.mul(F.mul(input, 0.5), F.add(F.erf(F.mul(input, _SQRT_HALF)), 1.0))


def _compute_gelu(xp: Any, x: Any, *, approximate: str) -> Any:
    if approximate == "tanh":
        inner = x.dtype.type(math.sqrt(2.0 / math.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
        return x * x.dtype.type(0.5) * (1 + xp.tanh(inner))
    return x * x.dtype.type(0.5) * (1 + compute_erf(xp, x * x.dtype.type(_SQRT_HALF)))


def _gelu_vjp(c: VjpContext, g: Any, x: Any, *, approximate: str) -> Any:
    if approximate == "tanh":
        scale = math.sqrt(2.0 / math.pi)
        square = F.mul(x, x)
        t = F.tanh(F.mul(F.add(x, F.mul(F.mul(square, x), 0.044715)), scale))
        inner = F.mul(F.add(F.mul(square, 3 * 0.044715), 1.0), scale)
        slope = F.mul(F.mul(F.mul(x, F.sub(1.0, F.mul(t, t))), inner), 0.5)
        return F.mul(g, F.add(slope, F.mul(F.add(t, 1.0), 0.5)))
    cumulative = F.mul(F.add(F.erf(F.mul(x, _SQRT_HALF)), 1.0), 0.5)
    density = F.mul(F.exp(F.mul(F.mul(x, x), -0.5)), _ONE_OVER_SQRT_TWO_PI)
    return F.mul(g, F.add(cumulative, F.mul(x, density)))


GELU = _activation(
    "gelu",
    "Elementwise x * P(X <= x) for a standard normal X (Hendrycks and Gimpel, 2016), exact or by tanh.\n\n"
    ">>> ingot.nn.functional.gelu(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-0.0455,  0.1497,  1.9545])",
    _compute_gelu,
    Decompose(_decompose_gelu),
    _gelu_vjp,
    parameters=", *, approximate: str = 'none'",
    check=_require_approximation,
    more=lambda: [Sample((randoms(7),), {"approximate": "tanh"}), Sample((randoms(1100),), differentiable=False)],
    errors=lambda: [ErrorSample((randoms(3),), RuntimeError, "'none' or 'tanh'", {"approximate": "x"})],
)


# -- with a slope or a bend --------------------------------------------------------------------------------------------

LEAKY_RELU = _activation(
    "leaky_relu",
    "Elementwise x where x > 0, else negative_slope * x.\n\n"
    ">>> ingot.nn.functional.leaky_relu(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-0.0200,  0.2500,  2.0000])",
    lambda xp, x, *, negative_slope: xp.where(x > 0, x, x * x.dtype.type(negative_slope)),
    Elementwise("select({input} > 0, {input}, {input} * {negative_slope})"),
    lambda c, g, x, *, negative_slope: F.where(F.gt(x, 0), g, F.mul(g, negative_slope)),
    parameters=", negative_slope: float = 0.01",
    more=lambda: [Sample((randoms(7), 0.3))],
)
ELU = _activation(
    "elu",
    "Elementwise x where x > 0, else alpha * (e**x - 1) (Clevert, Unterthiner and Hochreiter, 2015).\n\n"
    ">>> ingot.nn.functional.elu(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-0.8647,  0.2500,  2.0000])",
    lambda xp, x, *, alpha: xp.where(x > 0, x, x.dtype.type(alpha) * xp.expm1(x)),
    Elementwise("select({input} > 0, {input}, {alpha} * expm1({input}))"),
    lambda c, g, x, *, alpha: F.where(F.gt(x, 0), g, F.mul(g, F.mul(F.exp(F.minimum(x, 0)), alpha))),
    parameters=", alpha: float = 1.0",
    more=lambda: [Sample((randoms(7), 0.3))],
)
_SELU_ALPHA = 1.6732632423543772848170429916717  # Klambauer et al., 2017, "Self-Normalizing Neural Networks"
_SELU_SCALE = 1.0507009873554804934193349852946
SELU = _activation(
    "selu",
    "Elementwise scale * elu(x, alpha), with the constants that keep mean 0 and variance 1 (Klambauer et al., 2017)."
    "\n\n>>> ingot.nn.functional.selu(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-1.5202,  0.2627,  2.1014])",
    lambda xp, x: x.dtype.type(_SELU_SCALE) * xp.where(x > 0, x, x.dtype.type(_SELU_ALPHA) * xp.expm1(x)),
    Elementwise(f"{_SELU_SCALE} * select({{input}} > 0, {{input}}, {_SELU_ALPHA} * expm1({{input}}))"),
    lambda c, g, x: F.mul(g, F.mul(F.where(F.gt(x, 0), 1.0, F.mul(F.exp(F.minimum(x, 0)), _SELU_ALPHA)), _SELU_SCALE)),
)


def _require_nonzero(name: str, what: str) -> Callable[..., None]:
    def check(**attributes: Any) -> None:
        if attributes[what] == 0:
            raise RuntimeError(f"{name}: {what} cannot be 0")

    return check


CELU = _activation(
    "celu",
    "Elementwise x where x > 0, else alpha * (e**(x / alpha) - 1) (Barron, 2017).\n\n"
    ">>> ingot.nn.functional.celu(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-0.8647,  0.2500,  2.0000])",
    lambda xp, x, *, alpha: xp.where(x > 0, x, x.dtype.type(alpha) * xp.expm1(x / x.dtype.type(alpha))),
    Elementwise("select({input} > 0, {input}, {alpha} * expm1({input} / {alpha}))"),
    lambda c, g, x, *, alpha: F.where(F.gt(x, 0), g, F.mul(g, F.exp(F.div(F.minimum(x, 0), alpha)))),
    parameters=", alpha: float = 1.0",
    check=_require_nonzero("celu", "alpha"),
    more=lambda: [Sample((randoms(7), 0.3))],
    errors=lambda: [ErrorSample((randoms(3), 0.0), RuntimeError, "cannot be 0")],
)


def _compute_softplus(xp: Any, x: Any, *, beta: float, threshold: float) -> Any:
    scaled = x * x.dtype.type(beta)
    soft = (xp.maximum(scaled, 0) + xp.log1p(xp.exp(-xp.abs(scaled)))) / x.dtype.type(beta)
    return xp.where(scaled > threshold, x, soft)


SOFTPLUS = _activation(
    "softplus",
    "Elementwise log(1 + e**(beta * x)) / beta; x itself where beta * x is above the threshold.\n\n"
    ">>> ingot.nn.functional.softplus(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([0.1269, 0.8259, 2.1269])",
    _compute_softplus,
    Elementwise("select({input} * {beta} > {threshold}, {input}, softplus({input} * {beta}) / {beta})"),
    lambda c, g, x, *, beta, threshold: F.where(
        F.gt(F.mul(x, beta), threshold), g, F.mul(g, F.sigmoid(F.mul(x, beta)))
    ),
    parameters=", beta: float = 1.0, threshold: float = 20.0",
    check=_require_nonzero("softplus", "beta"),
    more=lambda: [Sample((randoms(7), 2.0, 1.5))],
    errors=lambda: [ErrorSample((randoms(3), 0.0), RuntimeError, "cannot be 0")],
)
LOG_SIGMOID = _activation(
    "logsigmoid",
    "Elementwise log(sigmoid(x)), without overflow.\n\n"
    ">>> ingot.nn.functional.logsigmoid(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-2.1269, -0.5759, -0.1269])",
    lambda xp, x: xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.abs(x))),
    Elementwise("log_sigmoid({input})"),
    lambda c, g, x: F.mul(g, F.sigmoid(F.neg(x))),
)


def _compute_mish(xp: Any, x: Any) -> Any:
    return x * xp.tanh(_compute_softplus(xp, x, beta=1.0, threshold=math.inf))


def _mish_vjp(c: VjpContext, g: Any, x: Any) -> Any:
    t = F.tanh(F.softplus(x))
    return F.mul(g, F.add(t, F.mul(F.mul(x, F.sigmoid(x)), F.sub(1.0, F.mul(t, t)))))


MISH = _activation(
    "mish",
    "Elementwise x * tanh(softplus(x)) (Misra, 2019).\n\n"
    ">>> ingot.nn.functional.mish(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-0.2525,  0.1696,  1.9440])",
    _compute_mish,
    Elementwise("mish({input})"),
    _mish_vjp,
)
SOFTSIGN = _activation(
    "softsign",
    "Elementwise x / (1 + |x|).\n\n"
    ">>> ingot.nn.functional.softsign(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-0.6667,  0.2000,  0.6667])",
    lambda xp, x: x / (1 + xp.abs(x)),
    Elementwise("{input} / (1 + absolute({input}))"),
    lambda c, g, x: F.div(g, F.square(F.add(F.abs(x), 1.0))),
)


# -- piecewise linear --------------------------------------------------------------------------------------------------


def _require_lambda(lambd: float) -> None:
    if lambd < 0:
        raise RuntimeError(f"softshrink: lambda must be greater or equal to 0, but found to be {lambd}")


def _require_range(min_val: float, max_val: float) -> None:
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val cannot be greater than max_val, given {min_val} and {max_val}")


def _inside(x: Any, low: float, high: float) -> Any:
    return F.logical_and(F.gt(x, low), F.lt(x, high))


HARDTANH = _activation(
    "hardtanh",
    "Elementwise x cut off at min_val and max_val.\n\n"
    ">>> ingot.nn.functional.hardtanh(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-1.0000,  0.2500,  1.0000])",
    lambda xp, x, *, min_val, max_val: xp.minimum(xp.maximum(x, x.dtype.type(min_val)), x.dtype.type(max_val)),
    Elementwise("minimum(maximum({input}, {min_val}), {max_val})"),
    lambda c, g, x, *, min_val, max_val: F.where(_inside(x, min_val, max_val), g, 0.0),
    parameters=", min_val: number = -1.0, max_val: number = 1.0",
    integers=True,
    check=_require_range,
    more=lambda: [Sample((randoms(7), -0.5, 1.5))],
    errors=lambda: [ErrorSample((randoms(3), 1.0, 0.0), ValueError, "greater than max_val")],
)
RELU6 = _activation(
    "relu6",
    "Elementwise min(max(x, 0), 6).\n\n"
    ">>> ingot.nn.functional.relu6(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([0.0000, 0.2500, 2.0000])",
    lambda xp, x: xp.minimum(xp.maximum(x, x.dtype.type(0)), x.dtype.type(6)),
    Elementwise("minimum(maximum({input}, 0), 6)"),
    lambda c, g, x: F.where(_inside(x, 0, 6), g, 0.0),
    integers=True,
    more=lambda: [Sample((randoms(9, low=-3.0, high=9.0),))],
)


def _compute_hardsigmoid(xp: Any, x: Any) -> Any:
    return xp.minimum(xp.maximum(x + x.dtype.type(3), x.dtype.type(0)), x.dtype.type(6)) / x.dtype.type(6)


HARDSIGMOID = _activation(
    "hardsigmoid",
    "Elementwise x / 6 + 1/2, cut off at 0 and 1.\n\n"
    ">>> ingot.nn.functional.hardsigmoid(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([0.1667, 0.5417, 0.8333])",
    _compute_hardsigmoid,
    Elementwise("minimum(maximum({input} + 3, 0), 6) / 6"),
    lambda c, g, x: F.where(_inside(x, -3, 3), F.div(g, 6.0), 0.0),
)


def _hardswish_vjp(c: VjpContext, g: Any, x: Any) -> Any:
    slope = F.add(F.div(x, 3.0), 0.5)
    return F.mul(g, F.where(F.le(x, -3), 0.0, F.where(F.ge(x, 3), 1.0, slope)))


HARDSWISH = _activation(
    "hardswish",
    "Elementwise x * hardsigmoid(x) (Howard et al., 2019).\n\n"
    ">>> ingot.nn.functional.hardswish(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-0.3333,  0.1354,  1.6667])",
    lambda xp, x: x * _compute_hardsigmoid(xp, x),
    Elementwise("{input} * (minimum(maximum({input} + 3, 0), 6) / 6)"),
    _hardswish_vjp,
)
HARDSHRINK = _activation(
    "hardshrink",
    "Elementwise x, and 0 where |x| <= lambd.\n\n"
    ">>> ingot.nn.functional.hardshrink(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-2.,  0.,  2.])",
    lambda xp, x, *, lambd: xp.where((x >= -lambd) & (x <= lambd), x.dtype.type(0), x),
    Elementwise("select(({input} >= -{lambd}) and ({input} <= {lambd}), 0, {input})"),
    lambda c, g, x, *, lambd: F.where(F.le(F.abs(x), lambd), 0.0, g),
    parameters=", lambd: float = 0.5",
)
SOFTSHRINK = _activation(
    "softshrink",
    "Elementwise x moved toward 0 by lambd, and 0 where |x| <= lambd.\n\n"
    ">>> ingot.nn.functional.softshrink(ingot.tensor([-2., 0.25, 2.]))\n"
    "tensor([-1.5000,  0.0000,  1.5000])",
    lambda xp, x, *, lambd: xp.where(
        x > lambd, x - x.dtype.type(lambd), xp.where(x < -lambd, x + x.dtype.type(lambd), x * x.dtype.type(0))
    ),
    Elementwise(
        "select({input} > {lambd}, {input} - {lambd}, select({input} < -{lambd}, {input} + {lambd}, {input} * 0))"
    ),
    lambda c, g, x, *, lambd: F.where(F.le(F.abs(x), lambd), 0.0, g),
    parameters=", lambd: float = 0.5",
    check=_require_lambda,
    errors=lambda: [ErrorSample((randoms(3), -0.5), RuntimeError, "lambda must be greater or equal to 0")],
)
THRESHOLD = _activation(
    "threshold",
    "Elementwise x where x > threshold, else value.\n\n"
    ">>> ingot.nn.functional.threshold(ingot.tensor([-2., 0.25, 2.]), 0.0, 0.0)\n"
    "tensor([0.0000, 0.2500, 2.0000])",
    lambda xp, x, *, threshold, value: xp.where(x <= threshold, x.dtype.type(value), x),
    Elementwise("select({input} <= {threshold}, {value}, {input})"),
    lambda c, g, x, *, threshold, value: F.where(F.le(x, threshold), 0.0, g),
    parameters=", threshold: number = 0.0, value: number = 0.0",
    integers=True,
    more=lambda: [Sample((randoms(7), 0.5, 20.0))],
)


# -- with a parameter, or two halves -----------------------------------------------------------------------------------


def _infer_prelu(sizes: Sizes, input: TensorType, weight: Any) -> TensorType:
    input, weight = require_tensor("prelu", "input", input), require_tensor("prelu", "weight", weight)
    if not input.dtype.is_floating_point or weight.dtype is not input.dtype:
        raise RuntimeError(f"prelu: expected floating-point tensors of one dtype, given {input} and {weight}")
    channels = input.shape[1] if input.rank > 1 else 1
    message = f"prelu: expected a weight of 1 or {channels} elements, given {weight}"
    if weight.rank > 1:
        raise RuntimeError(message)
    if weight.rank and sizes.hint(weight.shape[0]) != 1:
        sizes.equal(weight.shape[0], channels, message)
    elif weight.rank:
        sizes.equal(weight.shape[0], 1, message)
    return input


def _decompose_prelu(input: Any, weight: Any) -> Any:
    if weight.ndim:
        weight = F.reshape(weight, (1, -1, *(1 for _ in range(input.ndim - 2)))) if input.ndim > 1 else weight
        weight = F.reshape(weight, ()) if not input.ndim else weight
    return F.where(F.gt(input, 0), input, F.mul(input, weight))


def _evaluate_prelu(xp: Any, input: Any, weight: Any) -> Any:
    if weight.ndim:
        weight = weight.reshape((1, -1, *(1 for _ in range(input.ndim - 2))) if input.ndim > 1 else (-1,) * input.ndim)
    with np.errstate(all="ignore"):
        return xp.asarray(xp.where(input > 0, input, input * weight))


PRELU = define(
    "prelu(input: Tensor, weight: Tensor)",
    "Elementwise x where x > 0, else weight * x, with one weight or one for each channel (dimension 1) (He et al., "
    "2015).\n\n"
    ">>> ingot.nn.functional.prelu(ingot.tensor([-2., 2.]), ingot.tensor([0.5]))\n"
    "tensor([-1.,  2.])",
    infer=_infer_prelu,
    evaluate=_evaluate_prelu,
    vjp=derived_vjp(_decompose_prelu),
    lower=Decompose(_decompose_prelu),
    public=("", "method", "functional"),
    samples=lambda: [
        Sample((randoms(2, 3, 4), randoms(3, seed=1))),
        Sample((randoms(5), randoms(1, seed=1))),
        Sample((randoms(2, 3), randoms(seed=1))),
        Sample((randoms(), randoms(1, seed=1))),
    ],
    errors=lambda: [
        ErrorSample((randoms(2, 3), randoms(2)), RuntimeError, "1 or 3 elements"),
        ErrorSample((ints(3), randoms(1)), RuntimeError, "floating-point"),
    ],
)


def _infer_glu(sizes: Sizes, input: Any, *, dim: int) -> TensorType:
    input = require_tensor("glu", "input", input)
    if not input.rank or not input.dtype.is_floating_point:
        raise RuntimeError(f"glu: expected a floating-point tensor of rank 1 or more, given {input}")
    axis = normalise_dim("glu", dim, input.rank)
    size = sizes.resolve(input.shape[axis])
    half = size // 2
    sizes.equal(half * 2, size, f"glu: Halving dimension must be even, but dimension {axis} is size {size}")
    return TensorType(input.dtype, (*input.shape[:axis], half, *input.shape[axis + 1 :]), input.device)


def _decompose_glu(input: Any, *, dim: int) -> Any:
    half = input.shape[dim] // 2
    return F.mul(F.slice(input, 0, half, dim=dim), F.sigmoid(F.slice(input, half, None, dim=dim)))


def _evaluate_glu(xp: Any, input: Any, *, dim: int) -> Any:
    left, right = xp.split(input, 2, dim)
    with np.errstate(all="ignore"):
        return left * compute_sigmoid(xp, right)


GLU = define(
    "glu(input: Tensor, dim: int = -1)",
    "The first half of a dimension times the sigmoid of the second (Dauphin et al., 2016).\n\n"
    ">>> ingot.nn.functional.glu(ingot.tensor([2., 4., 0., 0.]))\n"
    "tensor([1., 2.])",
    infer=_infer_glu,
    evaluate=_evaluate_glu,
    vjp=derived_vjp(_decompose_glu),
    lower=Decompose(_decompose_glu),
    public=("functional",),
    samples=lambda: [Sample((randoms(3, 4),)), Sample((randoms(6, 2), 0)), Sample((randoms(2, 0),))],
    errors=lambda: [
        ErrorSample((randoms(3),), RuntimeError, "must be even"),
        ErrorSample((randoms(4), 1), IndexError, "out of range"),
    ],
)
