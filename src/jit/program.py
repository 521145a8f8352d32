"""A compiled graph that can be called on arrays: argument sizes become a plan once, then every call is one native call.

`NativeProgram` runs machine code, `PythonProgram` the same generated sources un-jitted on the same tables, and
`InterpreterProgram` the graph itself; all take arrays and numbers and return arrays and numbers.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from ..ir.random_state import default_generator
from ..ir.recursion import deep_recursion
from ..ir.types import BoolType, ComplexType, DictType, FloatType, IntType, ListType, SetType, StrType, TensorType, Type
from .codegen.module import STATUS_INTERPRET, STATUS_OUT_OF_MEMORY, ArgumentSpec, GeneratedModule, ResultSpec
from .errors import JitError, Unsupported
from .layout import Layout
from .memory_form import Transfer, read_float, slot_count
from .plan import Plan, SizeBinding, allocator_of
from .raising import arguments_of, raise_at, raise_error_at
from .runtime import pool
from .runtime.frame import HEADER, STATUS_COPY_NEEDED, CallState, Descriptor, call_driver, enter
from .runtime.host import take_error
from .runtime.loader import load_object
from .runtime.memory import address_of, recycler, workspace
from .runtime.quick_call import QuickPlan, quick_call
from .runtime.stack_limits import native_limits, unbounded_limits

if TYPE_CHECKING:
    from ..ir.core import Graph

__all__ = ["InterpreterProgram", "Layout", "NativeProgram", "Program", "PythonProgram"]

_OBJECTS = (ListType, DictType, SetType, StrType, ComplexType)
# Plans kept per program: one for each set of argument sizes.
MAX_PLANS = 256


class Program(Protocol):
    """Runs a graph on arrays and numbers, one per graph argument, and returns one value per graph result."""

    def __call__(self, arguments: Sequence[Any]) -> list[Any]: ...


class _PlannedProgram:
    """What native and un-jitted execution share: plans, arguments, results and errors."""

    def __init__(self, layout: Layout, exceptions: Mapping[str, type[BaseException]] | None = None) -> None:
        self.layout = layout
        self.binding = SizeBinding(
            [spec.name for spec in layout.arguments], [spec.type for spec in layout.arguments], layout.guards
        )
        self.exceptions = dict(exceptions or {})
        # Whether functions call each other, which need to know how deep they may.
        self.recurses = any(site.exception == "RecursionError" for site in layout.errors)
        self.interpreter: Callable[[], Program] | None = None
        self._plans: dict[Any, Plan] = {}
        self._states: list[CallState] = []
        self._n_result_slots = sum(slot_count(result) for result in layout.results)
        self._first_result = HEADER + len(layout.arguments)
        self._written = [i for i, spec in enumerate(layout.arguments) if spec.written]
        # Values that decide the plan: the shapes of arrays, and ints that are sizes.
        self._tensors = [i for i, spec in enumerate(layout.arguments) if isinstance(spec.type, TensorType)]
        self._objects = [i for i, spec in enumerate(layout.arguments) if isinstance(spec.type, _OBJECTS)]
        self._size_arguments = [
            i
            for i, spec in enumerate(layout.arguments)
            if isinstance(spec.type, TensorType) or (isinstance(spec.type, IntType) and spec.type.value is not None)
        ]

    def plan_for(self, arguments: Sequence[Any]) -> Plan:
        """The plan for arguments of these sizes, made once; RuntimeError where they do not fit the graph."""
        key = tuple([a.shape if hasattr(a := arguments[i], "shape") else a for i in self._size_arguments])
        plan = self._plans.get(key)
        if plan is None:
            values, reason = self.binding.bind(arguments)
            if values is None:
                raise RuntimeError(f"{self.layout.name}: {reason}")
            plan = Plan(self.layout, values)
            while len(self._plans) >= MAX_PLANS:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[key] = plan
        return plan

    def _new_state(self, descriptor: int) -> CallState:
        return CallState(descriptor, self._n_result_slots, self.layout.scratch_slots)

    def _collect(
        self, plan: Plan, arguments: Sequence[Any], outputs: Sequence[Any], state: CallState, transfer: Transfer
    ) -> list[Any]:
        """The results in order, from allocated outputs and what the driver wrote."""
        slots = state.results()
        results: list[Any] = []
        position = 0
        for result, output in zip(self.layout.results, outputs, strict=True):
            match result.kind:
                case "output":
                    results.append(output)
                case "argument":
                    results.append(arguments[result.index])
                case "constant":
                    # A copy: the caller may write to what it gets.
                    results.append(self.layout.constants[result.index].copy())
                case "runtime":
                    results.append(transfer.value(result.type, slots[position : position + slot_count(result)]))
                case "scalar":
                    results.append(_scalar(result.type, slots[position]))
                case "list":
                    results.append(transfer.value(result.type, slots[position : position + slot_count(result)]))
                case kind:
                    raise JitError(f"{self.layout.name}: result kind {kind!r} is not known")
            position += slot_count(result)
        return results

    def _fail(self, status: int, details: tuple[int, int]) -> NoReturn:
        """Raise what an error status means."""
        if status == STATUS_OUT_OF_MEMORY:
            raise MemoryError(f"{self.layout.name}: out of memory")
        if not 1 <= status <= len(self.layout.errors):
            raise JitError(
                f"{self.layout.name}: native code returned status {status}, which means nothing: please report it"
            )
        site = self.layout.errors[status - 1]
        message = site.message
        if message == "{host}":
            raise_error_at(take_error(), site.location)
        raise_at(site.exception, "", site.location, self.exceptions, arguments_of(message, details))

    def _separate(self, arguments: Sequence[Any], transfer: Transfer) -> tuple[list[Any], list[tuple[Any, Any]]]:
        """Arguments fit for native code, and pairs (original, copy) to be written back.

        Arrays that are not contiguous are copied, and so are arrays that the driver writes while another argument
        shares their memory. Strings and containers become objects in the arena.
        """
        prepared = list(arguments)
        back: list[tuple[Any, Any]] = []
        for i in self._objects:
            prepared[i] = transfer.argument(self.layout.arguments[i].type, arguments[i])
        for i in self._tensors:
            array = arguments[i]
            flags = array.flags
            overlaps = i in self._written and any(
                j != i and np.may_share_memory(array, arguments[j]) for j in self._tensors
            )
            if overlaps or not (flags.c_contiguous and flags.aligned):
                # A plain ndarray in C order, even from a subclass.
                prepared[i] = np.array(array, order="C", copy=True, subok=False)
                if i in self._written:
                    back.append((array, prepared[i]))
        for i in self._written:
            if not arguments[i].flags.writeable:
                raise ValueError(
                    f"{self.layout.name}: argument {self.layout.arguments[i].name} is written, but read-only"
                )
        return prepared, back

    def _update(self, arguments: Sequence[Any], transfer: Transfer) -> None:
        """Bring the containers among the arguments to what the program made of them."""
        transfer.update_arguments((self.layout.arguments[i].type, arguments[i]) for i in self._objects)

    def _allocate(self, plan: Plan) -> list[Any]:
        return [None if output is None else recycler.empty(*output) for output in plan.outputs]


def _scalar(type: Type, slot: int) -> Any:
    match type:
        case BoolType():
            return slot != 0
        case FloatType():
            return read_float(slot)
        case IntType():
            return slot
    raise JitError(f"a native program cannot return a {type}")


def _slot(type: Type, value: Any) -> int:
    """A number as the 8-byte slot that holds it."""
    return struct.unpack("=q", struct.pack("=d", value))[0] if isinstance(type, FloatType) else int(value)


class NativeProgram(_PlannedProgram):
    """Machine code for one graph."""

    def __init__(
        self, layout: Layout, blob: bytes, exceptions: Mapping[str, type[BaseException]] | None = None
    ) -> None:
        super().__init__(layout, exceptions)
        self.object = blob
        self._driver = load_object(blob, [layout.driver])[layout.driver]
        self._descriptor = Descriptor(
            self._driver,
            self._first_result + self._n_result_slots,
            self._first_result,
            [HEADER + i for i in self._tensors],
        )
        self._enter = enter("".join(_kind(spec.type) for spec in layout.arguments), _result_kinds(layout.results))

    def __call__(self, arguments: Sequence[Any]) -> list[Any]:
        """Run on arrays and numbers, one per graph argument."""
        return self.run(self.plan_for(arguments), arguments)

    def run(self, plan: Plan, arguments: Sequence[Any]) -> list[Any]:
        """Run with a plan that is known to fit the arguments."""
        return (plan.call or self.call_for(plan))(arguments)

    def call_for(self, plan: Plan) -> Callable[[Sequence[Any]], list[Any]]:
        """The function from arguments that fit a plan to results."""
        if plan.call is None:
            plan.call = self._make_call(plan)
        return plan.call

    def _make_call(self, plan: Plan) -> Callable[[Sequence[Any]], list[Any]]:
        """The function that runs one plan. Everything that it needs is a local of a closure: this is the hot path."""
        enter, states, first_new = self._enter, self._states, self._descriptor.address
        allocators = plan.allocators
        plain = enter is not None and not self._objects and not self.layout.uses_arena
        if plain and self._written and all(r.kind in ("output", "argument") for r in self.layout.results):
            assert enter is not None
            return self._make_writing_call(plan, enter)
        simple = plain and not self._written and not self.recurses
        if simple and allocators is None and all(r.kind in ("output", "scalar") for r in self.layout.results):
            assert enter is not None
            return self._make_scalar_call(plan, enter)
        if enter is None or self._written or self._objects or self.layout.uses_arena or allocators is None:
            return lambda arguments: self._run_general(plan, arguments, self._take_state())
        address, nbytes = plan.address, plan.workspace
        pool_address, generator = pool.pool_address, default_generator.address
        acquire, release = workspace.acquire, workspace.release

        def run(arguments: Sequence[Any]) -> list[Any]:
            try:
                state = states.pop()
            except IndexError:
                state = self._new_state(first_new)
            outputs = [allocate() for allocate in allocators]
            if nbytes:
                block = acquire(nbytes)
                status = enter(
                    address,
                    block.address,
                    pool_address(),
                    0,
                    generator,
                    0,
                    state.scratch,
                    state.call,
                    *arguments,
                    *outputs,
                )
                release(block)
            else:
                status = enter(
                    address, 0, pool_address(), 0, generator, 0, state.scratch, state.call, *arguments, *outputs
                )
            if status:
                return self._not_done(plan, arguments, state, status)
            states.append(state)
            return outputs

        return run

    def quick_call(self, plan: Plan, arrays: Sequence[Any], tensor: type) -> Callable[..., Any] | None:
        """A function from tensors over such arrays to the tensor that results, or None (see `runtime.quick_call`).

        It is for drivers that cannot fail and write nothing but their one result: others have something to tell Python.
        """
        layout = self.layout
        if layout.errors or layout.uses_arena or self._written or plan.allocators is None or len(plan.outputs) != 1:
            return None
        if len(self._tensors) != len(layout.arguments) or (result := plan.outputs[0]) is None:
            return None
        shape, dtype = result
        about = QuickPlan(
            self._driver,
            plan.address,
            default_generator.address,
            self._descriptor.address,
            pool.pool_cell(),
            plan.workspace,
            layout.scratch_slots,
            [(a.dtype, a.shape) for a in arrays],
            (dtype, shape),
        )
        return quick_call(tensor, about, (self, plan))

    def _make_writing_call(self, plan: Plan, enter: Callable[..., int]) -> Callable[[Sequence[Any]], list[Any]]:
        """The function that runs one plan of a program that writes arguments, as a training step does."""
        address, nbytes = plan.address, plan.workspace
        pool_address, generator = pool.pool_address, default_generator.address
        acquire, release = workspace.acquire, workspace.release
        tensors, written, states = self._tensors, self._written, self._states
        makers = [None if output is None else allocator_of(*output) for output in plan.outputs]
        places = [None if result.kind == "output" else result.index for result in self.layout.results]

        def run(arguments: Sequence[Any]) -> list[Any]:
            # Arrays of different owners share no memory; others are looked at in detail.
            owners = {id(a) if (a := arguments[i]).base is None else id(a.base) for i in tensors}
            if len(owners) != len(tensors) or not all([arguments[i].flags.writeable for i in written]):
                return self._run_general(plan, arguments, self._take_state())
            state = self._take_state()
            slots = [0 if make is None else make() for make in makers]
            block = acquire(nbytes)
            status = enter(
                address,
                block.address,
                pool_address(),
                0,
                generator,
                0,
                state.scratch,
                state.call,
                *arguments,
                *slots,
            )
            release(block)
            if status:
                return self._not_done(plan, arguments, state, status)
            states.append(state)
            return [slot if place is None else arguments[place] for slot, place in zip(slots, places, strict=True)]

        return run

    def _make_scalar_call(self, plan: Plan, enter: Callable[..., int]) -> Callable[[Sequence[Any]], list[Any]]:
        """The function that runs one plan of a program that returns numbers, perhaps beside tensors."""
        address, nbytes = plan.address, plan.workspace
        pool_address, generator = pool.pool_address, default_generator.address
        acquire, release, states = workspace.acquire, workspace.release, self._states
        makers = [None if output is None else allocator_of(*output) for output in plan.outputs]
        types = [result.type for result in self.layout.results]

        def run(arguments: Sequence[Any]) -> list[Any]:
            state = self._take_state()
            slots = [0 if make is None else make() for make in makers]
            block = acquire(nbytes) if nbytes else None
            memory = 0 if block is None else block.address
            status = enter(
                address, memory, pool_address(), 0, generator, 0, state.scratch, state.call, *arguments, *slots
            )
            if block is not None:
                release(block)
            if status == STATUS_INTERPRET and self.interpreter is not None:
                states.append(state)
                return self.interpreter()(arguments)
            if status:
                return self._not_done(plan, arguments, state, status)
            numbers = state.results()
            states.append(state)
            return [
                _scalar(type, number) if make is None else slot
                for type, number, make, slot in zip(types, numbers, makers, slots, strict=True)
            ]

        return run

    def _take_state(self) -> CallState:
        try:
            return self._states.pop()
        except IndexError:
            return self._new_state(self._descriptor.address)

    def _not_done(self, plan: Plan, arguments: Sequence[Any], state: CallState, status: int) -> list[Any]:
        if status == STATUS_COPY_NEEDED:
            return self._run_general(plan, arguments, state)
        details = state.details()
        self._states.append(state)
        self._fail(status, details)

    def _run_general(self, plan: Plan, arguments: Sequence[Any], state: CallState) -> list[Any]:
        block = workspace.acquire(plan.workspace)
        pools, generator = pool.pool_address(), default_generator.address
        limits = native_limits() if self.recurses else 0
        header = (plan.address, block.address, pools, state.arena, generator, limits, state.scratch, state.call)
        try:
            transfer = Transfer(state.arena)
            prepared, back = self._separate(arguments, transfer)
            outputs = self._allocate(plan)
            slots = _result_arguments(self.layout.results, outputs)
            if self._enter is not None:
                status = self._enter(*header, *prepared, *slots)
            else:
                frame = _frame(header, self.layout.arguments, prepared, slots)
                status = call_driver(self._driver, ctypes.addressof(frame))
                state.store_outcome(frame, self._first_result)
            if status == STATUS_INTERPRET and self.interpreter is not None:
                return self.interpreter()(arguments)
            if status:
                if status != STATUS_OUT_OF_MEMORY:
                    self._update(arguments, transfer)  # what was done before the exception stays done
                self._fail(status, state.details())
            results = self._collect(plan, arguments, outputs, state, transfer)
            self._update(arguments, transfer)
            for original, copy in back:
                original[...] = copy
        finally:
            state.clear_arena()
            workspace.release(block)
            self._states.append(state)
        return results


class PythonProgram(_PlannedProgram):
    """The generated sources run as plain Python: slow, and under a debugger every line can be watched."""

    def __init__(self, module: GeneratedModule, exceptions: Mapping[str, type[BaseException]] | None = None) -> None:
        super().__init__(Layout.of(module), exceptions)
        from .codegen.numba_internals import entry_points, run_source

        names: dict[str, Any] = {}
        for kernel in module.kernels:
            space = run_source(kernel.name, kernel.source, {})
            names.update({entry.name: space[entry.name] for entry in entry_points(kernel.source)})
        self._driver: Callable[[int], int] = run_source(module.driver, module.driver_source, names)[module.driver]

    def __call__(self, arguments: Sequence[Any]) -> list[Any]:
        """Run on arrays and numbers, one per graph argument."""
        plan = self.plan_for(arguments)
        state = self._new_state(0)
        block = workspace.acquire(plan.workspace)
        generator = default_generator.address
        limits = unbounded_limits() if self.recurses else 0
        header = (plan.address, block.address, 0, state.arena, generator, limits, state.scratch, state.call)
        try:
            transfer = Transfer(state.arena)
            prepared, back = self._separate(arguments, transfer)
            outputs = self._allocate(plan)
            frame = _frame(header, self.layout.arguments, prepared, _result_arguments(self.layout.results, outputs))
            room = deep_recursion() if self.recurses else nullcontext()
            with room, np.errstate(all="ignore"), self._checks(plan, block.address, [*prepared, *outputs]):
                status = int(self._driver(ctypes.addressof(frame)))
            state.store_outcome(frame, self._first_result)
            if status == STATUS_INTERPRET and self.interpreter is not None:
                return self.interpreter()(arguments)
            if status:
                if status != STATUS_OUT_OF_MEMORY:
                    self._update(arguments, transfer)  # what was done before the exception stays done
                self._fail(status, state.details())
            results = self._collect(plan, arguments, outputs, state, transfer)
            self._update(arguments, transfer)
            for original, copy in back:
                original[...] = copy
        finally:
            state.clear_arena()
            workspace.release(block)
        return results

    def _checks(self, plan: Plan, memory: int, arrays: Sequence[Any]) -> AbstractContextManager[None]:
        """Bounds checks of all tensors' memory where INGOT_CHECK_BOUNDS asks for them."""
        if os.environ.get("INGOT_CHECK_BOUNDS", "") in ("", "0"):
            return nullcontext()
        from .codegen.primitives import check_bounds

        known = [a for a in (*arrays, *self.layout.constants) if isinstance(a, np.ndarray)]
        regions = [(address_of(a), a.nbytes) for a in known]
        return check_bounds([*regions, *((memory + offset, nbytes) for offset, nbytes in plan.buffers)])


class InterpreterProgram:
    """The graph run op by op with numpy: the reference."""

    def __init__(self, graph: "Graph", exceptions: Mapping[str, type[BaseException]] | None = None) -> None:
        self.graph = graph
        self.exceptions = dict(exceptions or {})

    def __call__(self, arguments: Sequence[Any]) -> list[Any]:
        """Run on arrays and numbers, one per graph argument."""
        from ..ir import interp

        try:
            return list(interp.run(self.graph, list(arguments), exceptions=self.exceptions))  # type: ignore[arg-type]
        except Exception as error:
            location = getattr(error, "__ingot_located__", None)
            if location is None:
                raise
            raise_error_at(error, location)


def _kind(type: Type) -> str:
    match type:
        case TensorType():
            return "a"
        case FloatType():
            return "f"
        case IntType() | BoolType():
            return "i"
        case _ if isinstance(type, _OBJECTS):
            return "i"
    raise Unsupported(f"native code takes no argument of type {type}")


def _result_kinds(results: Sequence[ResultSpec]) -> str:
    return "".join("p" if result.kind == "output" else "i" * slot_count(result) for result in results)


def _result_arguments(results: Sequence[ResultSpec], outputs: Sequence[Any]) -> list[Any]:
    slots: list[Any] = []
    for result, output in zip(results, outputs, strict=True):
        slots.extend([output] if result.kind == "output" else [0] * slot_count(result))
    return slots


def _frame(
    header: Sequence[int], specs: Sequence[ArgumentSpec], arguments: Sequence[Any], results: Sequence[Any]
) -> "ctypes.Array[ctypes.c_int64]":
    """A frame in memory, as the native entry would build it."""
    frame = (ctypes.c_int64 * (len(header) + len(specs) + len(results)))(*header)
    for index, (spec, argument) in enumerate(zip(specs, arguments, strict=True), len(header)):
        if isinstance(spec.type, TensorType):
            frame[index] = address_of(argument)
        else:
            frame[index] = _slot(spec.type, argument)
    for index, result in enumerate(results, len(header) + len(specs)):
        frame[index] = address_of(result) if isinstance(result, np.ndarray) else result
    return frame
