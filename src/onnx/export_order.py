"""Export rules: sorting, indexing with tensors, and writes at computed positions."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import dtypes
from ..ir.core import Instruction, Value
from ..ir.types import TensorType
from .errors import OnnxError
from .export_registry import groups, result_element, rule

if TYPE_CHECKING:
    from .exporter import Writer


@rule("sort", "argsort")
def _sort(w: "Writer", i: Instruction) -> Any:
    type = w.type(i.inputs[0])
    x = w.tensor(i.inputs[0])
    if not type.rank:
        zero = w.number(0, dtypes.int64)
        return zero if i.op.name == "argsort" else [w.node("Identity", [x]), zero]
    if type.dtype is dtypes.bool_:
        raise OnnxError("bool tensors have no order in ONNX; cast them first")
    dim, descending = i.attributes["dim"] % type.rank, int(i.attributes["descending"])
    count = w.size(type.shape[dim])
    results = w.node("TopK", [x, count], 2, axis=dim, largest=descending, sorted=1)
    return results[1] if i.op.name == "argsort" else results


@rule("unique")
def _unique(w: "Writer", i: Instruction) -> Any:
    if i.attributes["consecutive"]:
        raise OnnxError("unique of neighbours only has no ONNX form")
    dim = i.attributes["dim"]
    axis = {} if dim is None else {"axis": dim % w.type(i.inputs[0]).rank}
    values, _, inverse, counts = w.node("Unique", [w.tensor(i.inputs[0])], 4, sorted=1, **axis)
    if dim is None:
        inverse = w.node("Reshape", [inverse, w.shape(w.type(i.inputs[0]).shape)])
    return [values, inverse, counts]


@rule("det")
def _det(w: "Writer", i: Instruction) -> Any:
    return w.node("Det", [w.tensor(i.inputs[0])])


@rule("one_hot")
def _one_hot(w: "Writer", i: Instruction) -> Any:
    count = w.python(i.inputs[1])
    if not isinstance(count, int) or count < 0:
        raise OnnxError("one_hot needs num_classes, a number")
    values = w.ints([0, 1])
    return w.node("OneHot", [w.tensor(i.inputs[0], dtypes.int64), w.ints([count]), values], axis=-1)


# -- writes along one dimension ----------------------------------------------------------------------------------------


def _updates(w: "Writer", source: Value, index: TensorType, dtype: Any) -> str:
    """What is written, in the shape of the index: the leading part of a larger source, or one number everywhere."""
    name = w.tensor(source, dtype)
    if not isinstance(source.type, TensorType) or not source.type.rank:
        return str(w.node("Expand", [name, w.shape(index.shape)])) if index.rank else name
    given = w.type(source)
    if given.shape != index.shape:
        axes = list(range(index.rank))
        name = w.node("Slice", [name, w.ints([0] * index.rank), w.shape(index.shape), w.ints(axes)])
    return name


def _scattered(w: "Writer", i: Instruction, index: Value, source: Value, reduction: str) -> Any:
    x, dtype = w.tensor(i.inputs[0]), result_element(i)
    type = w.type(index)
    positions = w.tensor(index, dtypes.int64)
    if not w.type(i.inputs[0]).rank:  # one element: as a vector
        one = w.ints([1])
        parts = [w.node("Reshape", [n, one]) for n in (x, positions, _updates(w, source, type, dtype))]
        done = w.node("ScatterElements", parts, axis=0, reduction=reduction)
        return w.node("Reshape", [done, w.ints([])])
    updates = _updates(w, source, type, dtype)
    attributes: dict[str, Any] = {} if reduction == "none" else {"reduction": reduction}
    return w.node("ScatterElements", [x, positions, updates], axis=i.attributes["dim"], **attributes)


@rule("scatter")
def _scatter(w: "Writer", i: Instruction) -> Any:
    names = {None: "none", "add": "add", "multiply": "mul"}
    return _scattered(w, i, i.inputs[1], i.inputs[2], names[i.attributes["reduce"]])


@rule("scatter_add")
def _scatter_add(w: "Writer", i: Instruction) -> Any:
    return _scattered(w, i, i.inputs[1], i.inputs[2], "add")


@rule("scatter_reduce")
def _scatter_reduce(w: "Writer", i: Instruction) -> Any:
    names = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}
    kind = names.get(i.attributes["reduce"])
    if kind is None or not i.attributes["include_self"]:
        raise OnnxError("scatter_reduce has an ONNX form for sum, prod, amax and amin, with include_self")
    return _scattered(w, i, i.inputs[1], i.inputs[2], kind)


# -- indexing with tensors ---------------------------------------------------------------------------------------------


class _Indexed:
    """The dimensions that an index with tensors picks from: first in order, as GatherND wants them."""

    def __init__(self, w: "Writer", input: Value, indices: list[Value], spec: Any) -> None:
        self.name, self.rank_in = _viewed(w, input, indices, spec)
        spec = [s for s in ((None, None, 1) if s is None else s for s in spec) if not isinstance(s, int)]
        self.dims: list[int] = []
        names: list[str] = []
        dim = 0
        given = iter(indices)
        for entry in spec:
            if entry != "tensor":
                dim += 1
                continue
            index = next(given)
            type = w.type(index)
            if type.dtype in (dtypes.bool_, dtypes.uint8):
                if len(indices) > 1:
                    raise OnnxError("a mask beside other index tensors has no rule: index in two steps")
                mask = w.tensor(index, dtypes.bool_)
                self.tensor = w.node("Transpose", [w.node("NonZero", [mask])], perm=[1, 0])
                self.dims = list(range(dim, dim + type.rank))
                self.rank = 1
                dim += type.rank
                continue
            names.append(w.tensor(index, dtypes.int64))
            self.dims.append(dim)
            dim += 1
        if names:
            types = [w.type(index) for index in indices]
            self.rank = max(type.rank for type in types)
            shape = names[0] if len(names) == 1 else None
            if shape is None:
                total = names[0]
                for name in names[1:]:  # the sum has the shape that all broadcast to
                    total = w.node("Add", [total, name])
                target = w.node("Shape", [total])
                names = [w.node("Expand", [name, target]) for name in names]
            last = [w.node("Unsqueeze", [name, w.ints([-1])]) for name in names]
            self.tensor = last[0] if len(last) == 1 else w.node("Concat", last, axis=-1)
        self.rest = [d for d in range(self.rank_in) if d not in self.dims]
        self.order = [*self.dims, *self.rest]
        adjacent = self.dims == list(range(self.dims[0], self.dims[0] + len(self.dims)))
        # Where the tensors stand side by side the picked dimensions stay in their place, else they come first.
        self.front = self.dims[0] if adjacent else 0

    def picked_order(self) -> list[int]:
        """The permutation from picked dimensions first to their place in the result."""
        rest = list(range(self.rank, self.rank + len(self.rest)))
        return [*rest[: self.front], *range(self.rank), *rest[self.front :]]


def _viewed(w: "Writer", input: Value, indices: list[Value], spec: Any) -> tuple[str, int]:
    """The input after the slices, numbers and new axes of a spec, which come before its tensors; and its rank."""
    name = w.tensor(input)
    dim, rank = 0, w.type(input).rank
    given = iter(indices)
    for entry in spec:
        if entry == "tensor":
            type = w.type(next(given))
            dim += type.rank if type.dtype in (dtypes.bool_, dtypes.uint8) else 1
        elif entry is None:
            name = w.node("Unsqueeze", [name, w.ints([dim])])
            dim, rank = dim + 1, rank + 1
        elif isinstance(entry, int):
            name = w.node("Gather", [name, w.number(entry, dtypes.int64)], axis=dim)
            rank -= 1
        else:
            start, stop, step = entry
            if entry != (None, None, 1):
                far = np.iinfo(np.int64).max
                bounds = [0 if start is None else start, far if stop is None else stop]
                name = w.node("Slice", [name, *(w.ints([v]) for v in (*bounds, dim, step))])
            dim += 1
    return name, rank


def _permuted(w: "Writer", name: str, order: list[int]) -> str:
    return name if order == sorted(order) else str(w.node("Transpose", [name], perm=order))


@rule("index")
def _index(w: "Writer", i: Instruction) -> Any:
    """One index tensor after whole dimensions is a Gather, others are a GatherND."""
    spec = i.attributes["spec"]
    input, indices = groups(i)
    indices = [v for v in indices if v is not None]
    plain = all(s == "tensor" or s == (None, None, 1) for s in spec)
    if plain and len(indices) == 1 and w.type(indices[0]).dtype not in (dtypes.bool_, dtypes.uint8):
        return w.node("Gather", [w.tensor(input), w.tensor(indices[0], dtypes.int64)], axis=spec.index("tensor"))
    where = _Indexed(w, input, indices, spec)
    moved = _permuted(w, where.name, where.order)
    return _permuted(w, w.node("GatherND", [moved, where.tensor]), where.picked_order())


@rule("index_put")
def _index_put(w: "Writer", i: Instruction) -> Any:
    input, indices, values = groups(i)
    if any(s != "tensor" and s != (None, None, 1) for s in i.attributes["spec"]):
        raise OnnxError("a write to tensors of indices beside numbers, steps or new axes has no rule")
    where = _Indexed(w, input, [v for v in indices if v is not None], i.attributes["spec"])
    moved = _permuted(w, w.tensor(input), where.order)
    target = w.node("Shape", [w.node("GatherND", [moved, where.tensor])])
    order = where.picked_order()
    given = w.tensor(values, result_element(i))
    if order != sorted(order):
        # The values have the dimensions of the result, in its order: widened to them, then moved to the front.
        shape = w.node("Gather", [target, w.ints(order)])
        back = [order.index(d) for d in range(len(order))]
        given = w.node("Transpose", [w.node("Expand", [given, shape])], perm=back)
    else:
        given = w.node("Expand", [given, target])
    attributes: dict[str, Any] = {"reduction": "add"} if i.attributes["accumulate"] else {}
    written = w.node("ScatterND", [moved, where.tensor, given], **attributes)
    return _permuted(w, written, [where.order.index(d) for d in range(where.rank_in)])


@rule("masked_select")
def _masked_select(w: "Writer", i: Instruction) -> Any:
    x, mask = w.tensor(i.inputs[0]), w.tensor(i.inputs[1])
    both = w.node("Shape", [w.node("And", [w.node("Equal", [x, x]), mask])])
    flat = w.ints([-1])
    x, mask = (w.node("Reshape", [w.node("Expand", [n, both]), flat]) for n in (x, mask))
    return w.node("Compress", [x, mask], axis=0)
