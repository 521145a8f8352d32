"""Complex numbers: their parts, conjugate and angle, and tensors of pairs seen as complex ones."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import DType, complex64, complex128, default_dtype, float32, float64
from ..sizes import Sizes
from ..types import TensorType
from ._common import broadcast_types, ints, randoms, require_tensor, sum_to
from ._op import Custom, Elementwise, ErrorSample, F, Op, Sample, Trait, VjpContext, define

_PUBLIC = ("", "method")
_VIEW = (Trait.PURE, Trait.VIEW)
_COMPLEX = {float32: complex64, float64: complex128}
_REAL = {complex64: float32, complex128: float64}


def complexes(*shape: int, seed: int = 0) -> Any:
    """A reproducible array of complex numbers for samples."""
    return np.asarray(randoms(*shape, seed=seed) + 1j * randoms(*shape, seed=seed + 100), np.complex64)


def _unary(
    name: str,
    doc: str,
    compute: Callable[[Any, Any], Any],
    result: Callable[[DType], DType],
    vjp: Callable[..., Any] | None,
    refuse_real: bool = False,
    public: tuple[str, ...] = _PUBLIC,
    traits: tuple[str, ...] = (Trait.PURE,),
    expression: str = "",
) -> Op:
    """An op of one operand; the `expression` is for real numbers."""

    def infer(sizes: Sizes, input: Any) -> TensorType:
        input = require_tensor(name, "input", input)
        if refuse_real and not input.dtype.is_complex:
            raise RuntimeError(f"{name} is not implemented for tensors with non-complex dtypes, given {input}")
        return TensorType(result(input.dtype), input.shape, input.device)

    def evaluate(xp: Any, input: Any) -> Any:
        with np.errstate(all="ignore"):
            return xp.asarray(compute(xp, input))

    return define(
        f"{name}(input: Tensor)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=None if vjp is None else lambda c, g, x: (vjp(c, g, x),),
        lower=Elementwise(expression) if expression else Custom(name),
        public=public,
        traits=traits,
        samples=lambda: [
            *([] if refuse_real else [Sample((randoms(3, 4),)), Sample((ints(3),), differentiable=False)]),
            Sample((complexes(3, 4),), differentiable=False),
            Sample((complexes(0, 3),), differentiable=False),
        ],
        errors=lambda: [
            ErrorSample((1.5,), TypeError, "must be Tensor"),
            *([ErrorSample((randoms(3),), RuntimeError, "non-complex")] if refuse_real else []),
        ],
    )


def _with_imaginary(g: Any) -> Any:
    return F.complex(F.mul(g, 0.0), g)


CONJ = _unary(
    "conj",
    "Elementwise complex conjugate; a copy of real tensors.\n\n"
    ">>> ingot.conj(ingot.tensor([1 + 2j]))\n"
    "tensor([1.-2.j])",
    lambda xp, x: xp.conjugate(x) if x.dtype.kind == "c" else xp.array(x, copy=True),
    lambda dtype: dtype,
    lambda c, g, x: F.conj(g),
)
REAL = _unary(
    "real",
    "The real parts of a tensor, as a view.\n\n>>> ingot.real(ingot.tensor([1 + 2j]))\ntensor([1.])",
    lambda xp, x: x.real,
    lambda dtype: _REAL.get(dtype, dtype),
    lambda c, g, x: F.complex(g, F.mul(g, 0.0)) if x.dtype.is_complex else g,
    public=("",),  # a property of tensors
    traits=_VIEW,
)
IMAG = _unary(
    "imag",
    "The imaginary parts of a complex tensor, as a view.\n\n>>> ingot.imag(ingot.tensor([1 + 2j]))\ntensor([2.])",
    lambda xp, x: x.imag,
    lambda dtype: _REAL.get(dtype, dtype),
    lambda c, g, x: _with_imaginary(g),
    refuse_real=True,
    public=("",),
    traits=_VIEW,
)


def _angle_dtype(dtype: DType) -> DType:
    return _REAL.get(dtype, dtype if dtype.category >= 2 else default_dtype())


def _angle(xp: Any, x: Any) -> Any:
    if x.dtype.kind == "c":
        return xp.angle(x)
    dtype = x.dtype if x.dtype.kind == "f" else default_dtype().numpy
    return xp.where(x != x, x, xp.where(x < 0, np.pi, 0.0)).astype(dtype)


def _angle_vjp(c: VjpContext, g: Any, x: Any) -> Any:
    if not x.dtype.is_complex:
        return F.mul(g, 0.0)
    # d angle = (re d im - im d re) / |x|**2
    re, im = F.real(x), F.imag(x)
    scaled = F.div(g, F.add(F.mul(re, re), F.mul(im, im)))
    return F.complex(F.neg(F.mul(scaled, im)), F.mul(scaled, re))


ANGLE = _unary(
    "angle",
    "Elementwise angle in radians; 0 or pi for real numbers.\n\n"
    ">>> ingot.angle(ingot.tensor([-1., 1.]))\n"
    "tensor([3.1416, 0.0000])",
    _angle,
    _angle_dtype,
    _angle_vjp,
    expression="select({input} != {input}, {input}, select({input} < 0, pi, 0))",
)


def _sgn(xp: Any, x: Any) -> Any:
    if x.dtype.kind == "b":
        return xp.array(x, copy=True)
    if x.dtype.kind != "c":
        return xp.asarray(x > 0, x.dtype) - (x < 0)  # 0 for NaN, as `sign`
    return xp.sign(x)


def _sgn_vjp(c: VjpContext, g: Any, x: Any) -> Any:
    if not x.dtype.is_complex:
        return F.mul(g, 0.0)
    # The part of g across the direction of x, over |x|.
    size = F.abs(x)
    along = F.real(F.mul(F.conj(g), c.output))
    part = F.div(F.sub(g, F.mul(c.output, along)), size)
    return F.where(F.eq(size, 0), 0.0, part)


SGN = _unary(
    "sgn",
    "Elementwise x / |x|, and 0 where x is 0; the sign of real numbers.\n\n"
    ">>> ingot.sgn(ingot.tensor([3 + 4j]))\n"
    "tensor([0.6000+0.8000j])",
    _sgn,
    lambda dtype: dtype,
    _sgn_vjp,
    expression="sign({input})",
)


# -- real tensors as complex ones and back -----------------------------------------------------------------------------


def _infer_pair(name: str, sizes: Sizes, real: Any, imag: Any) -> TensorType:
    first, second = ("real", "imag") if name == "complex" else ("abs", "angle")
    real, imag = require_tensor(name, first, real), require_tensor(name, second, imag)
    if real.dtype not in _COMPLEX or imag.dtype is not real.dtype:
        raise RuntimeError(
            f"{name}: Expected both inputs to be float32 or both float64 tensors, given {real} and {imag}"
        )
    return broadcast_types(sizes, name, (real, imag), _COMPLEX[real.dtype])


def _evaluate_complex(xp: Any, real: Any, imag: Any) -> Any:
    shape = np.broadcast_shapes(real.shape, imag.shape)
    result = xp.empty(shape, np.complex64 if real.dtype == np.float32 else np.complex128)
    result.real, result.imag = real, imag  # real + 1j * imag would make NaN of infinities
    return result


COMPLEX = define(
    "complex(real: Tensor, imag: Tensor)",
    "Complex numbers of their real and imaginary parts.\n\n"
    ">>> ingot.complex(ingot.tensor([1.]), ingot.tensor([2.]))\n"
    "tensor([1.+2.j])",
    infer=lambda sizes, real, imag: _infer_pair("complex", sizes, real, imag),
    evaluate=_evaluate_complex,
    vjp=lambda c, g, real, imag: (
        sum_to(F.real(g), real) if c.needs[0] else None,
        sum_to(F.imag(g), imag) if c.needs[1] else None,
    ),
    lower=Custom("complex"),
    public=("",),
    samples=lambda: [
        Sample((randoms(3, 1), randoms(4, seed=1)), differentiable=False),
        Sample((np.array([np.inf], np.float32), np.array([np.nan], np.float32)), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), randoms(3, dtype="float64")), RuntimeError, "Expected both"),
        ErrorSample((randoms(3), randoms(4)), RuntimeError, "broadcast"),
    ],
)
POLAR = define(
    "polar(abs: Tensor, angle: Tensor)",
    "Complex numbers of their absolute values and angles in radians.\n\n"
    ">>> ingot.polar(ingot.tensor([2.]), ingot.tensor([0.]))\n"
    "tensor([2.+0.j])",
    infer=lambda sizes, abs, angle: _infer_pair("polar", sizes, abs, angle),
    evaluate=lambda xp, abs, angle: _evaluate_complex(xp, abs * xp.cos(angle), abs * xp.sin(angle)),
    vjp=lambda c, g, abs, angle: (
        sum_to(F.add(F.mul(F.real(g), F.cos(angle)), F.mul(F.imag(g), F.sin(angle))), abs) if c.needs[0] else None,
        sum_to(F.mul(abs, F.sub(F.mul(F.imag(g), F.cos(angle)), F.mul(F.real(g), F.sin(angle)))), angle)
        if c.needs[1]
        else None,
    ),
    lower=Custom("polar"),
    public=("",),
    samples=lambda: [Sample((randoms(3, 4), randoms(3, 4, seed=1)), differentiable=False)],
    errors=lambda: [ErrorSample((randoms(3), ints(3)), RuntimeError, "Expected both")],
)


def _infer_view_as_real(sizes: Sizes, input: Any) -> TensorType:
    input = require_tensor("view_as_real", "input", input)
    if not input.dtype.is_complex:
        raise RuntimeError(f"view_as_real is only supported for complex tensors, given {input}")
    return TensorType(_REAL[input.dtype], (*input.shape, 2), input.device)


def _evaluate_view_as_real(xp: Any, input: Any) -> Any:
    if not input.ndim:
        return input.reshape(1).view(input.real.dtype)
    parts = np.expand_dims(input, -1)
    return parts.view(input.real.dtype)


VIEW_AS_REAL = define(
    "view_as_real(input: Tensor)",
    "The real and imaginary parts along a new last dimension of size 2, as a view.\n\n"
    ">>> ingot.view_as_real(ingot.tensor([1 + 2j]))\n"
    "tensor([[1., 2.]])",
    infer=_infer_view_as_real,
    evaluate=_evaluate_view_as_real,
    traits=_VIEW,
    vjp=lambda c, g, input: (F.view_as_complex(g),),
    lower=Custom("view_as_real"),
    public=("",),
    samples=lambda: [Sample((complexes(3, 4),), differentiable=False), Sample((complexes(),), differentiable=False)],
    errors=lambda: [ErrorSample((randoms(3),), RuntimeError, "only supported for complex")],
)


def _infer_view_as_complex(sizes: Sizes, input: Any) -> TensorType:
    input = require_tensor("view_as_complex", "input", input)
    if input.dtype not in _COMPLEX:
        raise RuntimeError(f"view_as_complex is only supported for float32 and float64 tensors, given {input}")
    if not input.rank:
        raise RuntimeError("view_as_complex: Input tensor must have one or more dimensions")
    sizes.equal(input.shape[-1], 2, f"view_as_complex: Tensor must have a last dimension of size 2, given {input}")
    return TensorType(_COMPLEX[input.dtype], input.shape[:-1], input.device)


def _evaluate_view_as_complex(xp: Any, input: Any) -> Any:
    if input.strides[-1] != input.itemsize:
        return _evaluate_complex(xp, input[..., 0], input[..., 1])
    return input.view(np.complex64 if input.dtype == np.float32 else np.complex128)[..., 0]


VIEW_AS_COMPLEX = define(
    "view_as_complex(input: Tensor)",
    "A view as complex numbers of pairs along the last dimension, of size 2.\n\n"
    ">>> ingot.view_as_complex(ingot.tensor([[1., 2.]]))\n"
    "tensor([1.+2.j])",
    infer=_infer_view_as_complex,
    evaluate=_evaluate_view_as_complex,
    traits=_VIEW,
    vjp=lambda c, g, input: (F.view_as_real(g),),
    lower=Custom("view_as_complex"),
    public=("",),
    samples=lambda: [Sample((randoms(3, 2),), differentiable=False), Sample((randoms(2),), differentiable=False)],
    errors=lambda: [
        ErrorSample((randoms(3),), RuntimeError, "last dimension of size 2"),
        ErrorSample((ints(3, 2),), RuntimeError, "float32 and float64"),
    ],
)
