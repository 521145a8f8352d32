"""Indexing by tensors of positions and masks, mixed with ints, slices and new axes; and what depends on it."""

from typing import Any

import numpy as np

from ..dims import Dim, symbol, symbols
from ..dtypes import bool_, int32, int64, uint8
from ..sizes import STATIC, Sizes
from ..types import TensorType
from ._common import broadcast_types, ints, randoms, require_broadcast, require_tensor, shape_text, sum_to
from ._op import Custom, Decompose, ErrorSample, F, Sample, VjpContext, define
from .gather import positions
from .slicing import slice_bounds

Spec = tuple[Any, ...]


def unknown_size(sizes: Sizes) -> Dim:
    """A size that only the data decide."""
    return symbol("unknown") if sizes is STATIC else sizes.fresh(prefix="d")


# -- what a spec means -------------------------------------------------------------------------------------------------


def _is_mask(index: Any) -> bool:
    """A bool tensor is a mask, and so is one of uint8, as in PyTorch."""
    kind = index.dtype
    return kind in (bool_, uint8) or kind in (np.bool_, np.uint8)


class _Layout:
    """The dimensions left by the ints, slices and new axes of a spec, and where index tensors apply to them.

    As in PyTorch, those apply first. Then index tensors that are next to each other put their (broadcast) dimensions in
    their place; else those come first.
    """

    def __init__(self) -> None:
        self.shape: list[Dim] = []  # after ints, slices and new axes
        self.tensors: dict[int, tuple[Dim, ...]] = {}  # dimension of `shape` -> shape of the index there
        self.counts: set[str] = set()  # symbols of how many elements of masks are true

    def result(self, sizes: Sizes) -> tuple[Dim, ...]:
        dims = sorted(self.tensors)
        if sizes is STATIC:  # sizes that the data decide must leave no trace in it
            sizes = Sizes()
        try:
            index_shape = sizes.broadcast_shapes(*(self.tensors[d] for d in dims), name="index")
        except RuntimeError as error:
            shapes = ", ".join(shape_text(self.tensors[d]) for d in dims)
            raise IndexError(
                f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
            ) from error
        # A count broadcast with another size would have no value of its own: then the result's size is a new symbol.
        index_shape = tuple(
            d if str(d) in self.counts or self.counts.isdisjoint(symbols(d)) else unknown_size(sizes)
            for d in index_shape
        )
        rest = [size for d, size in enumerate(self.shape) if d not in self.tensors]
        together = not dims or dims[-1] - dims[0] + 1 == len(dims)
        place = dims[0] if dims and together else 0
        return (*rest[:place], *index_shape, *rest[place:])


def _layout(sizes: Sizes, name: str, input: Any, indices: tuple[Any, ...], spec: Spec) -> tuple[TensorType, _Layout]:
    input = require_tensor(name, "input", input)
    if sum(s == "tensor" for s in spec if isinstance(s, str)) != len(indices):
        raise RuntimeError(f"{name}: the spec {spec} does not name {len(indices)} index tensors")
    layout, axis, pending = _Layout(), 0, iter(indices)

    def size_of(axis: int) -> Dim:
        if axis >= input.rank:
            raise IndexError(f"too many indices for tensor of dimension {input.rank}")
        return sizes.resolve(input.shape[axis])

    for entry in spec:
        if entry is None:
            layout.shape.append(1)
        elif isinstance(entry, tuple):
            start, stop, step = entry
            if step <= 0:
                raise ValueError(f"step must be greater than zero, given {step}")
            layout.shape.append(slice_bounds(sizes, start, stop, step, size_of(axis))[1])
            axis += 1
        elif isinstance(entry, str):
            axis = _index_dims(sizes, require_tensor(name, "indices", next(pending)), layout, axis, size_of)
        else:
            hint = sizes.hint(size_of(axis))
            if hint is not None and not -hint <= entry < hint:
                raise IndexError(f"index {entry} is out of bounds for dimension {axis} with size {hint}")
            axis += 1
    layout.shape.extend(size_of(a) for a in range(axis, input.rank))
    return input, layout


def _index_dims(sizes: Sizes, index: TensorType, layout: _Layout, axis: int, size_of: Any) -> int:
    """Put an index tensor into the layout; the next dimension of the input after it."""
    if not _is_mask(index):
        if index.dtype not in (int32, int64):
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, given {index}")
        layout.tensors[len(layout.shape)] = index.shape
        layout.shape.append(size_of(axis))
        return axis + 1
    count = unknown_size(sizes)
    layout.counts.add(str(count))
    if not index.rank:
        layout.tensors[len(layout.shape)] = (count,)
        layout.shape.append(1)
    for i, size in enumerate(index.shape):
        expected = size_of(axis + i)
        message = (
            f"The shape of the mask {shape_text(index.shape)} at index {i} does not match the shape of the indexed "
            f"tensor, {expected} at dimension {axis + i}"
        )
        try:
            sizes.equal(size, expected, message)
        except RuntimeError as error:
            raise IndexError(message) from error
        layout.tensors[len(layout.shape)] = (count,)
        layout.shape.append(expected)
    return axis + index.rank


def _array_indices(xp: Any, array: Any, indices: tuple[Any, ...], spec: Spec) -> tuple[Any, tuple[Any, ...]]:
    """The view left by ints, slices and new axes, and the numpy index of integer arrays that applies to it."""
    basic: list[Any] = []
    advanced: list[Any] = []
    pending = iter(indices)
    axis = 0
    for entry in spec:
        if entry is None:
            basic.append(None)
            advanced.append(slice(None))
        elif isinstance(entry, tuple):
            basic.append(slice(*entry))
            advanced.append(slice(None))
            axis += 1
        elif isinstance(entry, str):
            index = next(pending)
            if not _is_mask(index):
                positions("index", index, array.shape[axis], axis, negative=True)
                basic.append(slice(None))
                advanced.append(index)
                axis += 1
            elif not index.ndim:
                basic.append(None)
                advanced.append(xp.zeros(int(bool(index)), np.int64))
            else:
                basic.extend([slice(None)] * index.ndim)
                advanced.extend(xp.nonzero(index))
                axis += index.ndim
        else:
            basic.append(entry)
            axis += 1
    return array[(*basic, ...)], tuple(advanced)


# -- reading and writing -----------------------------------------------------------------------------------------------


def _infer_index(sizes: Sizes, input: Any, indices: tuple[Any, ...], *, spec: Spec) -> TensorType:
    input, layout = _layout(sizes, "index", input, indices, spec)
    return TensorType(input.dtype, layout.result(sizes), input.device)


def _evaluate_index(xp: Any, input: Any, indices: tuple[Any, ...], *, spec: Spec) -> Any:
    view, advanced = _array_indices(xp, input, indices, spec)
    return xp.array(view[advanced], copy=None if indices else True)


def _index_vjp(c: VjpContext, g: Any, input: Any, indices: tuple[Any, ...], *, spec: Spec) -> tuple[Any, None]:
    zeros = F.full(tuple(input.shape), 0, dtype=g.dtype)
    return F.index_put(zeros, indices, g, spec=spec, accumulate=True), None


def _index_samples() -> list[Sample]:
    mask = np.array([[True, False, True], [False, True, True]])
    return [
        Sample((randoms(5, 3), (np.array([0, 4, -1]),)), {"spec": ("tensor",)}),
        Sample((randoms(4, 3), (np.array([[0, 1], [2, 3]]), np.array([2, 0]))), {"spec": ("tensor", "tensor")}),
        Sample((randoms(2, 3, 4), (np.array([0, 3, 1]),)), {"spec": (1, (None, None, 1), "tensor")}),
        Sample((randoms(2, 3, 4), (np.array([1, 0]), np.array([3, 1]))), {"spec": ("tensor", (0, 2, 1), "tensor")}),
        Sample((randoms(2, 3, 4), (mask,)), {"spec": ("tensor", (1, None, 2))}),
        Sample((randoms(2, 5), (np.array([True, False]), np.array([3]))), {"spec": ("tensor", None, "tensor")}),
        Sample((randoms(3), (np.array(True),)), {"spec": ("tensor",)}),
        Sample((randoms(3, 2), (np.array(1),)), {"spec": ("tensor",)}),
        Sample((randoms(3, 2), (ints(0),)), {"spec": ("tensor",)}),
    ]


INDEX = define(
    "index(input: Tensor, indices: Tensors, *, spec: any)",
    "Elements at places given by tensors.\n\n"
    "`spec` has an entry for each part of the index: (start, stop, step), an int, None for a new dimension, or "
    "'tensor' for the next of `indices`, which holds positions, or is a mask (bool) over as many dimensions as it has.",
    infer=_infer_index,
    evaluate=_evaluate_index,
    vjp=_index_vjp,
    lower=Custom("index"),
    samples=_index_samples,
    errors=lambda: [
        ErrorSample((randoms(3), (np.array([3]),)), IndexError, "index 3 is out of bounds", {"spec": ("tensor",)}),
        ErrorSample((randoms(3), (np.array([-4]),)), IndexError, "index -4 is out of bounds", {"spec": ("tensor",)}),
        ErrorSample((randoms(3), (np.array([True]),)), IndexError, "shape of the mask", {"spec": ("tensor",)}),
        ErrorSample((randoms(3), (np.array([1.0]),)), IndexError, "must be long", {"spec": ("tensor",)}),
        ErrorSample((randoms(3), (np.array([1]),)), IndexError, "too many indices", {"spec": (0, "tensor")}),
        ErrorSample((randoms(3, 3), (ints(2), ints(3))), IndexError, "shape mismatch", {"spec": ("tensor", "tensor")}),
    ],
)


def _infer_index_put(
    sizes: Sizes, input: TensorType, indices: tuple[Any, ...], values: Any, *, spec: Spec, accumulate: bool
) -> TensorType:
    input, layout = _layout(sizes, "index_put", input, indices, spec)
    values = require_tensor("index_put", "values", values)
    if values.dtype is not input.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype.name} for the destination "
            f"and {values.dtype.name} for the source."
        )
    shape = layout.result(sizes)
    message = (
        f"shape mismatch: value tensor of shape {shape_text(values.shape)} cannot be broadcast to indexing result of "
        f"shape {shape_text(shape)}"
    )
    if sizes is not STATIC or all(isinstance(d, int) for d in shape):  # with a mask, only `evaluate` can tell
        require_broadcast(sizes, values, shape, message)
    return input


def _evaluate_index_put(
    xp: Any, input: Any, indices: tuple[Any, ...], values: Any, *, spec: Spec, accumulate: bool
) -> Any:
    result = xp.array(input, copy=True, order="C")
    view, advanced = _array_indices(xp, result, indices, spec)
    try:
        if accumulate:
            with np.errstate(all="ignore"):
                xp.add.at(view, advanced, values)
        else:
            view[advanced] = values
    except ValueError as error:
        shape = view[advanced].shape
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to indexing result of "
            f"shape {list(shape)}"
        ) from error
    return result


def _index_put_vjp(
    c: VjpContext, g: Any, input: Any, indices: tuple[Any, ...], values: Any, *, spec: Spec, accumulate: bool
) -> tuple[Any, None, Any]:
    for_input = g
    if not accumulate and c.needs[0]:
        for_input = F.index_put(g, indices, F.full((), 0, dtype=g.dtype), spec=spec)
    return for_input, None, sum_to(F.index(g, indices, spec=spec), values) if c.needs[2] else None


INDEX_PUT = define(
    "index_put(input: Tensor, indices: Tensors, values: Tensor, *, spec: any, accumulate: bool = False)",
    "A copy of the input with `values` (broadcast) written, or added (`accumulate`), at the places that `index` reads.",
    infer=_infer_index_put,
    evaluate=_evaluate_index_put,
    vjp=_index_put_vjp,
    lower=Custom("index_put"),
    samples=lambda: [
        Sample((randoms(5, 3), (np.array([0, -1]),), randoms(2, 3, seed=1)), {"spec": ("tensor",)}),
        Sample((randoms(5, 3), (np.array([0, 0]),), randoms(3, seed=1)), {"spec": ("tensor",), "accumulate": True}),
        Sample((randoms(2, 3), (ints(2, 3) > 0,), randoms(seed=1)), {"spec": ("tensor",)}),
        Sample(
            (randoms(2, 3, 4), (np.array([0, 3]),), randoms(3, 2, seed=1)), {"spec": (1, (None, None, 1), "tensor")}
        ),
    ],
    errors=lambda: [
        ErrorSample((randoms(5), (np.array([5]),), randoms(1)), IndexError, "out of bounds", {"spec": ("tensor",)}),
        ErrorSample((randoms(5), (np.array([1, 2]),), randoms(3)), RuntimeError, "broadcast", {"spec": ("tensor",)}),
        ErrorSample(
            (randoms(2), (np.array([True, True]),), randoms(3)), RuntimeError, "broadcast", {"spec": ("tensor",)}
        ),
        ErrorSample((randoms(5), (np.array([1]),), ints(1)), RuntimeError, "dtypes match", {"spec": ("tensor",)}),
    ],
)


# -- masks -------------------------------------------------------------------------------------------------------------


def _infer_nonzero(sizes: Sizes, input: Any) -> TensorType:
    input = require_tensor("nonzero", "input", input)
    return TensorType(int64, (unknown_size(sizes), input.rank), input.device)


def _evaluate_nonzero(xp: Any, input: Any) -> Any:
    if not input.ndim:
        return xp.zeros((int(bool(input)), 0), np.int64)
    return xp.stack(xp.nonzero(input), 1).astype(np.int64, copy=False)


NONZERO = define(
    "nonzero(input: Tensor)",
    "The indices of the nonzero elements, one row for each.\n\n"
    ">>> ingot.nonzero(ingot.tensor([0, 5, 0, 7]))\n"
    "tensor([[1],\n"
    "        [3]])",
    infer=_infer_nonzero,
    evaluate=_evaluate_nonzero,
    lower=Custom("nonzero"),
    public=("", "method"),
    samples=lambda: [
        Sample((ints(3, 4, low=0, high=2),)),
        Sample((np.array([0.0, np.nan, -0.0, 2.0], np.float32),)),
        Sample((np.array(True),)),
        Sample((ints(0, 2),)),
    ],
    errors=lambda: [ErrorSample((1.5,), TypeError, "must be Tensor")],
)


def _infer_masked_select(sizes: Sizes, input: Any, mask: Any) -> TensorType:
    input, mask = require_tensor("masked_select", "input", input), require_tensor("masked_select", "mask", mask)
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, given {mask}")
    broadcast_types(sizes, "masked_select", (input, mask))
    return TensorType(input.dtype, (unknown_size(sizes),), input.device)


def _evaluate_masked_select(xp: Any, input: Any, mask: Any) -> Any:
    input, mask = xp.broadcast_arrays(input, mask)
    return input[mask]


def _decompose_masked_select(input: Any, mask: Any) -> Any:
    shape = tuple(F.logical_and(F.full_like(input, True, dtype="bool"), mask).shape)
    return F.index(F.expand(input, shape), (F.expand(mask, shape),), spec=("tensor",))


def _masked_select_vjp(c: VjpContext, g: Any, input: Any, mask: Any) -> tuple[Any, None]:
    shape = tuple(F.logical_and(F.full_like(input, True, dtype="bool"), mask).shape)
    zeros = F.full(shape, 0, dtype=g.dtype)
    return sum_to(F.index_put(zeros, (F.expand(mask, shape),), g, spec=("tensor",)), input), None


MASKED_SELECT = define(
    "masked_select(input: Tensor, mask: Tensor)",
    "The elements of the input where the mask (broadcast with it) is true, in row-major order, as a vector.\n\n"
    ">>> ingot.masked_select(ingot.tensor([1, 2, 3]), ingot.tensor([True, False, True]))\n"
    "tensor([1, 3])",
    infer=_infer_masked_select,
    evaluate=_evaluate_masked_select,
    vjp=_masked_select_vjp,
    lower=Decompose(_decompose_masked_select),
    public=("", "method"),
    samples=lambda: [
        Sample((randoms(3, 4), ints(3, 4) > 0)),
        Sample((randoms(3, 1), ints(4) > 0)),
        Sample((randoms(), np.array(True))),
        Sample((randoms(0), ints(0) > 0)),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), ints(3)), RuntimeError, "BoolTensor"),
        ErrorSample((randoms(3), ints(4) > 0), RuntimeError, "broadcast"),
    ],
)
