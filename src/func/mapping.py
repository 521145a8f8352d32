"""`vmap`: a function of one sample, called once for a whole batch."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..eager import modes
from ..eager.functions import call
from ..eager.tensor import Tensor
from .batching import Batched, BatchMode, active_batches
from .structure import flatten_all

__all__ = ["vmap"]

_RANDOMNESS = ("error", "different", "same")


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error",
    *, chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """The function that applies `func` to each slice of its arguments along `in_dims`, all at once, and stacks results.

    in_dims: an int for all arguments, or one entry per argument (None: the same for all slices), nested as they are;
    arguments given by name are the same for all. out_dims: where the results' new dimension goes. randomness: whether
    random ops are an "error", draw "different" numbers for each slice, or the "same" for all. chunk_size: how many
    slices are computed at a time.

    ValueError for arguments that do not fit `in_dims`; RuntimeError where `func` takes Python values from tensors.

    >>> ingot.func.vmap(lambda x, y: x @ y, in_dims=(0, None))(ingot.ones(3, 2), ingot.ones(2))
    tensor([2., 2., 2.])
    """
    if randomness not in _RANDOMNESS:
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        leaves, rebuild = flatten_all(args)
        places = _places_of_arguments(in_dims, args, leaves)
        size = _batch_size(leaves, places)
        if chunk_size is not None and chunk_size < size:
            pieces = []
            for first in range(0, size, chunk_size):
                end = min(first + chunk_size, size)
                part = [
                    leaf if p is None else call("slice", leaf, first, end, dim=p)
                    for leaf, p in zip(leaves, places, strict=True)
                ]
                pieces.append(_mapped(func, rebuild, part, kwargs, places, end - first, out_dims, randomness))
            return _joined(pieces, out_dims)
        return _mapped(func, rebuild, leaves, kwargs, places, size, out_dims, randomness)

    return wrapper


def _mapped(
    func: Callable[..., Any],
    rebuild: Callable[[list[Any]], Any],
    leaves: list[Any],
    kwargs: dict[str, Any],
    places: list[int | None],
    size: int,
    out_dims: Any,
    randomness: str,
) -> Any:
    outer = modes.current_mode()
    mode = BatchMode(len(active_batches()) + 1, size, randomness, outer)
    inside = [
        leaf if p is None else Batched(_to_front(leaf, p), mode.level) for leaf, p in zip(leaves, places, strict=True)
    ]
    with modes.use_mode(mode):
        results = func(*rebuild(inside), **kwargs)
    return _outside(mode, results, out_dims)


def _to_front(tensor: Tensor, dim: int) -> Tensor:
    if dim == 0:
        return tensor
    order = [dim, *[d for d in range(tensor.ndim) if d != dim]]
    return call("permute", tensor, *order)  # type: ignore[no-any-return]


# -- arguments --------------------------------------------------------------------------------------------------------


def _places_of_arguments(in_dims: Any, args: tuple[Any, ...], leaves: list[Any]) -> list[int | None]:
    """For each leaf of the arguments the dimension to map over, or None."""
    if not isinstance(in_dims, (int, tuple, list)) or isinstance(in_dims, bool):
        raise ValueError(
            f"vmap(in_dims={in_dims}): expected `in_dims` to be int or a (potentially nested) tuple matching the "
            f"structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError("vmap: got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
                         "function with no inputs. The latter is unsupported.")  # fmt: skip
    spread = _spread(tuple(in_dims) if isinstance(in_dims, list) else in_dims, args)
    if spread is None:
        raise ValueError(
            f"vmap(in_dims={in_dims}): in_dims is not compatible with the structure of inputs. in_dims has structure "
            f"{in_dims!r} but inputs has {len(args)} argument(s)."
        )
    places: list[int | None] = []
    for place, leaf in zip(spread, leaves, strict=True):
        if place is None:
            places.append(None)
            continue
        if isinstance(place, bool) or not isinstance(place, int):
            raise ValueError(
                f"vmap(in_dims={in_dims}): Got in_dim={place} for an input but in_dim must be either an integer "
                "dimension or None."
            )
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"vmap(in_dims={in_dims}): Got in_dim={place} for an input but the input is of type {type(leaf)}. We "
                "cannot vmap over non-Tensor arguments, please use None as the respective in_dim"
            )
        if not -leaf.ndim <= place < leaf.ndim:
            raise ValueError(
                f"vmap(in_dims={in_dims}): Got in_dim={place} for some input, but that input is a Tensor of "
                f"dimensionality {leaf.ndim} so expected in_dim to satisfy -{leaf.ndim} <= in_dim < {leaf.ndim}."
            )
        places.append(place % leaf.ndim)
    return places


def _spread(dims: Any, value: Any) -> list[Any] | None:
    """Dimensions, nested as the value is or less deeply, as one per leaf of it; None where they do not fit."""
    if not isinstance(dims, (tuple, list, dict)):
        return [dims] * len(flatten_all(value)[0])
    if isinstance(dims, dict) and isinstance(value, dict) and dims.keys() == value.keys():
        pairs = [(dims[key], value[key]) for key in value]
    elif isinstance(dims, (tuple, list)) and isinstance(value, (tuple, list)) and len(dims) == len(value):
        pairs = list(zip(dims, value, strict=True))
    else:
        return None
    found: list[Any] = []
    for part, item in pairs:
        inner = _spread(part, item)
        if inner is None:
            return None
        found += inner
    return found


def _batch_size(leaves: list[Any], places: list[int | None]) -> int:
    sizes = [leaf.shape[p] for leaf, p in zip(leaves, places, strict=True) if p is not None]
    if not sizes:
        raise ValueError("vmap: at least one input must be mapped over: every in_dim is None")
    if any(s != sizes[0] for s in sizes):
        raise ValueError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the "
            "mapped dimension"
        )
    return int(sizes[0])


# -- results ----------------------------------------------------------------------------------------------------------


def _places_of_results(out_dims: Any, results: Any) -> list[Any]:
    spread = _spread(tuple(out_dims) if isinstance(out_dims, list) else out_dims, results)
    if spread is None and isinstance(out_dims, tuple) and len(out_dims) == 1:
        spread = _spread(out_dims[0], results)
    if spread is None:
        raise ValueError(
            f"vmap(out_dims={out_dims}): out_dims is not compatible with the structure of outputs: expected an int or "
            "the outputs' structure"
        )
    return spread


def _outside(mode: BatchMode, results: Any, out_dims: Any) -> Any:
    leaves, rebuild = flatten_all(results)
    finished = []
    for leaf, place in zip(leaves, _places_of_results(out_dims, results), strict=True):
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"vmap: `func` must only return Tensors, got type {type(leaf)}. Did you mean to return a tensor?"
            )
        if place is None:
            if mode.mine(leaf):
                raise ValueError(
                    f"vmap(out_dims={out_dims}): `func` returns a tensor that differs between samples where out_dims "
                    "is None"
                )
            finished.append(leaf)
            continue
        value = mode.front(leaf)
        if not mode.mine(leaf):
            value = call("clone", value)  # an expanded result could not be written to
        if not -value.ndim <= place < value.ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-value.ndim}, {value.ndim - 1}], but got "
                f"{place})"
            )
        finished.append(_from_front(value, place % value.ndim))
    return rebuild(finished)


def _from_front(tensor: Tensor, dim: int) -> Tensor:
    if dim == 0:
        return tensor
    order = list(range(1, tensor.ndim))
    order.insert(dim, 0)
    return call("permute", tensor, *order)  # type: ignore[no-any-return]


def _joined(pieces: list[Any], out_dims: Any) -> Any:
    """The results of consecutive parts of a batch, as those of the whole."""
    _, rebuild = flatten_all(pieces[0])
    places = _places_of_results(out_dims, pieces[0])
    columns = zip(*[flatten_all(piece)[0] for piece in pieces], strict=True)
    return rebuild(
        [
            column[0] if place is None else call("cat", list(column), place)
            for place, column in zip(places, columns, strict=True)
        ]
    )
