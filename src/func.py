"""Transformations of functions, as `torch.func`: gradients, Jacobians, products with them, and mapping over a batch."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from .eager import enable_grad
from .eager.autograd import grad as _gradients
from .eager.functions import call as _call
from .eager.module import Module
from .eager.tensor import Tensor

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "vjp", "vmap"]


class _Depth(threading.local):
    value = 0


_depth = _Depth()


# -- nested arguments --------------------------------------------------------------------------------------------------


def _flatten(value: Any) -> tuple[list[Tensor], Callable[[list[Any]], Any]]:
    """The tensors in nested lists, tuples and dictionaries, and a function that puts others in their places."""
    if isinstance(value, Tensor):
        return [value], lambda leaves: leaves[0]
    if isinstance(value, (list, tuple)):
        parts = [_flatten(v) for v in value]
    elif isinstance(value, dict):
        parts = [_flatten(v) for v in value.values()]
    else:
        return [], lambda leaves: value
    counts = [len(leaves) for leaves, _ in parts]

    def rebuild(leaves: list[Any]) -> Any:
        rest, items = list(leaves), []
        for count, (_, build) in zip(counts, parts, strict=True):
            items.append(build(rest[:count]))
            del rest[:count]
        if isinstance(value, dict):
            return dict(zip(value, items, strict=True))
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)

    return [leaf for leaves, _ in parts for leaf in leaves], rebuild


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
    return _call("clone", leaf) if leaf.requires_grad else leaf.detach().requires_grad_()  # type: ignore[no-any-return]


def _released(value: Any) -> Any:
    """Results outside of every transformation have no history."""
    if _depth.value:
        return value
    leaves, rebuild = _flatten(value)
    return rebuild([leaf.detach() for leaf in leaves])


def _derivatives(outputs: list[Tensor], inputs: list[Tensor], seeds: list[Tensor] | None = None) -> list[Tensor]:
    """Gradients with their own graph; zeros where an output does not depend on an input."""
    pairs = [
        (o, None if seeds is None else s) for o, s in zip(outputs, seeds or outputs, strict=True) if o.requires_grad
    ]
    if not pairs:
        return [_call("full_like", i, 0).detach() for i in inputs]
    found = _gradients(
        [o for o, _ in pairs], inputs, None if seeds is None else [s for _, s in pairs], create_graph=True,
        allow_unused=True,
    )  # fmt: skip
    return [_call("full_like", i, 0).detach() if g is None else g for i, g in zip(inputs, found, strict=True)]


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
    seeds = [_call("full_like", o, 0).detach().requires_grad_() for o in outputs]
    pulled = _derivatives(outputs, inputs, seeds)
    return _derivatives(pulled, seeds, directions)


def jacrev(func: Callable[..., Any], argnums: Any = 0, *, has_aux: bool = False) -> Callable[..., Any]:
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
            found = rebuild([finish(_jacobian(o, inputs)) for o in outputs])
        return (_released(found), _released(aux)) if has_aux else _released(found)

    return wrapper


def _jacobian(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    flat = _call("reshape", output, -1)
    rows = [_derivatives([_call("select", flat, k, dim=0)], inputs) for k in range(int(flat.shape[0]))]
    found = []
    for position, input in enumerate(inputs):
        shape = (*output.shape, *input.shape)
        parts = [row[position] for row in rows]
        stacked = _call("stack", parts, 0) if parts else _call("full", shape, 0, dtype=input.dtype)
        found.append(_call("reshape", stacked, *shape) if shape else _call("reshape", stacked, ()))
    return found


def jacfwd(func: Callable[..., Any], argnums: Any = 0, *, has_aux: bool = False) -> Callable[..., Any]:
    """The same as `jacrev`: there is no forward mode that would make tall Jacobians cheaper.

    >>> ingot.func.jacfwd(lambda x: x**2)(ingot.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The function that returns the second derivatives of `func`.

    >>> ingot.func.hessian(lambda x: (x**3).sum())(ingot.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacrev(jacrev(func, argnums), argnums)


# -- batches and modules -----------------------------------------------------------------------------------------------


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error",
    *, chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """The function that applies `func` to each slice of its arguments along `in_dims` and stacks the results.

    It runs `func` once per slice, so that any code works in it; random numbers differ from slice to slice.

    >>> ingot.func.vmap(lambda x, y: x @ y, in_dims=(0, None))(ingot.ones(3, 2), ingot.ones(2))
    tensor([2., 2., 2.])
    """

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        dims = in_dims if isinstance(in_dims, (tuple, list)) else (in_dims,) * len(args)
        if len(dims) != len(args):
            raise ValueError(f"vmap: in_dims {in_dims} is not compatible with the {len(args)} arguments given")
        sizes = {t.shape[d] for a, d in zip(args, dims, strict=True) if d is not None for t in _flatten(a)[0]}
        if not sizes:
            raise ValueError("vmap: expected at least one argument to map over")
        if len(sizes) > 1:
            raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got {sizes}")
        (count,) = sizes
        results = []
        for k in range(int(count)):
            results.append(func(*(_slice_of(a, d, k) for a, d in zip(args, dims, strict=True)), **kwargs))
        if not results:
            raise RuntimeError("vmap: a batch of size 0 says nothing about the shape of the result")
        _, rebuild = _flatten(results[0])
        columns = list(zip(*(_flatten(r)[0] for r in results), strict=True))
        places = list(out_dims) if isinstance(out_dims, (tuple, list)) else [out_dims] * len(columns)
        return rebuild([_call("stack", list(c), p) for c, p in zip(columns, places, strict=True)])

    return wrapper


def _slice_of(value: Any, dim: int | None, k: int) -> Any:
    if dim is None:
        return value
    leaves, rebuild = _flatten(value)
    return rebuild([_call("select", leaf, k, dim=dim) for leaf in leaves])


def functional_call(module: Module, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None) -> Any:
    """Call a module with other tensors in the place of its parameters and buffers, given by name.

    >>> layer = ingot.nn.Linear(1, 1)
    >>> names = {"weight": ingot.ones(1, 1), "bias": ingot.zeros(1)}
    >>> ingot.func.functional_call(layer, names, (ingot.ones(1),))
    tensor([1.])
    """
    given = parameter_and_buffer_dicts
    merged = {k: v for d in (given if isinstance(given, (tuple, list)) else [given]) for k, v in d.items()}
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for path, tensor in merged.items():
            *parents, name = path.split(".")
            owner: Any = module
            for parent in parents:
                owner = getattr(owner, parent)
            table = next((t for t in (owner._parameters, owner._buffers) if name in t), None)
            if table is None:
                raise KeyError(f"functional_call: the module has no parameter or buffer named {path!r}")
            replaced.append((table, name, table[name]))
            table[name] = tensor
        positional = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*positional, **(kwargs or {}))
    finally:
        for table, name, tensor in reversed(replaced):
            table[name] = tensor
