"""Compiled graphs on a device: the host walks a block's plan, launches kernels, and decides branches and loops.

What the plan leaves over (sorting, factorisations, containers, printing) the interpreter computes op by op with the
device's array module. A condition that depends on data costs one copy of one flag; what kernels report is read once per
block.
"""

import functools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..eager.device import device, make_on, move_array
from ..eager.placement import run_on
from ..ir.core import Array, Block, Graph, Instruction, Value
from ..ir.dims import Dim, DimExpr, substitute
from ..ir.interp import Interpreter
from ..ir.ops._op import Trait
from ..ir.types import TensorType
from .device_convolution import convolve
from .placement import is_array
from .raising import raise_at, raise_error_at
from .runtime.cuda_graphs import Replay, pays_off, record_call
from .runtime.cuda_launch import Launcher, threads_of

if TYPE_CHECKING:
    from .codegen.cuda.device_text import DeviceKernel, DeviceTarget
    from .codegen.cuda.planning import BlockPlan, KernelStep

__all__ = ["DeviceInterpreter", "DeviceProgram"]

# INGOT_CUDA_GRAPHS=0 launches every kernel of every call anew.
_RECORDS = os.environ.get("INGOT_CUDA_GRAPHS", "1") != "0"
# Recorded calls that a program keeps, each for other sizes.
MAX_REPLAYS = 32


class DeviceProgram:
    """A graph on a device. Called with arrays of the device and numbers, it gives the graph's results there.

    `launcher` runs kernels; `plan` makes the plan of a block. `graph` is in the form that kernels are made from.
    """

    def __init__(
        self,
        graph: Graph,
        place: device,
        launcher: Launcher,
        target: "DeviceTarget",
        plan: "Callable[[Block, DeviceTarget], BlockPlan]",
        errors: Mapping[int, tuple[str, str]],
        exceptions: Mapping[str, type[BaseException]] | None = None,
    ) -> None:
        self.graph = graph
        self.place = place
        self.launcher = launcher
        self.target = target
        self.errors = dict(errors)
        self.exceptions = dict(exceptions or {})
        self.constants: dict[Value, Any] = {}
        self._make_plan = plan
        self._plans: dict[Block, BlockPlan] = {}
        self._last_uses: dict[Block, list[list[Value]]] = {}
        self._lock = threading.RLock()
        self._is_static: bool | None = None
        self._replays: dict[Any, Replay | bool] = {}
        self.recording_failure = ""  # why calls are not recorded, if that failed

    def plan(self, block: Block) -> "BlockPlan":
        """How a block runs, made when it first does."""
        found = self._plans.get(block)
        if found is None:
            with self._lock:
                found = self._plans.get(block)
                if found is None:
                    found = self._plans[block] = self._make_plan(block, self.target)
        return found

    def plans(self) -> "list[BlockPlan]":
        """The plans of all blocks, those that have not run yet included."""
        return [self.plan(block) for block in _blocks(self.graph)]

    def kernels(self) -> "list[DeviceKernel]":
        """Every kernel that the program may run, each once."""
        found: dict[str, DeviceKernel] = {}
        for plan in self.plans():
            for step in plan.steps:
                if not isinstance(step, Instruction):
                    for kernel in _kernels_of(step):
                        found.setdefault(kernel.name, kernel)
        return list(found.values())

    def last_uses(self, block: Block) -> list[list[Value]]:
        """For each step of a block, the values that no later one needs: their memory is free then."""
        found = self._last_uses.get(block)
        if found is None:
            plan = self.plan(block)
            last: dict[Value, int] = {}
            made: set[Value] = set()

            def use(value: Value, position: int) -> None:
                while value is not None:
                    last[value] = position
                    value = plan.aliases.get(value)  # type: ignore[assignment]

            for position, step in enumerate(plan.steps):
                reads, writes = _touched(step)
                for value in reads:
                    use(value, position)
                for value in writes:
                    use(value, position)
                    made.add(value)
            for value in block.instructions[-1].inputs:
                use(value, len(plan.steps))
            found = [[] for _ in range(len(plan.steps) + 1)]
            for value, position in last.items():
                if value in made:
                    found[position].append(value)
            self._last_uses[block] = found
        return found

    # -- recorded calls ------------------------------------------------------------------------------------------------

    @property
    def is_static(self) -> bool:
        """Whether a call does nothing but launch kernels, which sizes alone decide: then it can be recorded."""
        if self._is_static is None:
            self._is_static = self._launches_only()
        return self._is_static

    def _launches_only(self) -> bool:
        if not all(isinstance(a.type, TensorType) for a in self.graph.arguments):
            return False
        records_library = getattr(self.launcher, "records_library", False)
        plan = self.plan(self.graph.block)
        for step in plan.steps:
            if isinstance(step, Instruction):
                if not _is_of_sizes(step):
                    return False
                continue
            sources = {p.source[0] for k in _kernels_of(step) for p in k.parameters}
            if "status" in sources or (step.copies and not records_library):
                return False
        made = {v for step in plan.steps if not isinstance(step, Instruction) for v in step.targets}
        return all(v in made for v in self.graph.results)

    @functools.cached_property
    def launches(self) -> int:
        """How many launches a call is, where it is static."""
        return sum(_launches_of(s) for s in self.plan(self.graph.block).steps if not isinstance(s, Instruction))

    def replay(self, given: Sequence[Any]) -> list[Any] | None:
        """The results by a recorded call; None where there is none. A call of sizes seen before is recorded."""
        if not _RECORDS or self.recording_failure or not hasattr(self.launcher, "record") or not self.is_static:
            return None
        count = len(given) - len(self.graph.parameters)
        inputs, parameters = given[:count], given[count:]
        if any([a.__class__ is np.ndarray for a in inputs]):
            return None
        key = tuple([a.shape for a in given])
        with self._lock:  # the recorded kernels have one place for their inputs
            found = self._replays.get(key)
            if isinstance(found, Replay) and found.holds(parameters):
                return found(inputs)
            if found is False:
                return None
            if found is None:
                # The first call of these sizes runs as it is: many calls are made once.
                if len(self._replays) < MAX_REPLAYS:
                    self._replays[key] = pays_off(self.launches, inputs)
                return None
            try:
                replay = record_call(self.launcher, self._launched, inputs, parameters)  # type: ignore[arg-type]
            except Exception as error:  # whatever the driver does not like to record runs as before
                self.recording_failure = f"{type(error).__name__}: {error}"
                return None
            if not pays_off(self.launches, [*replay.inputs, *replay.results]):
                self._replays[key] = False
                return None
            self._replays[key] = replay
            return replay(inputs)

    def _launched(self, arguments: Sequence[Any]) -> list[Any]:
        return list(DeviceInterpreter(self).run(list(arguments)))

    def finished(self, result: Any) -> Any:
        """A result with memory of its own: views of what else was computed are copied."""
        if not is_array(result):
            return result
        result = move_array(result, self.place) if isinstance(result, np.ndarray) else result
        return result if result.base is None else result.copy()

    def __call__(self, arguments: Sequence[Any]) -> list[Any]:
        """Run on arrays and numbers, one per graph argument."""
        # In the device's context, and with its errors made clear.
        results: list[Any] = make_on(self.place, lambda xp: self.run(arguments))
        return results

    def run(self, arguments: Sequence[Any]) -> list[Any]:
        """What a call does on the current device."""
        given = [a if isinstance(a, np.ndarray) or not is_array(a) else _contiguous(a, self.place) for a in arguments]
        replayed = self.replay(given)
        if replayed is not None:
            return replayed
        interpreter = DeviceInterpreter(self)
        try:
            results = interpreter.run(list(given))
            own = {id(copy): original for copy, original in zip(given, arguments, strict=True)}
            return [own.get(id(r), self.finished(r)) for r in results]
        except Exception as error:
            location = getattr(error, "__ingot_located__", None)
            if location is None:
                raise
            raise_error_at(error, location)


class DeviceInterpreter(Interpreter):
    """Runs one call of a device program."""

    def __init__(self, program: DeviceProgram) -> None:
        super().__init__(program.graph, np, program.exceptions, False)  # type: ignore[arg-type]
        self.program = program
        self.reports: list[tuple[Any, KernelStep]] = []

    # -- blocks --------------------------------------------------------------------------------------------------------

    def block(self, block: Block) -> list[Any]:
        program = self.program
        plan = program.plan(block)
        finished = program.last_uses(block)
        # What an earlier round of a loop made is not what this one makes: that may be carried on.
        for instruction in block.instructions:
            for result in instruction.results:
                self.values.pop(result, None)
        outer, self.reports = self.reports, []
        try:
            for position, step in enumerate(plan.steps):
                if isinstance(step, Instruction):
                    self.run_instruction(step)
                else:
                    self.run_step(step)
                for value in finished[position]:
                    self.values.pop(value, None)
            self.raise_reported()
        finally:
            self.reports = outer
        return [self.value(v) for v in block.instructions[-1].inputs]

    def value(self, value: Value) -> Any:
        """What a value is; a view of another's memory is made here."""
        found = self.values.get(value)
        if found is None and value not in self.values:
            source = self.aliased(value)
            if source is None:
                instruction = value.instruction
                assert instruction is not None
                # Computed inside kernels, and small: a size or a constant that a branch passes on.
                self.run_instruction(instruction)
                return self.values[value]
            found = self.values[value] = self.value(source).reshape(self.shape(value))
        return found

    def on_device(self, value: Value) -> Any:
        """An array, moved to the device where it is a number's that the host made."""
        found = self.value(value)
        if isinstance(found, np.ndarray):
            found = self.values[value] = move_array(found, self.program.place)
        return found

    def aliased(self, value: Value) -> Value | None:
        block = value.block if value.instruction is None else value.instruction.block
        plan = self.program._plans.get(block) if block is not None else None
        return plan.aliases.get(value) if plan is not None else None

    def shape(self, value: Value) -> tuple[int, ...]:
        assert isinstance(value.type, TensorType)
        return tuple([self.size(dim) for dim in value.type.shape])

    def size(self, dim: Dim) -> int:
        if isinstance(dim, DimExpr):
            dim = substitute(dim, self.sizes)
            if not isinstance(dim, int):
                raise RuntimeError(f"the size {dim} has no value here")
        return dim

    # -- op by op ------------------------------------------------------------------------------------------------------

    def run_instruction(self, instruction: Instruction) -> None:
        """An instruction without a kernel, with the location in what it raises."""
        for operand in instruction.inputs:
            self.value(operand)
        for region in instruction.regions:
            for inner in region.walk():
                for operand in inner.inputs:
                    if self.aliased(operand) is not None and operand not in self.values:
                        self.value(operand)
        self.execute(instruction)

    def instruction(self, instruction: Instruction) -> Sequence[Any]:
        op = instruction.op
        makes_tensor = any(isinstance(r.type, TensorType) for r in instruction.results)
        if op.name == "constant" and makes_tensor:
            return (self.constant(instruction),)
        reads_tensor = any(isinstance(v.type, TensorType) for v in instruction.inputs)
        moves_only = op.evaluate is None or instruction.regions or op.name.partition(".")[0] in _CONTAINERS
        if moves_only or not (makes_tensor or reads_tensor) or op.name in _CONTROL:
            return super().instruction(instruction)
        operands = [None if v is None else self.values[v] for v in instruction.operands]
        if not makes_tensor and all(not is_array(o) or isinstance(o, np.ndarray) for o in operands):
            return super().instruction(instruction)  # a number that is on the host already
        self.check_broadcast(instruction)
        place = self.program.place
        operands = [move_array(o, place) if isinstance(o, np.ndarray) else o for o in operands]
        results = run_on(place, op, op.schema.unflatten(operands), instruction.attributes)
        results = results if isinstance(results, tuple) else (results,)
        # Kernels may write into a result's memory: it must not be an operand's.
        return tuple(
            self.own(r, operands) if isinstance(value.type, TensorType) else r
            for r, value in zip(results, instruction.results, strict=True)
        )

    def own(self, result: Any, operands: Sequence[Any]) -> Any:
        """A result of the array module, contiguous and in memory of its own."""
        if result.base is not None or any(result is o for o in operands):
            return result.copy()  # contiguous, too
        return _contiguous(result, self.program.place)

    def constant(self, instruction: Instruction) -> Any:
        """A constant on the device, copied there once."""
        (value,) = instruction.results
        found = self.program.constants.get(value)
        if found is None:
            array = instruction.attributes["value"]
            assert isinstance(array, Array)
            found = move_array(np.ascontiguousarray(array.require()), self.program.place)
            self.program.constants[value] = found
        return found

    # -- kernels -------------------------------------------------------------------------------------------------------

    def run_step(self, step: "KernelStep") -> None:
        """Allocate what the step makes, and launch its kernels."""
        if step.library is not None and self.uses_library(step):
            if step.library.op.name == "conv2d":
                convolve(self, step)
            else:
                self.run_instruction(step.library)
            if step.after is not None:
                self.run_step(step.after)
            return
        for target in step.targets:
            if target in self.values:
                continue  # made part by part
            assert isinstance(target.type, TensorType)
            source = step.copies.get(target)
            self.values[target] = (
                self.empty(self.shape(target), target.type.dtype.numpy)
                if source is None
                else self.on_device(source).copy()
            )
        temporaries = [self.empty((self.size(t.count),), t.dtype.numpy) for t in step.temporaries]
        report = None
        for kernel in step.kernels:
            if any(p.source == ("status",) for p in kernel.parameters) and report is None:
                report = make_on(self.program.place, lambda xp: xp.zeros(1, np.int64))
                self.reports.append((report, step))
            self.launch(kernel, temporaries, report)

    def uses_library(self, step: "KernelStep") -> bool:
        """Whether the array module computes a product better than the kernel, or the kernel has no room for it."""
        assert step.library is not None
        if any(self.size(dim) > most for dim, most in step.limits):
            return True
        if any(form.most and self.is_for(form) for form in _forms(step.kernels[0])):
            return False  # which has a kernel for just such sizes
        library = getattr(self.program.launcher, "prefers_library", None)
        if library is None or step.library.attributes.get("groups", 1) != 1:
            return False
        return bool(library(step.library.op.name, self.size(step.work)))

    def launch(self, kernel: "DeviceKernel", temporaries: Sequence[Any], report: Any) -> None:
        grid, target = kernel.grid, self.program.target
        n = self.size(grid.n)
        if n == 0:
            return
        arguments = self.arguments(kernel, temporaries, report)
        form = self.fastest(kernel, arguments)
        if form.parameters != kernel.parameters:
            arguments = self.arguments(form, temporaries, report)
        kernel = form
        grid, n = kernel.grid, self.size(kernel.grid.n)
        length = self.size(grid.length)
        threads = threads_of(grid.kind, n, length, grid.threads, target.threads, target.warp, target.blocks)
        shared = 0
        if kernel.shared != 0:
            shared = self.size(kernel.shared) * threads[2]
            if shared > target.row_bytes:  # one row a block, where several do not fit
                threads = ((min(n, target.blocks),), (target.threads, 1), 1)
                shared = self.size(kernel.shared)
        self.program.launcher.launch(kernel, threads, shared, arguments)

    def is_for(self, form: "DeviceKernel") -> bool:
        """Whether no size is larger than a form of a kernel is meant for."""
        return all(self.size(dim) <= most for dim, most in form.most)

    def fastest(self, kernel: "DeviceKernel", arguments: Sequence[Any]) -> "DeviceKernel":
        """The fastest form of a kernel that these sizes and this memory allow."""
        found, aligned = kernel, None
        for form in _forms(kernel.faster):
            fits = self.size(form.shared) <= self.program.target.row_bytes and self.is_for(form)
            if fits and form.lanes > 1:
                if aligned is None:
                    aligned = all(not hasattr(a, "data") or a.data.ptr % 16 == 0 for a in arguments)
                fits = aligned and all(self.size(d) % form.lanes == 0 for d in form.divisible)
            if fits:
                found = form
        return found

    def arguments(self, kernel: "DeviceKernel", temporaries: Sequence[Any], report: Any) -> list[Any]:
        """What a kernel's parameters stand for in this call."""
        arguments: list[Any] = []
        for parameter in kernel.parameters:
            match parameter.source:
                case ("address", Value() as value):
                    flat = _flat_view(self.on_device(value))
                    # Kernels may read an element that they then do not use, and what has none has no address.
                    arguments.append(flat if flat.size else self.empty((1,), flat.dtype))
                case ("dim", dim):
                    arguments.append(self.size(dim))  # type: ignore[arg-type]
                case ("scalar", Value() as value):
                    arguments.append(self.value(value))
                case ("temporary", int() as index):
                    arguments.append(_flat_view(temporaries[index]))
                case _:
                    arguments.append(report)
        return arguments

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return make_on(self.program.place, lambda xp: xp.empty(shape, dtype))

    def raise_reported(self) -> None:
        """Raise what kernels of this block reported."""
        for report, step in self.reports:
            number = int(report.item())
            if number:
                exception, message = self.program.errors[number]
                raise_at(exception, message, step.location, self.program.exceptions)


_CONTAINERS = frozenset({"tuple", "list", "dict", "set", "optional", "record", "str", "scalar", "object"})
_CONTROL = frozenset({"if", "loop", "dim", "bind_dim", "require_equal", "undefined", "raise", "try", "save", "reraise"})


def _blocks(graph: Graph) -> list[Block]:
    """All blocks of a graph and of its functions."""
    pending = [graph.block, *[f.block for f in getattr(graph, "functions", {}).values()]]
    found = []
    while pending:
        block = pending.pop(0)
        found.append(block)
        pending[:0] = [region for instruction in block.instructions for region in instruction.regions]
    return found


def _forms(kernel: "DeviceKernel | None") -> "list[DeviceKernel]":
    """A kernel and its faster forms."""
    found = []
    while kernel is not None:
        found.append(kernel)
        kernel = kernel.faster
    return found


def _kernels_of(step: "KernelStep") -> "list[DeviceKernel]":
    found = []
    for kernel in step.kernels:
        found += [*_forms(kernel), *_forms(kernel.patches)]
    return found + (_kernels_of(step.after) if step.after is not None else [])


def _is_of_sizes(instruction: Instruction) -> bool:
    """Whether an instruction is a constant, or computes numbers of sizes alone, which are the same in every call."""
    if instruction.op.name == "constant":
        return True
    values = [*instruction.inputs, *instruction.results]
    has_effect = {Trait.EFFECT, Trait.RANDOM} & set(instruction.op.traits)
    return not instruction.regions and not has_effect and not any(isinstance(v.type, TensorType) for v in values)


def _launches_of(step: "KernelStep") -> int:
    return sum(1 if k.patches is None else 2 for k in step.kernels) + (
        _launches_of(step.after) if step.after is not None else 0
    )


def _touched(step: "KernelStep | Instruction") -> tuple[list[Value], list[Value]]:
    """The values that a step reads and those that it makes."""
    if isinstance(step, Instruction):
        inner = [v for region in step.regions for i in region.walk() for v in i.inputs]
        return [*step.inputs, *inner], list(step.results)
    reads = [p.source[1] for k in step.kernels for p in k.parameters if p.source[0] in ("address", "scalar")]
    reads += list(step.copies.values())
    writes = list(step.targets)
    if step.library is not None:
        reads += step.library.inputs
        writes += step.library.results
    if step.after is not None:
        more = _touched(step.after)
        reads, writes = reads + more[0], writes + more[1]
    return [v for v in reads if isinstance(v, Value)], writes


def _contiguous(array: Any, place: device) -> Any:
    """The array with its elements one after another, on the device."""
    if array.flags.c_contiguous:
        return array
    return make_on(place, lambda xp: xp.ascontiguousarray(array))


def _flat_view(array: Any) -> Any:
    """The elements of a contiguous array as kernels see them: bools are bytes, bfloat16 is 16 bits."""
    flat = array.reshape(-1)
    if flat.dtype == np.bool_:
        return flat.view(np.uint8)
    return flat.view(np.int16) if flat.dtype.kind == "V" or flat.dtype.name == "bfloat16" else flat
