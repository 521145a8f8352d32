"""What of a row stays in shared memory while it is swept several times."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ....ir import dtypes
from ....ir.core import Value
from ....ir.dims import Dim
from ....ir.dtypes import DType
from ....ir.ops._op import View
from ....ir.types import TensorType
from ..elements import Elements
from ..fusion import own_cost
from ..scalar_code import working
from .device_text import DeviceText

if TYPE_CHECKING:
    from .nests import Reduced

__all__ = ["Keeper"]

# What loading an element from the device's memory costs, in simple operations.
_LOAD = 8


class Keeper:
    """What of a row stays in shared memory between sweeps: the costliest value that a sweep has and later ones need.

    A thread reads only what it wrote itself. The memory is sized at launch, for each team a row.
    """

    def __init__(self, nest: "Reduced", text: DeviceText, elements: Elements, length: Dim) -> None:
        self.nest = nest
        self.text = text
        self.elements = elements
        self.stages = nest.stages()
        self.guarded = nest.guarded()
        self.kept: Value | None = None
        self.length = length
        self.dtype: DType | None = None

    @property
    def nbytes(self) -> Dim:
        return 0 if self.dtype is None else self.length * working(self.dtype).itemsize

    def uses(self, roots: Sequence[Value], stop: Value | None = None) -> set[Value]:
        """Values of the group, and those that it loads, that the roots are made from, up to reductions and `stop`."""
        group = self.nest.group
        seen: set[Value] = set()
        pending = list(roots)
        while pending:
            value = pending.pop()
            if value in seen or value in group.reductions:
                continue
            seen.add(value)
            is_computed = value in group.inlined or value in group.outputs
            if value is not stop and is_computed and value.instruction is not None:
                pending.extend(o for o in value.instruction.inputs if isinstance(o.type, TensorType))
        return seen

    def of_stage(self, number: int) -> Callable[[], None] | None:
        """What the sweep of a stage does first: compute the chosen value and put it into shared memory."""
        nest, group = self.nest, self.nest.group
        finals = [v for v in group.outputs if v not in group.reductions]
        now = self.uses(nest.operands(self.stages[number : number + 1]), self.kept)
        later = self.uses([*nest.operands(self.stages[number + 1 :]), *finals], self.kept)
        candidates = [(self.cost(v), v) for v in now & later if v is not self.kept and self.can_keep(v)]
        cost, best = max(candidates, key=lambda c: c[0], default=(0, None))
        if best is None or (self.kept is not None and cost <= _LOAD):
            return None
        if self.kept is not None and self.kept in self.uses([*nest.operands(self.stages[number + 1 :]), *finals], best):
            return None  # what is kept now is read later on
        return self.keep(best)

    def can_keep(self, value: Value) -> bool:
        """Whether a value is one number for each element of a row, of the size of what was kept before."""
        group = self.nest.group
        accesses = group.accesses.get(value, set())
        assert isinstance(value.type, TensorType)
        dtype = value.type.dtype
        if len(accesses) != 1 or value in group.outputs or dtype is dtypes.bool_ or value in self.guarded:
            return False
        if self.nest.level(next(iter(accesses))) != frozenset(loop.name for loop in self.nest.loops):
            return False
        if self.dtype is not None and dtype is not self.dtype:
            return False
        instruction = value.instruction
        is_view = instruction is not None and isinstance(instruction.op.lower, View)
        return not (value in group.inlined and is_view) and not (
            instruction is not None and instruction.op.name == "constant"
        )

    def cost(self, value: Value) -> int:
        return _LOAD + sum(own_cost(v.instruction) for v in self.uses([value], self.kept) if v.instruction is not None)

    def keep(self, value: Value) -> Callable[[], None]:
        nest, text, elements = self.nest, self.text, self.elements
        assert isinstance(value.type, TensorType)
        dtype = value.type.dtype
        (indices,) = nest.group.accesses[value]
        if self.dtype is None:
            self.dtype = dtype
            nest.declare(text, f"kept = cuda.shared.array(0, types.{working(dtype).name})")
        size, at = text.size(self.length), nest.place_in_row(text)
        if nest.lanes > 1:
            # The neighbours that one thread handles lie apart, so that the accesses of a warp go to all banks.
            bits = nest.lanes.bit_length() - 1
            at = f"({at} >> {bits}) + ({at} & {nest.lanes - 1}) * ({size} >> {bits})"
        place = f"kept[cuda.threadIdx.y * {size} + {at}]"

        def store() -> None:
            elements.overrides.pop((value, indices), None)
            code = elements.element(value, indices)
            text.line(f"{place} = {code.text}")
            text.scope.memo[value, indices] = code
            elements.overrides[value, indices] = lambda: text.assign(text.scope, place, dtype)

        self.kept = value
        return store
