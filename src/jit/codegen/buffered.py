"""Elementwise kernels that compute much of what does not lie in a row: through buffers, which vectors pass over.

A sine costs as much as twenty additions, and four times that where LLVM does not vectorise it: in rows that fill no
vectors, and where elements are found by quotients and remainders. Such kernels go block by block: first the operands of
all that takes long are put into buffers on the stack, one element after the other; then vectors pass over these.

Angles and quotients have a short form where they are not large, and a long one. Neither is chosen for an element, which
would be a branch, but for a block: one pass asks whether any of its elements is far.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import substitute
from ...ir.dtypes import DType
from ...ir.ops._op import View
from ...ir.types import TensorType
from ..expected_sizes import SHORT, expected_size
from .access import operand_indices
from .elements import Elements, expression_of
from .groups import own_cost
from .image_layout import position
from .indexing import Indices, Loop, depends_on, flat_index, loop_symbols, terms
from .kernel_text import Text
from .scalar_code import Code, cast, is_half
from .segments import loop_in_segments

if TYPE_CHECKING:
    from .nest import Nest

__all__ = ["Buffers", "buffers_of"]

# The cost of an exponential and more.
_MUCH = 10
# Rows of fewer elements than this fill too few vectors.
_ROW = 64
# The elements of a block, the bytes of all buffers, which stay in L1 beside what is read and written, and the most of
# an element in them.
_BLOCK, _BYTES, _MOST = 512, 16 << 10, 64

_NEAR_FORMS = re.compile(r"\b(sin|cos|tan|fmod|remainder|floor_divide)\(|//|%")

_Read = tuple[Value, Indices]


def buffers_of(nest: "Nest", short: list[Loop]) -> "Buffers | None":
    """The buffers of a nest without reductions, where it is faster with them; None elsewhere.

    `short` are its innermost loops where LLVM is to unroll them, and to vectorise the one around them.
    """
    group = nest.group
    if group.rows or not nest.loops or not any(_costs_much(i) for i in group.instructions):
        return None
    buffers = Buffers(nest)
    if not buffers.asks and _is_vectorised(nest, short):
        return None
    return buffers if buffers.possible and any(buffers.computed.values()) and buffers.bytes_each() <= _MOST else None


def _is_vectorised(nest: "Nest", short: list[Loop]) -> bool:
    """Whether vectors run along a loop of the nest as it is."""
    loops = nest.loops[: len(nest.loops) - len(short)]
    if not loops:
        return True
    row = expected_size(loops[-1].extent)
    if len(loops) > 1 and row is not None and row < (SHORT if short else _ROW):
        return False
    # Quotients and remainders of the loop's variable.
    for place in nest.positions():
        for part, _ in terms(substitute(place, nest.merged)):
            if not isinstance(part, int) and not part.is_symbol() and loops[-1].name in loop_symbols(part):
                return False
    return True


def _costs_much(instruction: Instruction) -> bool:
    return own_cost(instruction) >= _MUCH or _has_near_form(instruction)


def _has_near_form(instruction: Instruction) -> bool:
    """Whether an instruction is computed in another way where its operands are far."""
    expression, kind = expression_of(instruction), instruction.results[0].type
    if expression is None or not isinstance(kind, TensorType) or kind.dtype.kind != "f":
        return False
    return _NEAR_FORMS.search(expression.expression) is not None


class Buffers:
    """What a nest's outputs are computed from: `operands` are put into buffers, and vectors compute all else."""

    def __init__(self, nest: "Nest") -> None:
        self.nest = nest
        self.operands: dict[_Read, None] = {}
        self.computed: dict[_Read, bool] = {}
        self.possible = True
        self.asks = any(_has_near_form(i) for i in nest.group.instructions)
        for value, indices in nest.group.outputs.items():
            self.collect(value, indices)

    def is_inside(self, value: Value) -> bool:
        """Whether the kernel computes a value, which then need not lie in memory."""
        group = self.nest.group
        return value in group.inlined or (value in group.outputs and value not in group.placements)

    def is_computed(self, value: Value, indices: Indices) -> bool:
        """Whether an element takes long to compute, itself or what it is computed from."""
        key = value, indices
        if key in self.computed:
            return self.computed[key]
        self.computed[key] = False
        instruction = value.instruction
        if instruction is None or not self.is_inside(value) or instruction.op.name == "constant":
            return False
        if isinstance(instruction.op.lower, View) or expression_of(instruction) is not None:
            reads = [self.is_computed(*read) for read in self.reads(value, indices)]
            self.computed[key] = _costs_much(instruction) or any(reads)
            if any(reads) and _has_near_form(instruction):
                below = self.nest.reach([operand for operand, _ in self.reads(value, indices)])
                if any(own_cost(v.instruction) >= _MUCH for v in below if v.instruction is not None):
                    self.asks = False  # what is asked would take long itself
        elif any(_costs_much(v.instruction) for v in self.nest.reach([value]) if v.instruction is not None):
            self.possible = False  # it is computed under a condition, or where a place says that is found here
        return self.computed[key]

    def reads(self, value: Value, indices: Indices) -> list[_Read]:
        """What an element is computed from."""
        instruction, group = value.instruction, self.nest.group
        assert instruction is not None
        tensors = [o for o in instruction.inputs if isinstance(o.type, TensorType)]
        return [(o, operand_indices(instruction, o, indices, group.extents, group.reduced)) for o in tensors]

    def collect(self, value: Value, indices: Indices) -> None:
        """Find the operands of what takes long."""
        if self.is_computed(value, indices):
            for read in self.reads(value, indices):
                self.collect(*read)
        elif depends_on(indices):
            self.operands[value, indices] = None

    def bytes_each(self) -> int:
        """The bytes that an element has in all buffers."""
        results = [value for value, _, target, place in self.nest.group.placed() if not self.is_flat(target, place)]
        operands = [value for value, indices in self.operands if not self.lies_flat(value, indices)]
        kept = [_dtype(v) for v in operands] + [self.stored_dtype(v) for v in results]
        return sum(_kept_as(dtype).itemsize for dtype in kept)

    def stored_dtype(self, output: Value) -> DType:
        return _dtype(self.nest.group.placements.get(output, (output, ()))[0])

    def lies_flat(self, value: Value, indices: Indices) -> bool:
        """Whether an operand lies in memory in the order of the loops."""
        return not self.is_inside(value) and self.is_flat(value, indices)

    def is_flat(self, value: Value, indices: Indices) -> bool:
        place = substitute(position(value, indices), self.nest.merged)
        loops = self.nest.loops
        return place == flat_index([loop.variable for loop in loops], [loop.extent for loop in loops])

    def lower(self, text: Text, elements: Elements) -> None:
        """Write the kernel's loops over range(lo, hi), the positions of elements in the order of the loops."""
        nest = self.nest
        size = 1 << (min(_BLOCK, _BYTES // max(self.bytes_each(), 1)).bit_length() - 1)
        operands = {k: _buffer(text, _dtype(k[0]), size) for k in self.operands if not self.lies_flat(*k)}
        results = {
            value: _buffer(text, self.stored_dtype(value), size)
            for value, _, target, place in nest.group.placed()
            if not self.is_flat(target, place)
        }

        def fill(at: str) -> None:
            for key, buffer in operands.items():
                _put(text, buffer, at, elements.element(*key))

        def store(at: str) -> None:
            for value, buffer in results.items():
                key = value, nest.group.outputs[value]
                elements.overrides[key] = partial(_get, text, buffer, at, self.stored_dtype(value))
                nest.store_output(text, elements, value)

        with text.block(f"for block in range(lo, hi, {size}):"):
            text.line(f"stop = min(block + {size}, hi)")
            if operands:
                self.for_each(text, fill)
            self.pass_over(text, elements, operands, results)
            for key in self.operands:
                del elements.overrides[key]
            if results:
                self.for_each(text, store)

    def pass_over(self, text: Text, elements: Elements, operands: dict[_Read, str], results: dict[Value, str]) -> None:
        """Loops over a block's elements in which all is computed that takes long."""
        requirements = text.requirements
        for key in self.operands:
            if key in operands:
                load = partial(_get, text, operands[key], "k - block", _dtype(key[0]))
            else:
                load = partial(self.load, text, key[0])
            elements.overrides[key] = load

        @contextmanager
        def loop() -> Iterator[None]:
            with text.block("for k in range(block, stop):", {loop.name for loop in self.nest.loops}):
                yield

        if not self.asks:
            with loop():
                self.compute(text, elements, results)
            return
        text.line("far = 0")
        requirements.far = []
        with loop():
            for value, indices, _, _ in self.nest.group.placed():
                elements.element(value, indices)
            for condition in requirements.far:
                text.line(f"far = 1 if {condition} else far")
        requirements.far = None
        with text.block("if far != 0:"), loop():
            self.compute(text, elements, results)
        requirements.near = True
        with text.block("else:"), loop():
            self.compute(text, elements, results)
        requirements.near = False

    def compute(self, text: Text, elements: Elements, results: dict[Value, str]) -> None:
        """Compute the element k, and put it into its buffer or its place."""
        for value, indices, target, _ in self.nest.group.placed():
            code = cast(elements.element(value, indices), self.stored_dtype(value), text.requirements)
            if value in results:
                _put(text, results[value], "k - block", code)
            else:
                text.store(text.pointer(self.nest.storage(target), code.dtype, written=True), "k", code)

    def for_each(self, text: Text, body: Callable[[str], None]) -> None:
        """Loops over a block's elements around what `body` writes, which is given their places in the buffers."""
        nest = self.nest
        *outer, inner = nest.loops
        name = text.variable(inner.name)

        def along(first: str, stop: str, at: str) -> None:
            loop_in_segments(text, inner.name, first, stop, nest.positions(), lambda: body(at))

        if not outer:
            along("block", "stop", f"{name} - block")
            return
        size = text.size(inner.extent)
        with nest.rows_of(text, outer, size, "block", "stop") as row:
            text.line(f"before = {row} * {size} - block")
            along("max(-before, 0)", f"min(stop - block - before, {size})", f"before + {name}")

    def load(self, text: Text, value: Value) -> Code:
        """An operand that lies in memory as the loops run."""
        dtype = _dtype(value)
        return text.assign(text.scope, text.load(text.pointer(self.nest.storage(value), dtype), "k", dtype), dtype)


def _dtype(value: Value) -> DType:
    assert isinstance(value.type, TensorType)
    return value.type.dtype


def _buffer(text: Text, dtype: DType, size: int) -> str:
    """A new buffer for elements of a dtype."""
    name = text.fresh("b")
    function = f"stack_{_kept_as(dtype).short}"
    text.requirements.helpers.add(function)
    text.line(f"{name} = {function}({size})")
    return name


def _kept_as(dtype: DType) -> DType:
    """The dtype that a buffer keeps elements in."""
    if is_half(dtype):
        return dtypes.float32
    return dtype if dtype.kind == "f" or dtype is dtypes.int64 else dtypes.int32


def _put(text: Text, buffer: str, at: str, code: Code) -> None:
    """Put an element into a buffer."""
    kept = _kept_as(code.dtype)
    if kept is not code.dtype and not is_half(code.dtype):
        code = cast(code, kept, text.requirements)
    text.line(f"{buffer}[{at}] = {code.text}")


def _get(text: Text, buffer: str, at: str, dtype: DType) -> Code:
    """Take an element from a buffer."""
    code = f"{buffer}[{at}]"
    if dtype is dtypes.bool_:
        code = f"({code} != 0)"
    elif _kept_as(dtype) is not dtype and not is_half(dtype):
        code = cast(Code(code, dtypes.int32), dtype, text.requirements).text
    return text.assign(text.scope, code, dtype)
