"""From a typed graph to a generated module: fused kernels, a driver, and the layout of what they share."""

import re

from ...ir.core import Array, Block, Graph, Instruction, Value
from ...ir.dtypes import float16
from ...ir.ops._op import Elementwise, Reduce, View
from ...ir.types import TensorType
from .access import strided_view
from .attending import ATTENTION, attention_reads, run_attention, stores_attention
from .contraction import accepts_epilogue, contraction_reads, run_matmul
from .control import run_control
from .convolution import convolution_reads, run_convolution, stores_images
from .driver import Driver, Storage
from .elements import expression_of
from .emitters import EMITTERS
from .forms import kinds, parts
from .functions import FunctionDriver, Functions
from .fusion import Group, Plan, Unsupported, plan_block
from .host_ops import can_evaluate, run_on_host
from .image_layout import set_layout
from .image_pools import is_image_pool
from .images import choose_layouts
from .indexing import assuming
from .inline import INLINE
from .interface import argument_specs, check_type, result_slots, result_specs
from .module import ErrorSite, GeneratedModule
from .prepare import has_kernel, prepare
from .target import Target, host_target
from .weight_gradient import run_weight_gradient, weight_gradient_reads
from .writes import scatter_reads

__all__ = ["Unsupported", "generate"]


def generate(graph: Graph, target: Target | None = None) -> GeneratedModule:
    """Kernels and a driver that compute the graph; `Unsupported` where an op or a type has no native form.

    Composite ops that have no kernel of their own are decomposed first. Other ops without one are evaluated by Python,
    called back. The graph is not changed.
    """
    functions = {name: prepare(function, weight_gradients=True) for name, function in graph.functions.items()}
    graph = prepare(graph, weight_gradients=True)
    graph.functions = functions
    target = target or host_target()
    require_conversions(graph, target)
    on_host = {i for i in graph.walk_all() if not has_kernel(i) and can_evaluate(i)}
    while True:
        try:
            driver, module = _generate(graph, target, [], on_host)
            break
        except Unsupported as unsupported:
            # What an emitter finds only when it sees the operands, or an expression in a function without a kernel.
            instruction = unsupported.instruction
            if instruction is None or instruction in on_host or not can_evaluate(instruction):
                raise
            on_host.add(instruction)
            for result in instruction.results:
                set_layout(result, None)
    if functions and driver.called.caught:
        # A `try` around a call catches what functions raise that are generated after it: now all errors are known.
        _, module = _generate(graph, target, module.errors, on_host)
    return module


def _generate(
    graph: Graph, target: Target, errors: list[ErrorSite], on_host: set[Instruction]
) -> tuple["_Driver", GeneratedModule]:
    driver = _Driver(graph, target)
    driver.on_host = on_host
    driver.errors = list(errors)
    driver.called = Functions(graph, lambda function: _FunctionDriver(function, driver), len(errors))
    written = frozenset(argument for argument, _ in graph.writes)
    arguments = argument_specs(driver, written)
    results = result_specs(driver)
    slots = result_slots(results, len(arguments))
    driver.outputs = {
        value: Storage(f"o{index}")
        for index, (value, spec) in enumerate(zip(graph.results, results, strict=True))
        if spec.kind == "output"
    }
    for index, spec in enumerate(results):
        if spec.kind == "output":
            driver.line(f"o{index} = slot_i64(frame, {slots[index]})")
    with assuming(graph.guards):
        driver.run_block(graph.block)
        driver.clock += 1
        driver.called.generate()
    driver.return_results(results, slots)
    if driver.calls_back and driver.may_interpret:
        raise Unsupported("it calls back into Python, and has text of which only Python's tables of Unicode know")
    name = f"driver_{re.sub(r'[^A-Za-z0-9_]', '_', graph.name)}"
    return driver, GeneratedModule(
        name=graph.name,
        graph=graph,
        driver=name,
        driver_source=driver.finish(name),
        kernels=list(driver.kernels.values()),
        arguments=arguments,
        results=results,
        sizes=driver.sizes,
        buffers=driver.finished_buffers(),
        constants=driver.constants,
        guards=list(graph.guards),
        errors=driver.errors,
        scratch_slots=max(64, driver.scratch_slots),
        uses_arena=driver.uses_arena or any(spec.kind == "list" for spec in results),
        may_interpret=driver.may_interpret,
        report=driver.report,
    )


def require_conversions(graph: Graph, target: Target) -> None:
    """Unsupported where the CPU has no instructions that convert float16: those with fused multiply-add have."""
    if target.fused:
        return
    values = [*graph.arguments, *(r for i in graph.walk_all() for r in i.results)]
    if any(isinstance(v.type, TensorType) and v.type.dtype is float16 for v in values):
        raise Unsupported(f"float16 on {target.name}, which has no conversions for it")


class _Driver(Driver):
    """The driver with the rules of which instruction is computed where."""

    def __init__(self, graph: Graph, target: Target) -> None:
        super().__init__(graph, lambda driver, block: self.plan(block))
        self.target = target
        self.outputs: dict[Value, Storage] = {}
        self.on_host: set[Instruction] = set()

    def plan(self, block: Block) -> Plan:
        choose_layouts(block, self.in_kernels)
        plan = plan_block(block, self.stored_operands, self.accepts_epilogue, self.writable, self.on_host)
        if block is self.graph.block:
            computed = {target for group in plan.groups for _, _, target, _ in group.placed()}
            for value, storage in self.outputs.items():
                root = value
                while root in plan.aliases:
                    root = plan.aliases[root]
                instruction = root.instruction
                produced = root in computed or (instruction is not None and instruction.block is block)
                if produced and root not in self.preferred and instruction is not None and not instruction.regions:
                    self.preferred[root] = storage
        return plan

    def stored_operands(self, instruction: Instruction) -> list[Value] | None:
        """Tensors that an instruction reads from memory; None for what is computed inside kernels."""
        if instruction in self.on_host:
            return [v for v in instruction.inputs if isinstance(v.type, TensorType)]
        for result in instruction.results:
            if isinstance(result.type, TensorType):
                check_type(result.type, instruction.location)
        is_tensor = len(instruction.results) == 1 and isinstance(instruction.results[0].type, TensorType)
        if is_tensor and (isinstance(instruction.op.lower, (View, Reduce, Elementwise)) or expression_of(instruction)):
            return None
        if is_image_pool(instruction):
            return [v for v in instruction.inputs if isinstance(v.type, TensorType)]
        if is_tensor and instruction.op.name in INLINE:
            if instruction.op.name != "constant":
                return None
            array = instruction.attributes["value"]
            if isinstance(array, Array) and array.shape == () and array.data is not None and has_kernel(instruction):
                return None
        if instruction.op.name == "item":
            return [strided_view(instruction.inputs[0], instruction.block).base]
        reads = self.contraction_reads(instruction) or scatter_reads(instruction)
        return [v for v in instruction.inputs if isinstance(v.type, TensorType)] if reads is None else reads

    def in_kernels(self, instruction: Instruction) -> bool:
        return self.stored_operands(instruction) is None

    def accepts_epilogue(self, instruction: Instruction, group: Group) -> bool:
        if group.placements or instruction in self.on_host:
            return False
        if instruction.op.name in ("conv2d", "conv3d"):
            return stores_images(instruction, group)
        if instruction.op.name == "conv2d_weight_grad":
            return False
        if instruction.op.name == ATTENTION:
            return stores_attention(instruction, group)
        return accepts_epilogue(instruction, group)

    def run_instruction(self, instruction: Instruction) -> None:
        if instruction in self.on_host:
            run_on_host(self, instruction)
            return
        try:
            self.run_native(instruction)
        except Unsupported as unsupported:
            unsupported.instruction = unsupported.instruction or instruction
            raise

    def run_native(self, instruction: Instruction) -> None:
        if self.contraction_reads(instruction) is not None:
            self.run_contraction(instruction, None)
        elif (emit := EMITTERS.get(instruction.op.name)) is not None:
            emit(self, instruction)
        else:
            run_control(self, instruction)

    def run_contraction(self, instruction: Instruction, group: Group | None) -> None:
        if instruction.op.name == "conv2d_weight_grad":
            run_weight_gradient(self, instruction, self.target)
            return
        run = {"conv2d": run_convolution, "conv3d": run_convolution, ATTENTION: run_attention}.get(
            instruction.op.name, run_matmul
        )
        run(self, instruction, group, self.target)

    def contraction_reads(self, instruction: Instruction) -> list[Value] | None:
        """What a product or convolution reads from memory; None for other instructions."""
        for reads_of in (contraction_reads, convolution_reads, weight_gradient_reads, attention_reads):
            if (reads := reads_of(instruction)) is not None:
                return reads
        return None

    def return_results(self, results: list, slots: list[int]) -> None:  # type: ignore[type-arg]
        """Copy results to where the caller reads them, where they are not there yet."""
        graph = self.graph
        copies: list[str] = []
        for index, (value, spec) in enumerate(zip(graph.results, results, strict=True)):
            slot = slots[index]
            match spec.kind:
                case "output":
                    if self.address(value) != f"o{index}":
                        copies.append(f"copy_bytes(o{index}, {self.address(value)}, {self.bytes_of(value)})")
                case "argument":
                    argument = graph.arguments[spec.index]
                    if self.root(value) is not argument:
                        target = self.storages[argument].address
                        copies.append(f"move_bytes({target}, {self.address(value)}, {self.bytes_of(value)})")
                case "runtime":
                    assert isinstance(value.type, TensorType)
                    self.line(f"set_slot_i64(frame, {slot}, {self.address(value)})")
                    for axis, size in enumerate(value.type.shape):
                        self.line(f"set_slot_i64(frame, {slot + 1 + axis}, {self.size(size)})")
                case "scalar":
                    kind = "f64" if str(value.type) == "float" else "i64"
                    self.line(f"set_slot_{kind}(frame, {slot}, {self.slot_value(value)})")
                case "list":
                    for index, (kind, text) in enumerate(zip(kinds(value.type), parts(self, value), strict=True), slot):
                        self.line(f"set_slot_{'f64' if kind == 'f' else 'i64'}(frame, {index}, {text})")
        # Arguments are overwritten last: until then other results may still be read from them.
        for copy in sorted(copies, key=lambda text: text.startswith("move")):
            self.line(copy)

    def bytes_of(self, value: Value) -> str:
        return self.size(self.nbytes(value.type))


class _FunctionDriver(FunctionDriver, _Driver):
    """The driver of one of the graph's functions."""

    def __init__(self, graph: Graph, shared: _Driver) -> None:
        super().__init__(graph, shared.target)
        self.on_host = shared.on_host
        self.share(shared)
