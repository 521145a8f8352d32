"""Compiled graphs on a device: the plans of their blocks, and calls that need not be planned and walked again.

What the plan leaves over (sorting, factorisations, containers, printing) is computed op by op with the device's array
module (`device_interpreter`). Calls that only launch kernels are recorded as graphs of the driver, or prepared.
"""

import functools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..eager.device import array_module, device, make_on, move_array
from ..ir.core import Block, Graph, Instruction, Value
from ..ir.ops._op import Trait
from ..ir.types import TensorType
from .device_interpreter import DeviceInterpreter, contiguous, forms_of
from .placement import is_array
from .raising import raise_error_at
from .runtime.cuda_graphs import Replay, pays_off, record_call
from .runtime.cuda_launch import Launcher
from .runtime.prepared_call import PreparedCall, prepare_call

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
        self._prepared: dict[Any, PreparedCall | bool] = {}
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

    @property
    def recorded(self) -> int:
        """How many calls, each of other sizes, are recorded."""
        return sum(isinstance(r, Replay) for r in self._replays.values())

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
                return self.prepared(key, given)
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

    def prepared(self, key: Any, given: Sequence[Any]) -> list[Any] | None:
        """The results of a call whose launches are known, and which is not worth being recorded."""
        found = self._prepared.get(key)
        if found is False or not hasattr(self.launcher, "noted"):
            return None
        if isinstance(found, PreparedCall):
            return found(given, array_module(self.place).empty)
        interpreter = DeviceInterpreter(self)
        interpreter.made = []
        results: list[Any] = []
        launches = self.launcher.noted(lambda: results.extend(interpreter.run(list(given))))
        prepared = None
        if not self.calls_library:
            prepared = prepare_call(launches, self.launcher.function, given, interpreter.made, results)  # type: ignore[attr-defined]
        self._prepared[key] = False if prepared is None else prepared
        return [self.finished(r) for r in results]

    @functools.cached_property
    def calls_library(self) -> bool:
        """Whether a static call may launch other than kernels of its own."""
        steps = [s for s in self.plan(self.graph.block).steps if not isinstance(s, Instruction)]
        return any(s.library is not None or s.copies for s in steps)

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
        given = [a if isinstance(a, np.ndarray) or not is_array(a) else contiguous(a, self.place) for a in arguments]
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


def _blocks(graph: Graph) -> list[Block]:
    """All blocks of a graph and of its functions."""
    pending = [graph.block, *[f.block for f in getattr(graph, "functions", {}).values()]]
    found = []
    while pending:
        block = pending.pop(0)
        found.append(block)
        pending[:0] = [region for instruction in block.instructions for region in instruction.regions]
    return found


def _kernels_of(step: "KernelStep") -> "list[DeviceKernel]":
    found = []
    for kernel in step.kernels:
        found += [*forms_of(kernel), *forms_of(kernel.patches)]
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
