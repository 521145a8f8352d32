"""Which elements the operations with special access patterns read: gathers, windows, borders, positions.

For each op: the operands that are tensors with the indices at which they are read for the result's element at given
indices. A place that only memory knows is `anywhere()`: a fresh variable.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...ir.core import Instruction, Value
from ...ir.dims import Dim, DimExpr, dim_max, dim_min
from ...ir.ops.slicing import _start_index as slice_start
from ...ir.types import IntType, TensorType
from ..errors import Unsupported
from .indexing import LOOP_PREFIX, Indices, broadcast_indices, depends_on, loop_variable

__all__ = [
    "PARTS", "READS", "UPDATES", "Read", "anywhere", "axis_of", "border_index", "index_layout", "index_select_indices",
    "is_anywhere", "pad_pairs", "pool_geometry", "slice_start", "tensor_operands",
]  # fmt: skip

Read = tuple[Value, Sequence[Indices]]
_ANY = "any_"
_counter = itertools.count()


def anywhere() -> Dim:
    """An index that is not known."""
    return loop_variable(f"{_ANY}{next(_counter)}")


def is_anywhere(indices: Indices) -> bool:
    """Whether an index is not known."""
    return any(name.startswith(LOOP_PREFIX + _ANY) for name in depends_on(indices))


def _shape(value: Value) -> tuple[Dim, ...]:
    assert isinstance(value.type, TensorType)
    return value.type.shape


def tensor_operands(instruction: Instruction) -> list[Value]:
    return [v for v in instruction.inputs if isinstance(v.type, TensorType)]


def axis_of(instruction: Instruction, value: Value) -> int:
    """The dimension that an op works along, in [0, rank)."""
    dim: int = instruction.attributes["dim"]
    return dim % max(len(_shape(value)), 1)


def gather_place(instruction: Instruction, indices: Indices, position: Dim) -> Indices:
    """Where a gather reads its source; its index may be of another rank where one is of rank 0, or it is empty."""
    source = tensor_operands(instruction)[0]
    rank = len(_shape(source))
    if not rank:
        return ()
    place: list[Dim] = list(indices) if len(indices) == rank else [0] * rank
    place[axis_of(instruction, source)] = position
    return tuple(place)


def _gather(instruction: Instruction, indices: Indices) -> list[Read]:
    source, index = tensor_operands(instruction)
    return [(source, [gather_place(instruction, indices, anywhere())]), (index, [indices])]


def index_select_indices(instruction: Instruction, indices: Indices) -> Indices:
    """Where an index_select reads its index."""
    source, index = tensor_operands(instruction)
    if not _shape(index):
        return ()
    return (indices[axis_of(instruction, source)] if _shape(source) else 0,)


def _index_select(instruction: Instruction, indices: Indices) -> list[Read]:
    source, index = tensor_operands(instruction)
    place: list[Dim] = list(indices)
    if place:
        place[axis_of(instruction, source)] = anywhere()
    return [(source, [tuple(place)]), (index, [index_select_indices(instruction, indices)])]


def _embedding(instruction: Instruction, indices: Indices) -> list[Read]:
    index, weight = tensor_operands(instruction)
    return [(index, [indices[:-1]]), (weight, [(anywhere(), indices[-1])])]


def _one_hot(instruction: Instruction, indices: Indices) -> list[Read]:
    (index,) = tensor_operands(instruction)
    return [(index, [indices[:-1]])]


def pad_pairs(instruction: Instruction) -> list[tuple[Dim, Dim]]:
    """(before, after) for each dimension of a pad's input, the first one first."""
    source, *amounts = instruction.operands
    assert source is not None
    values: list[Dim] = []
    for amount in amounts:
        assert amount is not None and isinstance(amount.type, IntType) and amount.type.value is not None
        values.append(amount.type.value)
    pairs = [(values[i], values[i + 1]) for i in range(0, len(values), 2)]
    rank = len(_shape(source))
    return [(0, 0)] * (rank - len(pairs)) + pairs[::-1]


def border_index(mode: str, index: Dim, size: Dim) -> Dim:
    """The place that a padded place reads from; `index` is negative before the border."""
    if mode == "replicate":
        return dim_min(dim_max(index + size * 0, 0), size - 1)
    if mode == "circular":
        return (index + size) % size
    # Reflect: |index|, then mirrored at the last place; an absolute value is the larger of a number and its negation.
    inside = dim_max(index, -1 * index)
    folded = size - 1 - inside
    return size - 1 - dim_max(folded, -1 * folded)


def _pad(instruction: Instruction, indices: Indices) -> list[Read]:
    source = tensor_operands(instruction)[0]
    mode = instruction.attributes["mode"]
    place = []
    for index, (before, after), size in zip(indices, pad_pairs(instruction), _shape(source), strict=True):
        shifted = index - before
        if mode != "constant" and (before, after) != (0, 0):
            shifted = border_index(mode, shifted, size)
        place.append(shifted)
    return [(source, [tuple(place)])]


def pool_geometry(instruction: Instruction) -> tuple[tuple[int, int], ...]:
    """(kernel, stride, padding, dilation) of a pooling op, each for height and width."""
    attributes = instruction.attributes

    def pair(value: tuple[int, ...] | int | None, default: int | tuple[int, int]) -> tuple[int, int]:
        if value is None or value == ():
            return (default, default) if isinstance(default, int) else default
        values = (value,) if isinstance(value, int) else value
        return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])

    kernel = pair(attributes["kernel_size"], 1)
    stride = pair(attributes["stride"], kernel)
    return kernel, stride, pair(attributes["padding"], 0), pair(attributes.get("dilation"), 1)


def _pool(instruction: Instruction, indices: Indices) -> list[Read]:
    source = tensor_operands(instruction)[0]
    return [(source, [(*indices[:-2], anywhere(), anywhere())])]


def _no_tensors(instruction: Instruction, indices: Indices) -> list[Read]:
    return [(v, [()]) for v in tensor_operands(instruction)]


@dataclass(frozen=True)
class IndexLayout:
    """How `index` and `index_put` place their index tensors.

    `entries` has, per dimension of the input, ("tensor", index tensor), ("fixed", place) or ("along", start, step), the
    last ones taking the indices of the result that do not belong to index tensors, in order, where `new` says which of
    those are new dimensions. `place` is where the dimensions of the index tensors are in the result, `shape` what they
    broadcast to.
    """

    entries: tuple[tuple[object, ...], ...]
    new: tuple[bool, ...]
    place: int
    shape: tuple[Dim, ...]

    def split(self, indices: Sequence[Dim]) -> tuple[Indices, list[Dim]]:
        """The indices of the index tensors' dimensions, and the others without those of new dimensions."""
        count = len(self.shape)
        rest = [*indices[: self.place], *indices[self.place + count :]]
        return (
            tuple(indices[self.place : self.place + count]),
            [i for i, new in zip(rest, self.new, strict=True) if not new],
        )


def index_layout(instruction: Instruction, shape: tuple[Dim, ...]) -> IndexLayout:
    """The layout of an index into a tensor of `shape`; its index tensors hold positions, not masks."""
    tensors = list(instruction.op.schema.unflatten(instruction.operands)[1])
    if any(t.type.dtype.short in ("bool", "u8") for t in tensors):
        raise Unsupported("an index that is a mask of rank 0", instruction.location)
    entries: list[tuple[object, ...]] = []
    dims: list[int] = []  # which dimensions of the layout have an index tensor
    new: list[bool] = []
    position = 0
    pending = iter(tensors)
    for entry in (*instruction.attributes["spec"],):
        size = shape[len(entries)] if len(entries) < len(shape) else 1
        if entry is None:
            new.append(True)
            position += 1
        elif isinstance(entry, str):
            entries.append(("tensor", next(pending)))
            dims.append(position)
            position += 1
        elif isinstance(entry, tuple):
            entries.append(("along", slice_start(entry[0], size), entry[2]))
            new.append(False)
            position += 1
        else:
            entries.append(("fixed", size + entry if entry < 0 else entry))
    for _ in range(len(entries), len(shape)):
        entries.append(("along", 0, 1))
        new.append(False)
    index_shape: tuple[Dim, ...] = ()
    for tensor in tensors:
        index_shape = _broadcast(index_shape, _shape(tensor))
    together = not dims or dims[-1] - dims[0] + 1 == len(dims)
    return IndexLayout(tuple(entries), tuple(new), dims[0] if dims and together else 0, index_shape)


def _broadcast(a: tuple[Dim, ...], b: tuple[Dim, ...]) -> tuple[Dim, ...]:
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    offset = len(longer) - len(shorter)
    return (*longer[:offset], *(y if x == 1 else x for x, y in zip(longer[offset:], shorter, strict=True)))


def _dim(value: object) -> Dim:
    assert isinstance(value, (int, DimExpr))
    return value


def _index(instruction: Instruction, indices: Indices) -> list[Read]:
    source = tensor_operands(instruction)[0]
    layout = index_layout(instruction, _shape(source))
    part, rest = layout.split(indices)
    along = iter(rest)
    places: list[Dim] = []
    reads: list[Read] = []
    for entry in layout.entries:
        match entry:
            case ("tensor", Value() as tensor):
                reads.append((tensor, [broadcast_indices(part, _shape(tensor), layout.shape)]))
                places.append(anywhere())
            case ("along", start, step):
                places.append(_dim(start) + next(along) * _dim(step))
            case (_, place):
                places.append(_dim(place))
    return [(source, [tuple(places)]), *reads]


READS: dict[str, Callable[[Instruction, Indices], list[Read]]] = {
    "gather": _gather,
    "index_select": _index_select,
    "embedding": _embedding,
    "one_hot": _one_hot,
    "index": _index,
    "pad": _pad,
    "max_pool2d": _pool,
    "avg_pool2d": _pool,
    "full": _no_tensors,
    "arange": _no_tensors,
    "arange_steps": _no_tensors,
    "linspace": _no_tensors,
}


# -- values made of parts --------------------------------------------------------------------------------------------

Part = tuple[Value, Callable[[list[Dim]], list[Dim]]]
"""A value, and where its element at given indices is stored in the whole."""


def _cat(instruction: Instruction) -> list[Part]:
    parts: list[Part] = []
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    axis = instruction.attributes["dim"] % result.rank
    offset: Dim = 0
    for value in tensor_operands(instruction):
        shape = _shape(value)
        if len(shape) != result.rank:
            continue  # an empty tensor of rank 1, which PyTorch lets pass

        def place(indices: list[Dim], offset: Dim = offset) -> list[Dim]:
            return [*indices[:axis], indices[axis] + offset, *indices[axis + 1 :]]

        parts.append((value, place))
        offset = offset + shape[axis]
    return parts


def _whole(indices: list[Dim]) -> list[Dim]:
    return indices


def _slice_scatter(instruction: Instruction) -> list[Part]:
    base, source, start, _ = instruction.operands
    assert base is not None and source is not None
    axis = axis_of(instruction, base)
    step: int = instruction.attributes["step"]
    first = slice_start(_operand_size(start), _shape(base)[axis])

    def place(indices: list[Dim]) -> list[Dim]:
        return [*indices[:axis], first + indices[axis] * step, *indices[axis + 1 :]]

    return [(base, _whole), (source, place)]


def _operand_size(value: Value | None) -> Dim | None:
    if value is None or not isinstance(value.type, IntType):
        return None
    return value.type.value


def _select_scatter(instruction: Instruction) -> list[Part]:
    base, source, index = instruction.operands
    assert base is not None and source is not None
    axis = axis_of(instruction, base)
    position = _operand_size(index)
    assert position is not None
    if isinstance(position, int) and position < 0:
        position = _shape(base)[axis] + position

    def place(indices: list[Dim]) -> list[Dim]:
        return [*indices[:axis], position, *indices[axis:]]

    return [(base, _whole), (source, place)]


def _diagonal_scatter(instruction: Instruction) -> list[Part]:
    base, source = tensor_operands(instruction)
    rank = len(_shape(base))
    attributes = instruction.attributes
    first, second = attributes["dim1"] % rank, attributes["dim2"] % rank
    offset: int = attributes["offset"]

    def place(indices: list[Dim]) -> list[Dim]:
        others = iter(indices[:-1])
        rows, columns = max(-offset, 0), max(offset, 0)
        places: list[Dim] = []
        for axis in range(rank):
            if axis == first:
                places.append(indices[-1] + rows)
            elif axis == second:
                places.append(indices[-1] + columns)
            else:
                places.append(next(others))
        return places

    return [(base, _whole), (source, place)]


PARTS: dict[str, Callable[[Instruction], list[Part]]] = {
    "cat": _cat,
    "slice_scatter": _slice_scatter,
    "select_scatter": _select_scatter,
    "diagonal_scatter": _diagonal_scatter,
}
# Of these, the ones whose first part is the whole of their first operand, which is then partly overwritten.
UPDATES = ("slice_scatter", "select_scatter", "diagonal_scatter")
