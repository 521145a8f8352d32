"""Gradients, Jacobians and products with them, of functions: what `torch.func` has but `vmap`."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np

from ..eager import enable_grad, modes
from ..eager.autograd import grad as _gradients
from ..eager.functions import call as _call
from ..eager.placement import beside, moved
from ..eager.tensor import Tensor, wrap
from .batching import innermost, lifted, pull, push, without
from .mapping import vmap
from .structure import flatten as _flatten

__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp"]


class _Depth(threading.local):
    value = 0


_depth = _Depth()


@contextmanager
def _inside() -> Iterator[None]:
    _depth.value += 1
    try:
        with enable_grad():
            yield
    finally:
        _depth.value -= 1


def _tracked(leaf: Tensor) -> Tensor:
    """The tensor at a place of its own in the graph, linked to the graph that it is part of already."""
    leaf = lifted(leaf)
    return _call("clone", leaf) if leaf.requires_grad else leaf.detach().requires_grad_()  # type: ignore[no-any-return]


def _released(value: Any) -> Any:
    """Results outside of every transformation have no history."""
    if _depth.value:
        return value
    leaves, rebuild = _flatten(value)
    return rebuild([leaf.detach() for leaf in leaves])


def _derivatives(outputs: list[Tensor], inputs: list[Tensor], seeds: list[Tensor] | None = None) -> list[Tensor]:
    """Gradients with their own graph; zeros where an output does not depend on an input.

    Inside `vmap` outputs and inputs stand for batches. Those are taken out, so that the walk goes over plain tensors;
    the gradients of their first dimension are those of the samples, which do not depend on each other.
    """
    batch = innermost([*outputs, *inputs])
    if batch is not None:
        given = [_call("full_like", o, 1) for o in outputs] if seeds is None else seeds
        rest = without(batch)
        parts = [[pull(t, batch) for t in tensors] for tensors in (outputs, inputs, given)]
        with modes.use_mode(rest):
            found = _derivatives(*parts)
        return [push(g, batch) for g in found]
    pairs = [
        (o, None if seeds is None else s) for o, s in zip(outputs, seeds or outputs, strict=True) if o.requires_grad
    ]
    if not pairs:
        return [_zeros_like(i) for i in inputs]
    gradients = _gradients(
        [o for o, _ in pairs], inputs, None if seeds is None else [s for _, s in pairs], create_graph=True,
        allow_unused=True,
    )  # fmt: skip
    return [_zeros_like(i) if g is None else g for i, g in zip(inputs, gradients, strict=True)]


def _zeros_like(tensor: Tensor) -> Tensor:
    return _call("full_like", tensor, 0).detach()  # type: ignore[no-any-return]


def _prepared(args: tuple[Any, ...], argnums: Any) -> tuple[list[Any], list[Tensor], Callable[[list[Any]], Any]]:
    """The arguments with those to differentiate by tracked; these as leaves; and how results are put together."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    changed = list(args)
    chosen = tuple(args[n] for n in numbers)
    leaves, rebuild = _flatten(chosen)
    tracked = [_tracked(leaf) for leaf in leaves]
    for n, value in zip(numbers, rebuild(list(tracked)), strict=True):
        changed[n] = value
    return changed, tracked, (lambda found: rebuild(found)[0]) if isinstance(argnums, int) else rebuild


# -- gradients and Jacobians -------------------------------------------------------------------------------------------


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns the gradient of `func`, whose result is one number, and that result.

    >>> ingot.func.grad_and_value(lambda x: x**2)(ingot.tensor(3.0))
    (tensor(6.), tensor(9.))
    """

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _inside():
            changed, inputs, finish = _prepared(args, argnums)
            result = func(*changed, **kwargs)
            aux = None
            if has_aux:
                result, aux = result
            if not isinstance(result, Tensor) or result.ndim:
                given = f"shape {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
                raise RuntimeError(f"Expected f(*args) to return a scalar tensor, got {given}")
            found = finish(_derivatives([result], inputs))
        found, result = _released(found), _released(result)
        return (found, (result, _released(aux))) if has_aux else (found, result)

    return wrapper


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns the gradient of `func`, whose result is one number, by the arguments `argnums`.

    >>> ingot.func.grad(ingot.func.grad(lambda x: x**3))(ingot.tensor(2.0))
    tensor(12.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found, result = both(*args, **kwargs)
        return (found, result[1]) if has_aux else found

    return wrapper


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The result of `func`, and the function from its cotangents to gradients by each of the primals.

    >>> output, back = ingot.func.vjp(lambda x: x**2, ingot.tensor([1.0, 2.0]))
    >>> back(ingot.tensor([1.0, 1.0]))
    (tensor([2., 4.]),)
    """
    with _inside():
        changed, inputs, finish = _prepared(primals, tuple(range(len(primals))))
        output = func(*changed)
        aux = None
        if has_aux:
            output, aux = output
    outputs, _ = _flatten(output)

    def back(*cotangents: Any) -> Any:
        given, _ = _flatten(cotangents)
        if [tuple(c.shape) for c in given] != [tuple(o.shape) for o in outputs]:
            raise RuntimeError(
                f"vjp: expected cotangents of shapes {[list(o.shape) for o in outputs]}, given "
                f"{[list(c.shape) for c in given]}"
            )
        with _inside():
            found = finish(_derivatives(outputs, inputs, given))
        return _released(found)

    return (_released(output), back, _released(aux)) if has_aux else (_released(output), back)


def jvp(func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, has_aux: bool = False) -> Any:
    """The result of `func`, and its derivative along the tangents.

    It is the derivative of the (linear) backward pass by its seed.

    >>> ingot.func.jvp(lambda x: x**2, (ingot.tensor(3.0),), (ingot.tensor(1.0),))
    (tensor(9.), tensor(6.))
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple) or len(primals) != len(tangents):
        raise RuntimeError("jvp: expected primals and tangents to be tuples of the same length")
    with _inside():
        changed, inputs, _ = _prepared(primals, tuple(range(len(primals))))
        output = func(*changed)
        aux = None
        if has_aux:
            output, aux = output
        outputs, rebuild = _flatten(output)
        directions, _ = _flatten(tangents)
        found = rebuild(_forward(outputs, inputs, directions))
    result = (_released(output), _released(found))
    return (*result, _released(aux)) if has_aux else result


def _forward(outputs: list[Tensor], inputs: list[Tensor], directions: list[Tensor]) -> list[Tensor]:
    if [tuple(d.shape) for d in directions] != [tuple(i.shape) for i in inputs]:
        raise RuntimeError(
            f"jvp: expected tangents of shapes {[list(i.shape) for i in inputs]}, given "
            f"{[list(d.shape) for d in directions]}"
        )
    return _linear_map(outputs, inputs)(directions)


def _linear_map(outputs: list[Tensor], inputs: list[Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    """The function from directions of the inputs to derivatives of the outputs: the backward pass, differentiated.

    That pass is linear in its seeds, so their values do not matter.
    """
    seeds = [lifted(_zeros_like(o)).requires_grad_() for o in outputs]
    pulled = _derivatives(outputs, inputs, seeds)
    return lambda directions: _derivatives(pulled, seeds, directions)


def along(output: Tensor, inputs: list[Tensor], directions: list[Tensor]) -> Tensor:
    """The derivative of a recorded tensor along directions of the tensors it came from, without history."""
    with _inside():
        (found,) = _linear_map([output], inputs)(directions)
    return found.detach()  # type: ignore[no-any-return,attr-defined]


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The result of `func`, and the function from tangents of the primals to the derivative along them.

    >>> output, along = ingot.func.linearize(lambda x: x**2, ingot.tensor([1.0, 3.0]))
    >>> along(ingot.tensor([1.0, 1.0]))
    tensor([2., 6.])
    """
    with _inside():
        changed, inputs, _ = _prepared(primals, tuple(range(len(primals))))
        output = func(*changed)
        outputs, rebuild = _flatten(output)
        push_forward = _linear_map(outputs, inputs)

    def along(*tangents: Any) -> Any:
        directions, _ = _flatten(tangents)
        if [tuple(d.shape) for d in directions] != [tuple(i.shape) for i in inputs]:
            raise RuntimeError(
                f"linearize: expected tangents of shapes {[list(i.shape) for i in inputs]}, given "
                f"{[list(d.shape) for d in directions]}"
            )
        with _inside():
            found = rebuild(push_forward(directions))
        return _released(found)

    return _released(output), along


def jacrev(
    func: Callable[..., Any], argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The function that returns the Jacobian of `func`, of shape (*output, *argument), row by row.

    >>> ingot.func.jacrev(lambda x: x**2)(ingot.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _inside():
            changed, inputs, finish = _prepared(args, argnums)
            output = func(*changed, **kwargs)
            aux = None
            if has_aux:
                output, aux = output
            outputs, rebuild = _flatten(output)
            found = rebuild([finish(_jacobian(o, inputs, chunk_size)) for o in outputs])
        return (_released(found), _released(aux)) if has_aux else _released(found)

    return wrapper


def _basis(tensors: list[Tensor]) -> list[Tensor]:
    """For each tensor, the directions along the elements of all of them: of shape (elements of all, *its shape)."""
    sizes = [int(t.shape.numel()) for t in tensors]
    total, offset = sum(sizes), 0
    found = []
    for tensor, size in zip(tensors, sizes, strict=True):
        rows = np.zeros((total, size), tensor._array.dtype)
        rows[offset : offset + size] = np.eye(size)
        found.append(moved(wrap(rows.reshape(total, *tensor.shape)), tensor.device))
        offset += size
    return found


@beside
def _jacobian(output: Tensor, inputs: list[Tensor], chunk_size: int | None) -> list[Tensor]:
    """The derivatives of one output by each input: one backward pass for all rows at once."""
    (rows,) = _basis([output])

    def back(seed: Tensor) -> tuple[Tensor, ...]:
        return tuple(_derivatives([output], inputs, [seed]))

    if not rows.shape[0]:
        return [_call("full", (*output.shape, *i.shape), 0, dtype=i.dtype) for i in inputs]
    found = vmap(back, chunk_size=chunk_size)(rows)
    return [_call("reshape", f, (*output.shape, *i.shape)) for f, i in zip(found, inputs, strict=True)]


@beside
def jacfwd(
    func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, *, chunk_size: int | None = None,
    randomness: str = "error",
) -> Callable[..., Any]:  # fmt: skip
    """The function that returns the Jacobian of `func`, of shape (*output, *argument), column by column.

    >>> ingot.func.jacfwd(lambda x: x**2)(ingot.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _inside():
            changed, inputs, finish = _prepared(args, argnums)
            output = func(*changed, **kwargs)
            aux = None
            if has_aux:
                output, aux = output
            outputs, rebuild = _flatten(output)
            push_forward = _linear_map(outputs, inputs)
            directions = _basis(inputs)
            columns: Any = [_call("full", (0, *o.shape), 0, dtype=o.dtype) for o in outputs]
            if directions and directions[0].shape[0]:
                columns = vmap(lambda *d: tuple(push_forward(list(d))), chunk_size=chunk_size)(*directions)
            found = []
            for o, column in zip(outputs, columns, strict=True):
                parts, offset = [], 0
                for i in inputs:
                    size = int(i.shape.numel())
                    part = _call("slice", column, offset, offset + size, dim=0)
                    parts.append(_call("reshape", _last(part), (*o.shape, *i.shape)))
                    offset += size
                found.append(finish(parts))
            result = rebuild(found)
        return (_released(result), _released(aux)) if has_aux else _released(result)

    return wrapper


def _last(tensor: Tensor) -> Tensor:
    """The tensor with its first dimension at the end."""
    return _call("permute", tensor, *range(1, tensor.ndim), 0)  # type: ignore[no-any-return]


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The function that returns the second derivatives of `func`: forward over backward.

    >>> ingot.func.hessian(lambda x: (x**3).sum())(ingot.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)
