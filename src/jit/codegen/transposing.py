"""Transposed copies: whole lines of the cache are read and written, in blocks that registers transpose."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...ir.core import Instruction, Value
from ...ir.dims import Dim, substitute
from ...ir.ops._op import Elementwise, View
from ...ir.types import TensorType
from .columns import ceil_div
from .groups import Group
from .image_layout import position
from .indexing import Indices, Loop, coefficient, element_count
from .kernel_text import Text
from .scalar_code import pointer_kind
from .target import host_target

if TYPE_CHECKING:
    from .nest import Launch, Nest

__all__ = ["lower_transposed_copy"]

# An item's part of the loop along the result's rows, and of that along the source's. Both are multiples of any block.
_ALONG, _ACROSS = 512, 256
# Bytes read and written from which on results go past the caches, where they do not fit into the last one.
_STREAMED_BYTES = 1 << 24
_KINDS = {4: "f32", 8: "f64"}


def lower_transposed_copy(
    nest: "Nest", text: Text, across: Loop, value: Value, indices: Indices, storage: Callable[[Value], Value]
) -> "Launch | None":
    """The kernel of a group that only copies a value, which lies along `across`; None where it is not one.

    A block is as wide as a line of the cache on both sides, so that no line is written in parts; lines of large results
    are written past the caches. It takes a CPU with vectors of that width.
    """
    group, inner = nest.group, nest.loops[-1]
    if not _only_moves(group) or not isinstance(value.type, TensorType):
        return None
    ((_, _, target, target_indices),) = group.placed()
    size = value.type.dtype.itemsize
    kind = _KINDS.get(size)
    assert isinstance(target.type, TensorType)
    if kind is None or host_target().vector_bits != 512 or target.type.dtype is not value.type.dtype:
        return None
    source_place = substitute(position(value, indices), nest.merged)
    target_place = substitute(position(target, target_indices), nest.merged)
    source_step, target_step = coefficient(source_place, inner.name), coefficient(target_place, across.name)
    if coefficient(target_place, inner.name) != 1 or source_step is None or target_step is None:
        return None
    block = 64 // size
    names = ("transpose", "transpose_past")
    text.requirements.statements.append("from ingot.jit.codegen.microkernel import stream_end, transpose_block")
    for name, past in zip(names, (False, True), strict=True):
        text.requirements.statements.append(f"{name}_{kind} = transpose_block({kind!r}, {block}, {past})")
    start = {inner.name: 0, across.name: 0}
    source = text.parameter("n", "i64", "address", storage(value))
    stored = text.parameter("n", "i64", "address", storage(target))
    others = [loop for loop in nest.loops[:-1] if loop is not across]
    along, down = text.size(inner.extent), text.size(across.extent)
    steps = f"{text.size(source_step)} * {size}", f"{text.size(target_step)} * {size}"
    columns, rows = ceil_div(inner.extent, _ALONG), ceil_div(across.extent, _ACROSS)
    total = element_count([loop.extent for loop in nest.loops])
    least = max(_STREAMED_BYTES, host_target().l3_bytes) // (2 * size)
    pointer = f"pointer_{pointer_kind(value.type.dtype)}"

    def copy(name: str) -> None:
        text.line(f"{name}_{kind}(x + i * x_step + j * {size}, x_step, y + j * y_step + i * {size}, y_step)")

    text.line(f"x_step, y_step = {', '.join(steps)}")
    text.line(f"large = {text.size(total)} >= {least} and ({stored} | y_step) % 64 == 0")
    with text.block("for item in range(lo, hi):", {loop.name for loop in others}):
        text.line(f"left = item % {text.size(columns)} * {_ALONG}")
        text.line(f"right = min(left + {_ALONG}, {along})")
        text.line(f"top = item // {text.size(columns)} % {text.size(rows)} * {_ACROSS}")
        text.line(f"bottom = min(top + {_ACROSS}, {down})")
        text.line(f"rest = item // ({text.size(columns)} * {text.size(rows)})")
        nest.recover(text, others, "rest")
        text.line(f"x = {source} + ({text.index(substitute(source_place, start))}) * {size}")
        text.line(f"y = {stored} + ({text.index(substitute(target_place, start))}) * {size}")
        # Blocks begin where lines of the source do, if those of all rows can; and the last block of each direction
        # overlaps the one before: the same elements are copied twice.
        text.line(f"before = (x + top * {size}) % 64 // {size} if x_step % 64 == 0 else 0")
        short, lined = f"{along} < {block} or {down} < {block}", "large and y % 64 == 0"
        with (
            text.block(f"if {short}:"),
            text.block("for j in range(top, bottom):"),
            text.block("for i in range(left, right):"),
        ):
            text.line(f"{pointer}(y + j * y_step)[i] = {pointer}(x + i * x_step)[j]")
        along_blocks, down_blocks = f"range(left, right, {block})", f"range(top - before, bottom, {block})"
        i_at, j_at = f"i = min(first, {along} - {block})", f"j = min(max(at, 0), {down} - {block})"
        with text.block(f"elif {lined}:"), text.block(f"for first in {along_blocks}:"):
            text.line(i_at)
            with text.block(f"for at in {down_blocks}:"):
                text.line(j_at)
                with text.block("if i == first:"):
                    copy("transpose_past")
                with text.block("else:"):
                    copy("transpose")
        with text.block("else:"), text.block(f"for at in {down_blocks}:"):
            text.line(j_at)
            with text.block(f"for first in {along_blocks}:"):
                text.line(i_at)
                copy("transpose")
    with text.block("if large:"):
        text.line("stream_end()")
    count = element_count([loop.extent for loop in others])
    per_item: Dim = _ALONG * _ACROSS
    return nest.finish(text, count * rows * columns, per_item)


def _only_moves(group: Group) -> bool:
    """Whether a group has one result, whose elements are those of what it reads."""
    return len(group.outputs) == 1 and all(_moves(i) for i in group.instructions)


def _moves(instruction: Instruction) -> bool:
    lowering = instruction.op.lower
    if isinstance(lowering, View):
        return True
    dtypes = {v.type.dtype for v in (*instruction.inputs, *instruction.results) if isinstance(v.type, TensorType)}
    return isinstance(lowering, Elementwise) and lowering.expression == "{input}" and len(dtypes) == 1
