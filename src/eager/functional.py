"""Jacobians, Hessians and products with them, as `torch.autograd.functional`."""

from collections.abc import Callable
from typing import Any

from .autograd import grad as _gradients
from .functions import call as _call
from .modes import enable_grad
from .placement import beside
from .tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _inputs(inputs: Any, create_graph: bool) -> tuple[tuple[Tensor, ...], bool]:
    single = isinstance(inputs, Tensor)
    given = (inputs,) if single else tuple(inputs)
    for tensor in given:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"expected inputs to be Tensors, given {type(tensor).__name__}")
    own = (_call("clone", t) if create_graph and t.requires_grad else t.detach().requires_grad_() for t in given)
    return tuple(own), single


def _outputs(func: Callable[..., Any], inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], bool]:
    result = func(*inputs)
    single = isinstance(result, Tensor)
    outputs = (result,) if single else tuple(result)
    for tensor in outputs:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"expected the function's results to be Tensors, given {type(tensor).__name__}")
    return outputs, single


def _pulled(outputs: Any, inputs: Any, seeds: Any, create_graph: bool) -> tuple[Tensor, ...]:
    pairs = [(o, s) for o, s in zip(outputs, seeds, strict=True) if o.requires_grad]
    zeros = tuple(_call("full_like", i, 0).detach() for i in inputs)
    if not pairs:
        return zeros
    found = _gradients(
        [o for o, _ in pairs], inputs, [s for _, s in pairs], create_graph=create_graph, retain_graph=True,
        allow_unused=True,
    )  # fmt: skip
    return tuple(z if g is None else g for z, g in zip(zeros, found, strict=True))


def _detached(value: Any, create_graph: bool) -> Any:
    if create_graph:
        return value
    return tuple(_detached(v, create_graph) for v in value) if isinstance(value, tuple) else value.detach()


def _vectors(v: Any, like: tuple[Tensor, ...], what: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) != 1 or like[0].shape.numel() != 1:
            raise RuntimeError(f"The vector v can only be None if {what} is a single element")
        return (_call("full_like", like[0], 1),)
    given = (v,) if isinstance(v, Tensor) else tuple(v)
    if [tuple(t.shape) for t in given] != [tuple(t.shape) for t in like]:
        raise RuntimeError(
            f"v has invalid size: should be {[list(t.shape) for t in like]} but got {[list(t.shape) for t in given]}"
        )
    return given


@beside
def jacobian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The Jacobian of a function at inputs: shape (*output, *input), in tuples where there are several of either.

    >>> ingot.autograd.functional.jacobian(lambda x: x**2, ingot.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    with enable_grad():
        own, single_input = _inputs(inputs, create_graph)
        outputs, single_output = _outputs(func, own)
        rows: list[tuple[Tensor, ...]] = []
        for output in outputs:
            flat = _call("reshape", output, -1)
            elements = [_call("select", flat, k, dim=0) for k in range(int(flat.shape[0]))]
            found = [_pulled((e,), own, (_call("full_like", e, 1),), create_graph) for e in elements]
            parts = []
            for position, input in enumerate(own):
                shape = (*output.shape, *input.shape)
                pieces = [f[position] for f in found]
                whole = _call("stack", pieces, 0) if pieces else _call("full", shape, 0, dtype=input.dtype)
                parts.append(_call("reshape", whole, shape))
            rows.append(tuple(parts))
    result: Any = _detached(tuple(row[0] if single_input else row for row in rows), create_graph)
    return result[0] if single_output else result


def hessian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The second derivatives of a function whose result is one number.

    >>> ingot.autograd.functional.hessian(lambda x: (x**3).sum(), ingot.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """

    def first(*arguments: Tensor) -> Any:
        result = func(*arguments)
        if not isinstance(result, Tensor) or result.shape.numel() != 1:
            raise RuntimeError("hessian: the function must return a single number")
        found = jacobian(lambda *a: _call("reshape", func(*a), ()), arguments, create_graph=True)
        return tuple(found)

    own, single = _inputs(inputs, create_graph)
    result = jacobian(first, own, create_graph=create_graph)
    return result[0][0] if single else result


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """The function's result, and the product of a vector with its Jacobian.

    >>> ingot.autograd.functional.vjp(lambda x: x**2, ingot.tensor([1.0, 2.0]), ingot.ones(2))[1]
    tensor([2., 4.])
    """
    with enable_grad():
        own, single_input = _inputs(inputs, create_graph)
        outputs, single_output = _outputs(func, own)
        found = _pulled(outputs, own, _vectors(v, outputs, "the user-provided function's output"), create_graph)
    result = _detached(outputs[0] if single_output else outputs, create_graph)
    return result, _detached(found[0] if single_input else found, create_graph)


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """The function's result, and the product of its Jacobian with a vector.

    >>> ingot.autograd.functional.jvp(lambda x: x**2, ingot.tensor([1.0, 2.0]), ingot.ones(2))[1]
    tensor([2., 4.])
    """
    with enable_grad():
        own, _ = _inputs(inputs, create_graph)
        outputs, single_output = _outputs(func, own)
        directions = _vectors(v, own, "the input")
        seeds = tuple(_call("full_like", o, 0).detach().requires_grad_() for o in outputs)
        found = _pulled(_pulled(outputs, own, seeds, True), seeds, directions, create_graph)
    result = _detached(outputs[0] if single_output else outputs, create_graph)
    return result, _detached(found[0] if single_output else found, create_graph)


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """The function's result, one number, and the product of a vector with its Hessian.

    >>> ingot.autograd.functional.vhp(lambda x: (x**3).sum(), ingot.tensor([1.0, 2.0]), ingot.ones(2))[1]
    tensor([ 6., 12.])
    """
    with enable_grad():
        own, single_input = _inputs(inputs, create_graph)
        outputs, _ = _outputs(func, own)
        if len(outputs) != 1 or outputs[0].shape.numel() != 1:
            raise RuntimeError("The Tensor returned by the function given to vhp should contain a single element")
        first = _pulled(outputs, own, (_call("full_like", outputs[0], 1),), True)
        found = _pulled(first, own, _vectors(v, own, "the input"), create_graph)
    return _detached(outputs[0], create_graph), _detached(found[0] if single_input else found, create_graph)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """The function's result, one number, and the product of its (symmetric) Hessian with a vector.

    >>> ingot.autograd.functional.hvp(lambda x: (x**3).sum(), ingot.tensor([1.0, 2.0]), ingot.ones(2))[1]
    tensor([ 6., 12.])
    """
    return vhp(func, inputs, v, create_graph, strict)
