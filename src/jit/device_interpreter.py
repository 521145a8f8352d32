"""One call of a device program: the host walks the plans of blocks, launches kernels, decides branches and loops.

A condition that depends on data costs one copy of one flag; what kernels report is read once per block.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..eager.device import device, make_on, move_array
from ..eager.placement import run_on
from ..ir.core import Array, Block, Instruction, Value
from ..ir.dims import Dim, DimExpr, substitute
from ..ir.interp import Interpreter
from ..ir.types import TensorType
from .device_convolution import convolve
from .placement import is_array
from .raising import raise_at
from .runtime.cuda_launch import threads_of

if TYPE_CHECKING:
    from .codegen.cuda.device_text import DeviceKernel
    from .codegen.cuda.planning import KernelStep
    from .device_program import DeviceProgram

__all__ = ["DeviceInterpreter", "contiguous", "forms_of"]


class DeviceInterpreter(Interpreter):
    """Runs one call of a device program."""

    def __init__(self, program: "DeviceProgram") -> None:
        super().__init__(program.graph, np, program.exceptions, False)  # type: ignore[arg-type]
        self.program = program
        self.reports: list[tuple[Any, KernelStep]] = []
        self.made: list[Any] | None = None  # what was allocated, where that must be known

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
        return contiguous(result, self.program.place)

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
        if any(form.most and self.is_for(form) for form in forms_of(step.kernels[0])):
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
        for form in forms_of(kernel.faster):
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
        array = make_on(self.program.place, lambda xp: xp.empty(shape, dtype))
        if self.made is not None:
            self.made.append(array)
        return array

    def raise_reported(self) -> None:
        """Raise what kernels of this block reported."""
        for report, step in self.reports:
            number = int(report.item())
            if number:
                exception, message = self.program.errors[number]
                raise_at(exception, message, step.location, self.program.exceptions)


_CONTAINERS = frozenset({"tuple", "list", "dict", "set", "optional", "record", "str", "scalar", "object"})
_CONTROL = frozenset({"if", "loop", "dim", "bind_dim", "require_equal", "undefined", "raise", "try", "save", "reraise"})


def forms_of(kernel: "DeviceKernel | None") -> "list[DeviceKernel]":
    """A kernel and its faster forms, each faster than the one before."""
    found = []
    while kernel is not None:
        found.append(kernel)
        kernel = kernel.faster
    return found


def contiguous(array: Any, place: device) -> Any:
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
