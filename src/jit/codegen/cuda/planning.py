"""How a block runs on a device: kernels for its fused groups and products, and what is left for the array module.

The groups are those of the CPU path. What has no kernel, or belongs to a group that cannot be lowered, is computed op
by op by the array module, with a line in the report.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from ....ir.core import Array, Block, Instruction, Value
from ....ir.dims import Dim
from ....ir.location import Location
from ....ir.ops._op import Elementwise, Reduce, View
from ....ir.ops._reduced import BY_DTYPE
from ....ir.types import TensorType
from ...errors import Unsupported
from ..elements import expression_of
from ..fusion import Group, Plan, plan_block
from ..indexing import loop_variable
from ..inline import INLINE
from ..nest import Temporary
from ..reads import READS
from ..scalar_code import Untranslatable, is_half
from .attention import ATTENTION, attention_limits, attention_reads, lower_attention
from .by_design import reason
from .contraction import accepts_epilogue, contraction_reads, lower_contraction
from .device_text import DeviceKernel, DeviceTarget, device_kind
from .indexed import INDEXED
from .lookups import LOOKUPS
from .nests import lower_device_group
from .pooling import POOLING
from .running import RUNNING

__all__ = ["BlockPlan", "KernelStep", "plan_device_block"]


@dataclass
class KernelStep:
    """Kernels that run one after another. `targets` are the values whose memory they fill.

    `copies` says which targets begin as copies of another value. A product that the library of the device computes
    (`library`, an instruction) is followed by `after`, which does what the tiled kernel does besides. `limits` are
    sizes with the largest that the kernels take, `work` how many multiplications they do.
    """

    kernels: list[DeviceKernel]
    targets: list[Value]
    temporaries: list[Temporary] = field(default_factory=list)
    location: Location | None = None
    copies: dict[Value, Value] = field(default_factory=dict)
    library: Instruction | None = None
    after: "KernelStep | None" = None
    limits: list[tuple[Dim, int]] = field(default_factory=list)
    work: Dim = 0


Step = KernelStep | Instruction


@dataclass
class BlockPlan:
    """The steps of a block in order, whose memory is shared by views, and why it is so."""

    steps: list[Step]
    aliases: dict[Value, Value]
    report: list[str]


def plan_device_block(block: Block, target: DeviceTarget) -> BlockPlan:
    """How to run a block; its terminator is not among the steps."""
    try:
        return _Planner(block, target).run()
    except (Unsupported, Untranslatable) as error:
        reason = getattr(error, "reason", str(error))
        return BlockPlan(list(block.instructions[:-1]), {}, [f"a block runs op by op, because {reason}"])


def _has_kernel_dtype(value: Value | None) -> bool:
    if value is None or not isinstance(value.type, TensorType):
        return True
    try:
        device_kind(value.type.dtype)
    except Untranslatable:
        return False
    return True


def _work(kernel: DeviceKernel) -> Dim:
    flops = kernel.traffic["flops"]
    return 0 if flops is None else flops


def _is_readable(instruction: Instruction) -> bool:
    """Whether kernels know where an inlined op reads."""
    reads, result = READS.get(instruction.op.name), instruction.results[0].type
    if reads is not None and isinstance(result, TensorType):
        try:
            reads(instruction, tuple(loop_variable(f"c{axis}") for axis in range(result.rank)))
        except Unsupported:
            return False
    return True


class _Planner:
    def __init__(self, block: Block, target: DeviceTarget) -> None:
        self.block = block
        self.target = target
        self.refused: set[int] = set()  # instructions that the array module computes, by identity
        self.report: list[str] = []

    def run(self) -> BlockPlan:
        """Plan again without what turned out to have no kernel, until all groups have theirs."""
        while True:
            plan = plan_block(self.block, self.stored_operands, self.accepts_epilogue)
            before = len(self.refused)
            lowered = {id(group): self.lower(group, plan) for group in plan.groups}
            if len(self.refused) == before:
                return self.ordered(plan, lowered)

    # -- what is computed inside kernels -------------------------------------------------------------------------------

    def stored_operands(self, instruction: Instruction) -> list[Value] | None:
        """Tensors that an instruction reads from memory; None for what is computed inside kernels."""
        tensors = [v for v in instruction.inputs if isinstance(v.type, TensorType)]
        if id(instruction) in self.refused or not all(map(_has_kernel_dtype, (*instruction.results, *tensors))):
            return tensors
        if instruction.op.name in BY_DTYPE and any(
            is_half(v.type.dtype) for v in tensors if isinstance(v.type, TensorType)
        ):
            return tensors  # kernels compute in float32, which has other neighbours
        is_tensor = len(instruction.results) == 1 and isinstance(instruction.results[0].type, TensorType)
        if is_tensor and (isinstance(instruction.op.lower, (View, Reduce, Elementwise)) or expression_of(instruction)):
            return None
        if is_tensor and instruction.op.name in INLINE and _is_readable(instruction):
            if instruction.op.name != "constant":
                return None
            array = instruction.attributes["value"]
            if isinstance(array, Array) and array.shape == () and array.data is not None:
                return None
        for reads_of in (contraction_reads, attention_reads):
            if (reads := reads_of(instruction)) is not None:
                return reads
        return tensors

    def in_kernels(self, instruction: Instruction) -> bool:
        return self.stored_operands(instruction) is None

    def accepts_epilogue(self, instruction: Instruction, group: Group) -> bool:
        return id(instruction) not in self.refused and not group.placements and accepts_epilogue(instruction, group)

    # -- kernels -------------------------------------------------------------------------------------------------------

    def lower(self, group: Group, plan: Plan) -> KernelStep | None:
        """The kernels of a group; None, with its instructions refused, where it has none."""

        def root(value: Value) -> Value:
            while value in plan.aliases:
                value = plan.aliases[value]
            return value

        where = next((i.location for i in group.instructions if i.location is not None), None)
        # What is written into its operand's memory has none of its own.
        targets = list(dict.fromkeys(root(target) for _, _, target, _ in group.placed()))
        try:
            if group.contraction is not None:
                tiled = lower_contraction(group.contraction, group, root, self.target)
                after, temporaries = lower_device_group(group, root, self.target)
                step = KernelStep([tiled], targets, [], group.contraction.location, library=group.contraction)
                step.work = _work(tiled)
                step.after = KernelStep(after, targets, temporaries, where)
                return step
            kernels, temporaries = lower_device_group(group, root, self.target)
            return KernelStep(kernels, targets, temporaries, where)
        except (Unsupported, Untranslatable) as error:
            reason = getattr(error, "reason", str(error))
            members = [i for i in group.instructions if not isinstance(i.op.lower, View)] or group.instructions
            if group.contraction is not None:
                members = [group.contraction]
            elif group.origin is not None:
                members = [group.origin, *members]
            self.report.append(f"{', '.join(i.op.name for i in members)}: op by op, because {reason}")
            self.refused |= {id(i) for i in members}
            return None

    def standalone(self, instruction: Instruction, plan: Plan) -> KernelStep | None:
        """The kernel of an instruction that no group computes; None where it has none."""
        if id(instruction) in self.refused or not all(
            map(_has_kernel_dtype, (*instruction.results, *instruction.inputs))
        ):
            return None

        def root(value: Value) -> Value:
            while value in plan.aliases:
                value = plan.aliases[value]
            return value

        emit: Callable[[], KernelStep] | None = None
        if contraction_reads(instruction) is not None:

            def emit() -> KernelStep:
                kernel = lower_contraction(instruction, None, root, self.target)
                results = list(instruction.results)
                return KernelStep([kernel], results, [], instruction.location, library=instruction, work=_work(kernel))

        elif instruction.op.name == ATTENTION and attention_reads(instruction) is not None:

            def emit() -> KernelStep:
                kernel = lower_attention(instruction, root, self.target)
                limits = attention_limits(instruction, self.target)
                results = list(instruction.results)
                return KernelStep([kernel], results, [], instruction.location, library=instruction, limits=limits)

        elif (lower := (INDEXED | POOLING).get(instruction.op.name)) is not None:

            def emit() -> KernelStep:
                kernels, copies = lower(instruction, root, self.target)
                return KernelStep(kernels, list(instruction.results), [], instruction.location, copies)

        elif (with_memory := (RUNNING | LOOKUPS).get(instruction.op.name)) is not None:

            def emit() -> KernelStep:
                kernels, copies, temporaries = with_memory(instruction, root, self.target)
                return KernelStep(kernels, list(instruction.results), temporaries, instruction.location, copies)

        if emit is None:
            return None
        try:
            return emit()
        except (Unsupported, Untranslatable) as error:
            self.report.append(f"{instruction.op.name}: op by op, because {getattr(error, 'reason', error)}")
            return None

    def ordered(self, plan: Plan, lowered: dict[int, KernelStep | None]) -> BlockPlan:
        by_position: dict[int, list[Group]] = {}
        for group in plan.groups:
            by_position.setdefault(group.position, []).append(group)
        inside = {id(i) for g in plan.groups for i in g.instructions}
        inside |= {id(g.contraction) for g in plan.groups if g.contraction is not None}
        placed = {id(g.origin) for g in plan.groups if g.origin is not None}
        steps: list[Step] = []
        last = len(self.block.instructions) - 1
        for position, instruction in enumerate(self.block.instructions):
            if position < last and id(instruction) not in inside | placed and not self.in_kernels(instruction):
                step = self.standalone(instruction, plan)
                if step is None and self.is_slow(instruction):
                    why = reason(instruction.op)
                    name = instruction.op.name
                    self.report.append(f"{name}: computed by the array module" + (f" ({why})" if why else ""))
                steps.append(instruction if step is None else step)
            for group in by_position.get(position, []):
                step = lowered[id(group)]
                assert step is not None
                steps.append(step)
        return BlockPlan(steps, plan.aliases, [*dict.fromkeys([*self.report, *plan.report])])

    def is_slow(self, instruction: Instruction) -> bool:
        """Whether an instruction without a kernel computes a tensor."""
        name = instruction.op.name
        is_tensor = any(isinstance(r.type, TensorType) for r in instruction.results)
        return is_tensor and not instruction.regions and not name.startswith(("constant", "tuple.", "list.", "call"))
