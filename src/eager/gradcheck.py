"""Derivatives checked against finite differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd import grad
from .device import host_array
from .modes import enable_grad, no_grad
from .placement import moved
from .tensor import Tensor, wrap

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative that differs from the finite difference."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of `func` agree with central differences (f(x + eps) - f(x - eps)) / (2 eps).

    inputs: a tensor or a tuple; those that require grad are checked and should be float64 or complex128. GradcheckError
    where one does not agree, or False with `raise_exception=False`. check_grad_dtypes: gradients must have their
    inputs' dtype. Every element is checked, also with `fast_mode`; `check_undefined_grad`, `check_batched_grad`,
    `check_forward_ad` and `masked` are accepted: what they check follows from the one rule there is here.

    >>> x = ingot.tensor([0.5, 2.0], dtype=ingot.float64, requires_grad=True)
    >>> ingot.autograd.gradcheck(lambda x: x * x.exp(), (x,))
    True
    """
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    wanted = [i for i, a in enumerate(arguments) if isinstance(a, Tensor) and a.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none has requires_grad=True."
        )
    for i in wanted:
        dtype = arguments[i].dtype
        if dtype.name not in ("float64", "complex128") and eps < 1e-4:
            raise ValueError(f"gradcheck: input {i} is {dtype.name}, too coarse for eps={eps}: use float64")
    if not check_backward_ad and not check_forward_ad:
        return True
    if check_grad_dtypes:
        _check_dtypes(func, arguments, wanted)
    try:
        _check(func, arguments, wanted, eps, atol, rtol, nondet_tol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _outputs(func: Callable[..., Any], arguments: Sequence[Any]) -> list[Tensor]:
    result = func(*arguments)
    found = [result] if isinstance(result, Tensor) else list(result)
    return [r for r in found if isinstance(r, Tensor) and r.dtype.category >= 2]


def _check(
    func: Callable[..., Any],
    arguments: tuple[Any, ...],
    wanted: list[int],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
) -> None:
    with enable_grad():
        outputs = _outputs(func, arguments)
    if not any(o.requires_grad for o in outputs):
        outputs = []
    numeric = {i: _numerical(func, arguments, i, eps) for i in wanted}
    for number, output in enumerate(outputs):
        analytic = _analytical(output, [arguments[i] for i in wanted])
        again = _analytical(output, [arguments[i] for i in wanted])
        for i, jacobian, repeated in zip(wanted, analytic, again, strict=True):
            if np.abs(jacobian - repeated).max(initial=0.0) > nondet_tol:
                raise GradcheckError(f"Backward is not reentrant, i.e., running backward twice gives input {i} others")
            expected = numeric[i][number]
            if not np.allclose(jacobian, expected, rtol=rtol, atol=atol, equal_nan=True):
                raise GradcheckError(
                    f"Jacobian mismatch for output {number} with respect to input {i},\n"
                    f"numerical:{expected}\nanalytical:{jacobian}"
                )
    if not outputs and any(np.abs(j).max(initial=0.0) > atol for found in numeric.values() for j in found):
        raise GradcheckError("the outputs depend on the inputs but require no gradient")


def _check_dtypes(func: Callable[..., Any], arguments: tuple[Any, ...], wanted: list[int]) -> None:
    for output in _outputs(func, arguments):
        if not output.requires_grad:
            continue
        seed = moved(wrap(np.ones(output._array.shape, output._array.dtype)), output.device)
        found = grad(output, [arguments[i] for i in wanted], seed, allow_unused=True)
        for i, gradient in zip(wanted, found, strict=True):
            if gradient is not None and gradient.dtype is not arguments[i].dtype:
                raise GradcheckError(f"Gradient of input {i} has dtype {gradient.dtype!r}, not {arguments[i].dtype!r}")


def _seeds(output: Tensor) -> list[np.ndarray[Any, Any]]:
    """The seeds 1 at every element, and 1j too for complex ones."""
    found = []
    for element in range(output._array.size):
        for value in (1, 1j) if output.dtype.is_complex else (1,):
            seed = np.zeros(output._array.shape, output._array.dtype)
            seed.reshape(-1)[element] = value
            found.append(seed)
    return found


def _reals(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The elements as real numbers: of complex ones both parts, one after the other."""
    flat = np.ascontiguousarray(host_array(array)).reshape(-1)
    return flat.view(np.float64 if flat.itemsize == 16 else np.float32) if flat.dtype.kind == "c" else flat


def _analytical(output: Tensor, inputs: list[Tensor]) -> list[np.ndarray[Any, Any]]:
    """Jacobians of one output over the reals, of shape (numbers in the input, numbers in the output)."""
    seeds = _seeds(output)
    jacobians = [np.zeros((_reals(t._array).size, len(seeds))) for t in inputs]
    if not output.requires_grad:
        return jacobians
    for column, seed in enumerate(seeds):
        gradients = grad(output, inputs, moved(wrap(seed), output.device), retain_graph=True, allow_unused=True)
        for jacobian, gradient in zip(jacobians, gradients, strict=True):
            if gradient is not None:
                jacobian[:, column] = _reals(gradient._array)
    return jacobians


def _numerical(func: Callable[..., Any], arguments: tuple[Any, ...], i: int, eps: float) -> list[np.ndarray[Any, Any]]:
    """The same by central differences, for every output."""
    array = arguments[i]._array
    directions = (1, 1j) if array.dtype.kind == "c" else (1,)
    columns: list[list[np.ndarray[Any, Any]]] = []
    for position in np.ndindex(array.shape):
        for direction in directions:
            values = []
            original = array[position].item()
            for step in (eps, -eps):
                array[position] = original + direction * step
                try:
                    with no_grad():
                        values.append([_reals(o._array).astype(np.float64) for o in _outputs(func, arguments)])
                finally:
                    array[position] = original
            columns.append([(high - low) / (2 * eps) for high, low in zip(*values, strict=True)])
    if not columns:
        with no_grad():
            return [np.zeros((0, _reals(o._array).size)) for o in _outputs(func, arguments)]
    return [np.stack(rows) for rows in zip(*columns, strict=True)]


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    gen_non_contig_grad_outputs: bool = False,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """As `gradcheck`, of the gradients of `func`: second derivatives, also in the outputs' gradients."""
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    outputs = _outputs(func, arguments)
    if grad_outputs is None:
        generator = np.random.default_rng(0)
        drawn = [wrap(np.asarray(generator.random(o.shape), o._array.dtype)) for o in outputs]
        seeds = [moved(seed, o.device).requires_grad_() for seed, o in zip(drawn, outputs, strict=True)]
    else:
        seeds = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    count = len(arguments)

    def gradients(*all_arguments: Any) -> Any:
        arguments, seeds = all_arguments[:count], all_arguments[count:]
        wanted = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
        with enable_grad():
            pairs = [(o, s) for o, s in zip(_outputs(func, arguments), seeds, strict=True) if o.requires_grad]
            found = grad(
                [o for o, _ in pairs], wanted, [s for _, s in pairs], create_graph=True, materialize_grads=True
            )
        return tuple(found)

    return gradcheck(
        gradients, (*arguments, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_grad_dtypes=check_grad_dtypes,
    )  # fmt: skip
