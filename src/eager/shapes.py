"""PyTorch's functions that take tensors apart, put them together and move dimensions, beside those that are ops."""

import builtins
import itertools
from typing import Any

import numpy as np

from . import modes
from .device import host_array
from .functions import call as _call
from .placement import beside, moved
from .quick import QUICK
from .tensor import Size, Tensor, settled, wrap

__all__ = [
    "argwhere", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_shapes", "broadcast_tensors", "broadcast_to",
    "chunk", "column_stack", "diag", "dstack", "fliplr", "flipud", "hstack", "index_copy", "index_fill", "moveaxis",
    "movedim", "narrow", "nonzero", "ravel", "repeat_interleave", "rot90", "select", "split", "squeeze", "t",
    "take_along_dim", "tensor_split", "tile", "unbind", "vstack", "where",
]  # fmt: skip


def _axis(name: str, tensor: Tensor, dim: int) -> int:
    rank = tensor.ndim
    if not rank:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    if not -rank <= dim < rank:
        raise IndexError(
            f"{name}: Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})"
        )
    return dim % rank


# -- parts ---------------------------------------------------------------------------------------------------------


def split(tensor: Tensor, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None) -> Any:
    """Views of consecutive parts of one dimension: parts of a size (the last may be smaller), or of the given sizes.

    >>> ingot.split(ingot.arange(5), 2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    given = split_size_or_sections if split_size is None else split_size
    if given is None:
        raise TypeError("split() missing 1 required positional argument: 'split_size_or_sections'")
    dim = _axis("split", tensor, dim)
    size = tensor.shape[dim]
    if isinstance(given, (list, tuple)):
        sections = list(given)
        if type(total := builtins.sum(sections)) is int:
            size = settled(size)
        if any(s < 0 for s in sections):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes have only non-negative entries, but got {sections}"
            )
        if total != size:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {size} (the size of dimension {dim}), "
                f"but got split_sizes={sections}"
            )
    else:
        step = given if isinstance(given, int) else int(given)
        if step < 0:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
        if step == 0 and size:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {size}")
        # How many parts there are is up to the size; how large the last is, is not.
        last = builtins.max(settled(-(-size // step)) if step else settled(size), 1) - 1
        sections = [step] * last + [size - step * last]
    parts = []
    start = 0
    for length in sections:
        parts.append(_call("slice", tensor, start, start + length, dim=dim))
        start += length
    return tuple(parts)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """Views of about equal consecutive parts of one dimension, at most `chunks` of them."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = _axis("chunk", input, dim)
    size = input.shape[dim]
    if size == 0:
        settled(size)
        return split(input, [0] * chunks, dim)
    return split(input, -(-size // chunks), dim)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> Any:
    """Views of consecutive parts: that many parts, whose sizes differ by at most one, or parts cut at the indices."""
    dim = _axis("tensor_split", input, dim)
    size = input.shape[dim]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        if count <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        larger = settled(size % count)
        cuts = [i * (size // count) + builtins.min(i, larger) for i in range(1, count)]
    else:
        cuts = list(indices_or_sections)
    return tuple(_call("slice", input, a, b, dim=dim) for a, b in itertools.pairwise([0, *cuts, size]))


def unbind(input: Tensor, dim: int = 0, *, axis: int | None = None) -> Any:
    """Views of every slice along one dimension, without that dimension."""
    if not input.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = _axis("unbind", input, dim if axis is None else axis)
    return tuple(_call("select", input, i, dim=dim) for i in builtins.range(settled(input.shape[dim])))


def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """The view of `length` elements of a dimension from `start`."""
    if not input.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    dim = _axis("narrow", input, dim)
    if isinstance(start, Tensor) and (start.ndim or start.dtype.category != 1):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    start = start if isinstance(start, int) else int(start)
    size = input.shape[dim]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -size <= start <= size:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-size}, {size}], but got {start})")
    first = start + size if start < 0 else start
    if first + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return _call("slice", input, first, first + length, dim=dim)  # type: ignore[no-any-return]


def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """The view of one index of a dimension, without that dimension."""
    if not input.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    return _call("select", input, index, dim=dim)  # type: ignore[no-any-return]


def squeeze(input: Tensor, dim: Any = None, *, axis: Any = None) -> Tensor:
    """The view without dimensions of size 1: all of them, or those given that have size 1."""
    return _call("squeeze", input, dim=dim if axis is None else axis)  # type: ignore[no-any-return]


@beside
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the square matrix with the vector on that diagonal and 0 elsewhere."""
    if input.ndim == 2:
        return _call("clone", _call("diagonal", input, diagonal))  # type: ignore[no-any-return]
    if input.ndim != 1:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    size = input.shape[0] + builtins.abs(diagonal)
    zeros = _call("full", (size, size), 0, dtype=input.dtype)
    return _call("diagonal_scatter", zeros, input, diagonal)  # type: ignore[no-any-return]


# -- dimensions ----------------------------------------------------------------------------------------------------


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix, as a view; vectors and single numbers stay."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    if input.ndim < 2:
        return input
    view = None if modes.active_modes else QUICK["transpose"](input, 0, 1)
    return _call("transpose", input, 0, 1) if view is None else view  # type: ignore[no-any-return]


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """The view with dimensions moved from `source` to `destination`; the others keep their order."""
    sources = [source] if isinstance(source, int) else list(source)
    destinations = [destination] if isinstance(destination, int) else list(destination)
    if len(sources) != len(destinations):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({sources} dims) should contain the same number of "
            f"dims as destination ({destinations} dims)"
        )
    rank = input.ndim
    sources = [_axis("movedim", input, d) for d in sources]
    destinations = [_axis("movedim", input, d) for d in destinations]
    if any(d in dims[:i] for dims in (sources, destinations) for i, d in enumerate(dims)):
        raise RuntimeError(f"movedim: repeated dim in source ({sources}) or destination ({destinations})")
    rest = [d for d in range(rank) if d not in sources]
    order = [sources[destinations.index(d)] if d in destinations else rest.pop(0) for d in range(rank)]
    return _call("permute", input, *order)  # type: ignore[no-any-return]


def moveaxis(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Another name of `movedim`."""
    return movedim(input, source, destination)


def ravel(input: Tensor) -> Tensor:
    """The elements in one dimension; a view where strides allow it."""
    return _call("reshape", input, -1)  # type: ignore[no-any-return]


def flipud(input: Tensor) -> Tensor:
    """The tensor with its first dimension reversed."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return _call("flip", input, 0)  # type: ignore[no-any-return]


def fliplr(input: Tensor) -> Tensor:
    """The tensor with its second dimension reversed."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return _call("flip", input, 1)  # type: ignore[no-any-return]


def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """The tensor rotated k times by 90 degrees in the plane of two dimensions, from the first to the second."""
    if len(tuple(dims)) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(tuple(dims))}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    first, second = (_axis("rot90", input, d) for d in dims)
    if first == second:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    match k % 4:
        case 1:
            return _call("transpose", _call("flip", input, second), first, second)  # type: ignore[no-any-return]
        case 2:
            return _call("flip", input, first, second)  # type: ignore[no-any-return]
        case 3:
            return _call("flip", _call("transpose", input, first, second), second)  # type: ignore[no-any-return]
    return _call("clone", input)  # type: ignore[no-any-return]


# -- broadcasting and repetition -----------------------------------------------------------------------------------


def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """The tensor expanded to a size, as a view."""
    return _call("expand", input, tuple(size))  # type: ignore[no-any-return]


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that tensors of these shapes are broadcast to; RuntimeError where they do not fit."""
    try:
        return Size(np.broadcast_shapes(*(s if isinstance(s, int) else tuple(s) for s in shapes)))
    except ValueError:
        raise RuntimeError(
            f"Shape mismatch: objects cannot be broadcast to a single shape: {', '.join(str(list(s)) for s in shapes)}"
        ) from None


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape, as views."""
    shape = broadcast_shapes(*(tuple(x.shape) for x in tensors))
    return tuple(_call("expand", x, tuple(shape)) for x in tensors)


def tile(input: Tensor, *dims: Any) -> Tensor:
    """The tensor repeated that often along each dimension, counted from the last."""
    counts = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    counts = (1,) * (input.ndim - len(counts)) + tuple(counts)
    return _call("repeat", input, counts)  # type: ignore[no-any-return]


def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """Each element (or slice along `dim`) repeated in place: the same number of times, or as often as a tensor says.

    >>> ingot.repeat_interleave(ingot.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    if dim is None:
        input = _call("reshape", input, -1)
        dim = 0
    if isinstance(repeats, Tensor) and repeats.ndim:
        counts = host_array(repeats.detach()._array)
        if counts.dtype.kind not in "iu":
            raise RuntimeError(f"repeats must be int32 or int64, given {repeats.dtype.name}")
        if counts.ndim != 1 or (counts.size not in (1, input.shape[dim])):
            raise RuntimeError(
                f"repeats must have the same size as input along dim, but got repeats of shape {list(counts.shape)} "
                f"for {input.shape[dim]}"
            )
        if (counts < 0).any():
            raise RuntimeError("repeats can not be negative")
        positions = np.repeat(np.arange(input.shape[dim]), counts)
        return _call("index_select", input, dim, moved(wrap(positions), input.device))  # type: ignore[no-any-return]
    repeats = repeats if isinstance(repeats, int) else int(repeats)
    return _call("repeat_interleave", input, repeats, dim=dim)  # type: ignore[no-any-return]


# -- putting together ----------------------------------------------------------------------------------------------


def _as_list(name: str, tensors: Any) -> list[Tensor]:
    parts = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not parts:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return parts


def _at_least(tensors: tuple[Any, ...], rank: int) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return _raise_rank(tensors[0], rank)
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    return tuple(_raise_rank(x, rank) for x in tensors)


def _raise_rank(input: Tensor, rank: int) -> Tensor:
    if input.ndim >= rank:
        return input
    if rank == 3 and input.ndim == 2:
        return _call("unsqueeze", input, 2)  # type: ignore[no-any-return]
    sizes = {1: (1,), 2: (1, -1), 3: (1, -1, 1)}[rank]
    return _call("reshape", input, *sizes)  # type: ignore[no-any-return]


def atleast_1d(*tensors: Any) -> Any:
    """The tensors with at least one dimension."""
    return _at_least(tensors, 1)


def atleast_2d(*tensors: Any) -> Any:
    """The tensors with at least two dimensions; a vector becomes a row."""
    return _at_least(tensors, 2)


def atleast_3d(*tensors: Any) -> Any:
    """The tensors with at least three dimensions."""
    return _at_least(tensors, 3)


def hstack(tensors: Any) -> Tensor:
    """Tensors side by side: along the second dimension, vectors along their only one."""
    parts = [_raise_rank(x, 1) for x in _as_list("hstack", tensors)]
    return _call("cat", parts, 0 if not parts or parts[0].ndim == 1 else 1)  # type: ignore[no-any-return]


def vstack(tensors: Any) -> Tensor:
    """Tensors one below the other, vectors as rows."""
    return _call("cat", [_raise_rank(x, 2) for x in _as_list("vstack", tensors)], 0)  # type: ignore[no-any-return]


def dstack(tensors: Any) -> Tensor:
    """Tensors one behind the other, along the third dimension."""
    return _call("cat", [_raise_rank(x, 3) for x in _as_list("dstack", tensors)], 2)  # type: ignore[no-any-return]


def column_stack(tensors: Any) -> Tensor:
    """Tensors side by side, vectors as columns."""
    parts = [x if x.ndim > 1 else _call("reshape", x, -1, 1) for x in _as_list("column_stack", tensors)]
    return _call("cat", parts, 1)  # type: ignore[no-any-return]


# -- choosing ------------------------------------------------------------------------------------------------------


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """Elements of `input` where the condition holds, else of `other`; alone, the indices of its true elements."""
    if input is None and other is None:
        return _call("nonzero", condition).unbind(1)
    return _call("where", condition, input, other)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not 0, one row each; `as_tuple`: one tensor per dimension."""
    if as_tuple and not input.ndim:
        input = _call("reshape", input, 1)
    found = _call("nonzero", input)
    return unbind(found, 1) if as_tuple else found


def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not 0, one row each."""
    return _call("nonzero", input)  # type: ignore[no-any-return]


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Elements at indices along a dimension, as `argsort` and `argmax` give them; without one, of the flat tensor."""
    if indices.dtype.name != "int64":
        raise RuntimeError(f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype.name}")
    if dim is None:
        return _call("gather", _call("reshape", input, -1), 0, _call("reshape", indices, -1))  # type: ignore[no-any-return]
    dim = _axis("take_along_dim", input, dim)
    if indices.ndim != input.ndim:
        raise RuntimeError(
            f"torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    sizes = [
        (a, b) if d == dim else broadcast_shapes((a,), (b,)) * 2
        for d, (a, b) in enumerate(zip(input.shape, indices.shape, strict=True))
    ]
    source = _call("expand", input, tuple(a for a, _ in sizes))
    if modes.current_mode() is None and indices.dtype.category == 1 and (indices._array < 0).any():
        indices = _call("where", _call("lt", indices, 0), _call("add", indices, input.shape[dim]), indices)
    return _call("gather", source, dim, _call("expand", indices, tuple(b for _, b in sizes)))  # type: ignore[no-any-return]


def _put(input: Tensor, dim: int, index: Tensor, values: Tensor) -> Tensor:
    axis = _axis("index", input, dim)
    spec = (*((None, None, 1),) * axis, "tensor", *((None, None, 1),) * (input.ndim - axis - 1))
    return _call("index_put", input, (_call("reshape", index, -1),), values, spec=spec)  # type: ignore[no-any-return]


def _at_rank_0(function: Any, input: Tensor, *args: Any) -> Tensor:
    """What the function gives for the tensor as a vector of one element, without its dimension."""
    return _call("squeeze", function(_call("unsqueeze", input, 0), *args), 0)  # type: ignore[no-any-return]


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """The tensor with the slices at indices of a dimension filled with one value."""
    if not input.ndim:
        return _at_rank_0(index_fill, input, dim, index, value)
    filled = value if isinstance(value, Tensor) else _call("full", (), value, dtype=input.dtype)
    if filled.ndim:
        raise RuntimeError(
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {filled.ndim} dimension(s)."
        )
    if modes.current_mode() is None and index.ndim and index.dtype.name in ("int32", "int64"):
        index = wrap(np.unique(index._array))  # a slice named twice is filled once: so says the value's gradient
    return _put(input, dim, index, _call("cast", filled, dtype=input.dtype))


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """The tensor with the slices at indices of a dimension replaced by those of `source`."""
    if not input.ndim:
        source = _call("reshape", source, -1) if source.shape.numel() == 1 else source
        return _at_rank_0(index_copy, input, dim, index, source)
    if not source.ndim and input.ndim == 1:
        source = _call("unsqueeze", source, 0)
    axis = _axis("index_copy", input, dim)
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"index_copy_(): self and source expected to have the same dtype, but got (self) {input.dtype.name} and "
            f"(source) {source.dtype.name}"
        )
    expected = [*input.shape[:axis], index.numel(), *input.shape[axis + 1 :]]  # type: ignore[attr-defined]
    if list(source.shape) != expected:
        raise IndexError(f"index_copy_(): expected a source of shape {expected}, given {list(source.shape)}")
    return _put(input, dim, index, source)
