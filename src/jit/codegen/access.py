"""Which elements of its operands an operation reads, and what memory looks like through views."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.core import Block, Instruction, Value
from ...ir.dims import Dim, is_nonnegative
from ...ir.ops._op import Reduce, View
from ...ir.types import IntType, TensorType
from ..errors import Unsupported
from .image_layout import layout_of
from .indexing import (
    LOOP_PREFIX,
    Indices,
    Loop,
    broadcast_indices,
    flat_index,
    loop_variable,
    reshape_indices,
    row_major_strides,
    terms,
)

__all__ = ["StridedView", "forward_view", "operand_indices", "reduced_axes", "strided_view"]


def reduced_axes(instruction: Instruction) -> tuple[int, ...]:
    """The dimensions that a reduction reduces, in [0, rank)."""
    operand = instruction.operands[0]
    assert operand is not None and isinstance(operand.type, TensorType)
    dim = instruction.attributes.get("dim")
    rank = operand.type.rank
    if dim is None or dim == ():
        return tuple(range(rank))
    dims = (dim,) if isinstance(dim, int) else dim
    return tuple(sorted(d % rank for d in dims)) if rank else ()


def view_operands(instruction: Instruction) -> tuple[Dim | None, ...]:
    """The sizes that are operands of a view, as dimensions."""
    values: list[Dim | None] = []
    for operand in instruction.operands[1:]:
        if operand is None or not isinstance(operand.type, IntType):
            values.append(None)
        else:
            if operand.type.value is None:
                raise Unsupported(f"{instruction.op.name}: an index is not known as a size", instruction.location)
            values.append(operand.type.value)
    return tuple(values)


def operand_indices(
    instruction: Instruction, operand: Value, indices: Indices, extents: dict[str, Dim], loops: Sequence[Loop] = ()
) -> Indices:
    """At which indices an instruction reads an operand for its result's element at `indices`.

    `loops` are the reduced loops, which run over the reduced dimensions of a reduction's operand.
    """
    lowering = instruction.op.lower
    result, source = instruction.results[0].type, operand.type
    assert isinstance(result, TensorType) and isinstance(source, TensorType)
    if isinstance(lowering, View):
        if lowering.reinterpret:
            return reshape_indices(indices, result.shape, source.shape, extents)
        assert lowering.index_map is not None
        extra = {"operands": view_operands(instruction)} if lowering.operands_in_map else {}
        try:
            mapped = lowering.index_map(list(indices), source.shape, result.shape, **extra, **instruction.attributes)
        except ZeroDivisionError:
            return tuple(0 for _ in source.shape)  # a dimension is empty: there is no element
        except TypeError as error:
            raise Unsupported(f"{instruction.op.name}: {error}", instruction.location) from error
        return tuple(mapped)
    if isinstance(lowering, Reduce):
        axes = reduced_axes(instruction)
        kept = iter(indices if len(indices) != source.rank else [i for a, i in enumerate(indices) if a not in axes])
        variables = iter([loop.variable for loop in loops])
        return tuple(
            (0 if source.shape[a] == 1 else next(variables)) if a in axes else next(kept) for a in range(source.rank)
        )
    return broadcast_indices(indices, source.shape, result.shape)


@dataclass(frozen=True)
class StridedView:
    """Memory seen through views: the stored value, the first element's position, and strides, all in elements."""

    base: Value
    offset: Dim
    strides: tuple[Dim, ...]


def strided_view(value: Value, block: Block | None) -> StridedView:
    """The value as strides over the farthest operand that its chain of views allows.

    Views of other blocks than `block` are not looked through: values that reach a region from outside are stored.
    """
    assert isinstance(value.type, TensorType)
    names = [f"{LOOP_PREFIX}s{axis}" for axis in range(value.type.rank)]
    extents = dict(zip(names, value.type.shape, strict=True))
    indices: Indices = tuple(
        0 if size == 1 else loop_variable(f"s{axis}") for axis, size in enumerate(value.type.shape)
    )
    current = value
    found = _as_strides(value, indices, names)
    assert found is not None
    while (instruction := current.instruction) is not None and isinstance(instruction.op.lower, View):
        if instruction.block is not block:
            break
        source = instruction.operands[0]
        assert source is not None
        if layout_of(source) is not None:
            break  # what is not contiguous is copied by the view
        indices = operand_indices(instruction, source, indices, extents)
        strides = _as_strides(source, indices, names)
        current = source
        if strides is not None:
            found = strides
        elif found.base is not current:
            break
    return found


def forward_view(value: Value, block: Block | None) -> StridedView:
    """The value as strides that do not run backwards: its own memory where a view reverses a dimension."""
    view = strided_view(value, block)
    assert isinstance(value.type, TensorType)
    if all(is_nonnegative(s) for s in view.strides):
        return view
    return StridedView(value, 0, tuple(row_major_strides(value.type.shape)))


def _as_strides(base: Value, indices: Indices, names: list[str]) -> StridedView | None:
    assert isinstance(base.type, TensorType)
    position = flat_index(indices, base.type.shape)
    offset: Dim = 0
    strides: dict[str, Dim] = dict.fromkeys(names, 0)
    for part, factor in terms(position):
        if isinstance(part, int):
            offset = offset + factor
        elif part.is_symbol():
            (name,) = part.symbols()
            strides[name] = factor
        else:
            return None
    return StridedView(base, offset, tuple(strides.values()))
