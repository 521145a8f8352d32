"""Groups of values that become one kernel, and questions about them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...ir.core import Block, Instruction, Value
from ...ir.dims import Dim
from ...ir.ops._op import Elementwise
from ...ir.types import TensorType
from .image_layout import CHANNELS_LAST, layout_of
from .indexing import LOOP_PREFIX, Indices, Loop

__all__ = ["Group", "Plan", "count_uses", "loops_over", "order_of", "own_cost", "visits_once"]

_COSTS = {
    "exp": 10, "exp2": 10, "expm1": 14, "log": 12, "log2": 12, "log10": 12, "log1p": 14, "sin": 16, "cos": 16,
    "tan": 24, "asin": 16, "acos": 16, "atan": 16, "atan2": 20, "sinh": 20, "cosh": 16, "tanh": 16, "erf": 24,
    "erfc": 24, "pow": 40, "sigmoid": 16, "sqrt": 3, "rsqrt": 4, "floor_divide": 6, "remainder": 8, "fmod": 20,
    "gelu": 24, "softplus": 24,
    # Series: Bessel functions end in the letters, too.
    **dict.fromkeys(("i0", "i1", "i0e", "i1e", "j0", "j1", "y0", "y1", "erfcx", "log_ndtr", "ndtri"), 60),
    **dict.fromkeys(("k0", "k1", "zeta", "polygamma", "gammainc", "gammaincc", "airy_ai"), 300),
}  # fmt: skip


@dataclass
class Group:
    """What becomes one kernel. `outputs` maps stored values to the indices that the loops visit them at.

    `position` is the place in the block where it runs. `placements` says which outputs are stored as parts of another
    value (the operands of a concatenation) and where, for which `origin` is the reason. `contraction` is the matrix
    product or convolution whose epilogue this group is. `rows` are further loops of some outputs, inside the others.
    """

    position: int
    loops: list[Loop]
    outputs: dict[Value, Indices]
    accesses: dict[Value, set[Indices]] = field(default_factory=dict)
    inlined: dict[Value, None] = field(default_factory=dict)
    reductions: list[Value] = field(default_factory=list)
    contraction: Instruction | None = None
    placements: dict[Value, tuple[Value, Indices]] = field(default_factory=dict)
    origin: Instruction | None = None
    rows: dict[Value, tuple[Loop, ...]] = field(default_factory=dict)

    def placed(self) -> list[tuple[Value, Indices, Value, Indices]]:
        """What is stored: (value, its indices, stored value, indices there); most outputs are stored as themselves."""
        return [(v, i, *self.placements.get(v, (v, i))) for v, i in self.outputs.items()]

    def stores(self) -> list[tuple[Value, Indices]]:
        """The stored values and the indices at which the loops visit them."""
        return [(target, indices) for _, _, target, indices in self.placed()]

    @property
    def extents(self) -> dict[str, Dim]:
        rows = [loop for loops in self.rows.values() for loop in loops]
        return {loop.name: loop.extent for loop in (*self.loops, *rows)}

    @property
    def kept(self) -> list[Loop]:
        return [loop for loop in self.loops if not loop.reduced]

    @property
    def reduced(self) -> list[Loop]:
        """The reduced loops in the order of the dimensions that they run over, which may not be that of the loops."""
        return sorted((loop for loop in self.loops if loop.reduced), key=lambda loop: int(re.sub(r"\D", "", loop.name)))

    @property
    def instructions(self) -> list[Instruction]:
        """The instructions computed here, in program order."""
        computed = [v for v in self.outputs if v not in self.placements]
        members = [v.instruction for v in (*computed, *self.inlined) if v.instruction is not None]
        if not members:
            return []
        assert members[0].block is not None
        order = {id(i): n for n, i in enumerate(members[0].block.instructions)}
        return sorted({id(i): i for i in members}.values(), key=lambda i: order.get(id(i), -1))


@dataclass
class Plan:
    """How a block runs: groups by position, which view shares which value's memory, and why it is so."""

    groups: list[Group]
    aliases: dict[Value, Value]
    report: list[str]


def own_cost(instruction: Instruction) -> int:
    """About how many simple operations an instruction costs per element."""
    lowering = instruction.op.lower
    cost = _COSTS.get(instruction.op.name)  # some composites are expressions in kernels, too
    if cost is None and not isinstance(lowering, Elementwise):
        return 0
    if cost is None:
        assert isinstance(lowering, Elementwise)
        text = lowering.expression
        cost = max([0, *(c for name, c in _COSTS.items() if f"{name}(" in text)]) + (2 if "/" in text else 1)
    return cost


def order_of(value: Value) -> Sequence[int]:
    """A value's dimensions in the order in which loops should run over them, the innermost last."""
    assert isinstance(value.type, TensorType)
    return range(value.type.rank) if layout_of(value) is None else CHANNELS_LAST


def loops_over(value: Value, stored: Value) -> tuple[list[Loop], Indices]:
    """Loops over a value's dimensions, in the order of the memory that it is stored to, and its indices."""
    assert isinstance(value.type, TensorType)
    shape = value.type.shape
    order: Sequence[int] = range(len(shape)) if layout_of(stored) is None else CHANNELS_LAST
    loops = [Loop(f"{LOOP_PREFIX}{axis}", shape[axis]) for axis in order if shape[axis] != 1]
    by_name = {loop.name: loop.variable for loop in loops}
    return loops, tuple(by_name.get(f"{LOOP_PREFIX}{axis}", 0) for axis in range(len(shape)))


def visits_once(value: Value, indices: Indices, loops: Sequence[Loop]) -> bool:
    """Whether loops that read the value at `indices` visit every element of it exactly once."""
    assert isinstance(value.type, TensorType)
    extents = {loop.name: loop.extent for loop in loops}
    seen: set[str] = set()
    for index, size in zip(indices, value.type.shape, strict=True):
        if size == 1:
            continue
        name = str(index)
        if extents.get(name) != size or name in seen:
            return False
        seen.add(name)
    return seen == extents.keys()


def count_uses(block: Block, value: Value) -> int:
    """How often a value is an operand in a block and its regions."""
    return sum(operand is value for instruction in block.walk() for operand in instruction.operands)
