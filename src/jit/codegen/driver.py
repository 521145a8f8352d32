"""The driver of a graph: one function that runs its kernels, scalar code, branches and loops, with no Python objects.

Tensors are addresses in local variables; their sizes are known from the plan or are locals too. Values that the driver
computes and kernels read (buffers) get an interval of positions in which they live, so that the plan can let them share
memory. A value that leaves a branch or a loop lives on under the name of that instruction's result.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir.core import Array, Block, Graph, Instruction, Value
from ...ir.dims import Dim, DimExpr, broadcasts, symbol, symbols
from ...ir.dtypes import DType
from ...ir.location import Location
from ...ir.open_sizes import opened
from ...ir.types import (
    BoolType,
    IntType,
    TensorType,
    Type,
    type_dims,
)
from ..runtime.pool_code import WORKERS
from . import helpers
from .bounds import LARGEST, highest_values, lowest, nonnegative_values
from .fusion import Group, Plan, Unsupported
from .image_layout import ImageLayout, layout_of, stored_elements
from .indexing import element_count
from .interface import argument_symbols, number_literal, value_location
from .kernel_text import Kernel, named_source, plain_source
from .layout import LAYOUT_IMPORTS, LAYOUT_SLOTS, zero_border_source
from .limits import LOW_SLOT, depth_limits
from .loops import Launch, lower_group
from .module import (
    FRAME_ARENA,
    FRAME_GENERATOR,
    FRAME_PLAN,
    FRAME_POOL,
    FRAME_SCRATCH,
    FRAME_WORKSPACE,
    STATUS_OUT_OF_MEMORY,
    Buffer,
    ErrorSite,
    KernelSource,
)

__all__ = ["Driver", "Storage"]


# Rows of a padded image whose border one range clears.
_BORDER_GRAIN = 256


@dataclass(eq=False)
class Storage:
    """Where a tensor lies: `address` is a local variable of the driver. Joined storages (`members`) live together."""

    address: str
    first: int = 0
    last: int = 0
    buffer: bool = False
    members: list["Storage"] = field(default_factory=list)
    arena: bool = False


@dataclass
class _LoopFrame:
    first: int
    place: int = 0  # where its text begins in the driver's lines
    depth: int = 1
    touched: list[Storage] = field(default_factory=list)


class Driver:
    """Writes the driver's source, and collects everything else that a generated module holds."""

    def __init__(self, graph: Graph, plan_block: Callable[["Driver", Block], Plan]) -> None:
        self.graph = graph
        self.plan_block = plan_block
        self.lines: list[str] = []
        self.pending: list[tuple[int, str]] = []  # integer slots of the next kernel's table
        self.depth = 1
        self.clock = 0
        self.loops: list[_LoopFrame] = []
        self.counters: dict[str, int] = {}
        self.storages: dict[Value, Storage] = {}
        self.aliases: dict[Value, Value] = {}
        self.locals: dict[Value, str] = {}  # scalars, lists
        self.packed: dict[Any, Storage] = {}  # weights packed before a loop
        self.texts: dict[Value, tuple[str, str]] = {}  # strings: address of the characters, and their number
        self.tuples: dict[Value, list[Value]] = {}
        self.sizes: list[Dim] = []
        self.size_names: dict[Dim, str] = {}
        self.symbol_locals: dict[str, str] = {}
        self.buffers: list[tuple[Dim, Storage]] = []
        self.constants: list[np.ndarray[Any, Any]] = []
        self.constant_keys: dict[object, str] = {}
        self.kernels: dict[str, KernelSource] = {}
        self.errors: list[ErrorSite] = []
        self.scratch_slots = 8
        self.uses_arena = False
        self.joins_text = False  # whether strings are joined, which needs a table of where they end
        self.calls_back = False  # whether it calls back into Python, which must not be done again
        self.may_interpret = False  # whether it may ask for the interpreter instead
        self.report: list[str] = []
        self.preferred: dict[Value, Storage] = {}
        self.writable: set[Value] = set()  # arguments of loops whose memory may be overwritten
        self.functions: dict[str, str] = {}  # pasted functions of the driver, by name
        self.tries: list[Any] = []  # the `try`s around what is being written (see `tries`)
        self.caught: dict[Value, set[int]] = {}  # the statuses that a caught error may have
        self.nesting = 0  # how many loops are around
        self.saves_generator = False
        self.imports: set[str] = set()  # helpers that the driver calls
        self.argument_symbols = argument_symbols(graph)
        self.nonnegative: set[Value] | None = None  # ints that are surely not negative, once somebody asked
        self.highest: dict[Value, int] | None = None  # upper bounds of some of them, likewise
        self.called: Any = None  # the functions that are called (see `functions`)

    # -- text --

    def line(self, text: str) -> None:
        self.flush_slots()
        if self.tries and text.startswith("return "):
            self.leave(text.removeprefix("return "))
            return
        self.lines.append("    " * self.depth + text)

    def leave(self, status: str) -> None:
        """Leave the innermost `try` with an error's status."""
        frame = self.tries[-1]
        if status.isdigit():
            frame.statuses.add(int(status))
        self.lines.append("    " * self.depth + f"{frame.status} = {status}")
        self.lines.append("    " * self.depth + "break")

    def caught_by(self, error: Value) -> set[int]:
        """The statuses that a caught error may have."""
        return self.caught.get(error) or {s for statuses in self.caught.values() for s in statuses}

    def restore_generator(self) -> None:
        """Put back what is in the slots that an error's details share."""
        self.saves_generator = True
        self.line(f"set_slot_i64(frame, {FRAME_GENERATOR}, generator)")
        if self.called is not None and self.called.graphs:
            self.line(f"set_slot_i64(frame, {LOW_SLOT}, low)")

    def flush_slots(self) -> None:
        """Write the slots that are waiting: runs of neighbours by one call, which is much faster to compile."""
        pending, self.pending = self.pending, []
        at = 0
        while at < len(pending):
            end = at + 1
            while end < len(pending) and pending[end][0] == pending[end - 1][0] + 1:
                end += 1
            values = ", ".join(text for _, text in pending[at:end])
            first = pending[at][0]
            if end - at == 1:
                text = f"set_slot_i64(p, {first}, {values})"
            else:
                self.imports.add("set_slots")
                text = f"set_slots(p, {first}, ({values}))"
            self.lines.append("    " * self.depth + text)
            at = end

    def fresh(self, prefix: str) -> str:
        number = self.counters.get(prefix, 0)
        self.counters[prefix] = number + 1
        return f"{prefix}{number}"

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        self.line(header)
        self.depth += 1
        start = len(self.lines)
        try:
            if loops := header.startswith(("while ", "for ")):
                self.nesting += 1
            yield
        finally:
            if len(self.lines) == start:
                self.line("pass")
            self.depth -= 1
            if loops:
                self.nesting -= 1
                if self.tries and self.nesting >= self.tries[-1].depth:
                    status = self.tries[-1].status
                    self.lines.append("    " * self.depth + f"if {status} != 0:")
                    self.lines.append("    " * self.depth + "    break")

    @contextmanager
    def before(self, loop: "_LoopFrame") -> Iterator[None]:
        """Write lines that stand before a loop which is being written."""
        self.flush_slots()
        lines, depth = self.lines, self.depth
        self.lines, self.depth = [], loop.depth
        try:
            yield
            self.flush_slots()
        finally:
            inserted, self.lines, self.depth = self.lines, lines, depth
        self.lines[loop.place : loop.place] = inserted
        for other in self.loops:
            if other is loop or other.place > loop.place:
                other.place += len(inserted)

    def error(self, exception: str, message: str, location: Location | None) -> int:
        """The status that reports an error."""
        site = ErrorSite(exception, message, location)
        if site not in self.errors:
            self.errors.append(site)
        return self.errors.index(site) + 1

    def fail_if(self, condition: str, exception: str, message: str, location: Location | None) -> None:
        with self.block(f"if {condition}:"):
            self.line(f"return {self.error(exception, message, location)}")

    # -- sizes --

    def size(self, dim: Dim) -> str:
        """A size as text: a literal, a value of the plan, or an expression over run-time sizes."""
        if isinstance(dim, int):
            return str(dim) if dim >= 0 else f"({dim})"
        if dim.symbols() <= self.argument_symbols:
            if dim not in self.size_names:
                self.size_names[dim] = f"n{len(self.sizes)}"
                self.sizes.append(dim)
            return self.size_names[dim]
        return f"({self.expression(dim)})"

    def expression(self, dim: DimExpr) -> str:
        """A size expression with symbols that the driver computes."""

        def replace(match: re.Match[str]) -> str:
            name = match.group()
            if name in ("max", "min"):
                return name
            if name == "bcast":
                self.functions[name] = _BCAST
                return name
            if name in self.symbol_locals:
                return self.symbol_locals[name]
            if name in self.argument_symbols:
                return self.size(DimExpr(dict(_symbol_terms(name))))
            raise Unsupported(f"the size {name} is not known where it is used")

        return re.sub(r"[A-Za-z_]\w*", replace, str(dim))

    def check_broadcasts(self, instruction: Instruction, checked: set[tuple[Dim, Dim]]) -> None:
        """Errors where sizes that no inference knew do not broadcast: kernels would read past the end."""
        pairs = [p for r in instruction.results for d in type_dims(r.type) for p in broadcasts(d)]
        for left, right in pairs:
            if (left, right) in checked:
                continue
            checked.add((left, right))
            a, b = self.size(left), self.size(right)
            with self.block(f"if {a} != {b} and {a} != 1 and {b} != 1:"):
                self.line(f"set_slot_i64(frame, 4, {a})")
                self.line(f"set_slot_i64(frame, 5, {b})")
                rule = "do not broadcast: they must be equal, or one of them 1"
                message = f"{instruction.op.name}: sizes {{0}} and {{1}} {rule}"
                self.line(f"return {self.error('RuntimeError', message, instruction.location)}")

    def bind_symbols(self, type: Type, sizes: Sequence[str]) -> None:
        """Make locals of the symbols that stand alone in a tensor type and have no value yet."""
        assert isinstance(type, TensorType)
        for dim, text in zip(type.shape, sizes, strict=True):
            if not isinstance(dim, DimExpr) or not dim.is_symbol():
                continue
            name = str(dim)
            if name in self.argument_symbols:
                continue
            if name not in self.symbol_locals:
                self.symbol_locals[name] = self.fresh("d")
            if self.symbol_locals[name] != text:
                self.line(f"{self.symbol_locals[name]} = {text}")

    def held(self, type: Type) -> Value:
        """The value inside an optional one of this type: sizes that are open get names of its own."""
        return Value(opened(type, lambda: symbol(f"open_{self.fresh('d')}")))

    def is_static(self, type: Type) -> bool:
        """Whether a tensor's sizes are known at the call."""
        assert isinstance(type, TensorType)
        return all(symbols(d) <= self.argument_symbols for d in type.shape)

    def nbytes(self, type: Type) -> Dim:
        assert isinstance(type, TensorType)
        nbytes: Dim = element_count(type.shape) * type.dtype.itemsize
        return nbytes

    # -- storage --

    def root(self, value: Value) -> Value:
        """The stored value in whose memory a value lies."""
        while value in self.aliases:
            value = self.aliases[value]
        return value

    def touch(self, storage: Storage) -> None:
        """The storage is used now; inside loops that it was made outside of, it lives to their end."""
        storage.last = max(storage.last, self.clock)
        for loop in self.loops:
            if storage.first < loop.first:
                loop.touched.append(storage)
                break
        for member in storage.members:
            self.touch(member)

    def address(self, value: Value) -> str:
        """The local that holds a stored tensor's address."""
        storage = self.storage_of(value)
        self.touch(storage)
        return storage.address

    def place(self, value: Value, address: str) -> None:
        """A value lies at an address that the caller gave."""
        self.storages[value] = Storage(address)

    def storage_of(self, value: Value) -> Storage:
        root = self.root(value)
        storage = self.storages.get(root)
        if storage is None:
            instruction = root.instruction
            if instruction is not None and instruction.op.name == "constant":
                storage = self.constant_storage(instruction)
                self.storages[root] = storage
            else:
                name = instruction.op.name if instruction is not None else "a value"
                raise Unsupported(f"{name} is not in memory", instruction.location if instruction else None)
        return storage

    def constant_storage(self, instruction: Instruction) -> Storage:
        array = instruction.attributes["value"]
        assert isinstance(array, Array)
        return Storage(self.constant(np.ascontiguousarray(array.require())))

    def constant(self, array: np.ndarray[Any, Any], key: object = None) -> str:
        """The local that holds the address of a constant array."""
        key = id(array) if key is None else key
        if key not in self.constant_keys:
            self.constant_keys[key] = f"c{len(self.constants)}"
            self.constants.append(array)
        return self.constant_keys[key]

    def new_buffer(self, nbytes: Dim, *, static: bool = True) -> Storage:
        """Memory for a value: in the workspace if its size is known at the call, else in the arena."""
        if static:
            storage = Storage(f"b{len(self.buffers)}", self.clock, self.clock, buffer=True)
            self.buffers.append((nbytes, storage))
            return storage
        name = self.fresh("m")
        self.allocate(name, self.size(nbytes))
        return Storage(name, self.clock, self.clock, arena=True)

    def allocate(self, name: str, nbytes: str) -> None:
        """A local with the address of new memory in the arena."""
        self.uses_arena = True
        self.line(f"{name} = arena_allocate(arena, {nbytes})")
        with self.block(f"if {name} == 0:"):
            self.line(f"return {STATUS_OUT_OF_MEMORY}")

    def store(self, value: Value) -> Storage:
        """Memory for a value that is about to be computed."""
        if value in self.preferred:
            storage = self.preferred.pop(value)
            self.storages[value] = storage
            self.touch(storage)
            return storage
        if value in self.storages:
            self.touch(self.storages[value])
            return self.storages[value]
        assert isinstance(value.type, TensorType)
        nbytes = stored_elements(value) * value.type.dtype.itemsize
        storage = self.new_buffer(nbytes, static=self.is_static(value.type))
        self.storages[value] = storage
        layout = layout_of(value)
        if layout is not None and layout.has_border:
            self.clear_border(value, layout, storage)
        return storage

    def clear_border(self, value: Value, layout: ImageLayout, storage: Storage) -> None:
        """Zeros around each image, which the padding of a convolution reads."""
        assert isinstance(value.type, TensorType)
        shape, dtype = value.type.shape, value.type.dtype
        name, source = named_source("k_border", lambda n: LAYOUT_IMPORTS + zero_border_source(n, dtype.short))
        self.add_kernel(KernelSource(name, source, title="zeros around images"))
        height, width = layout.size(shape)
        sizes: dict[str, Dim] = {
            "channels": shape[1],
            "height": shape[2],
            "width": shape[3],
            "y_height": height,
            "y_width": width,
            "top": layout.top,
            "left": layout.left,
        }
        self.set_slot(LAYOUT_SLOTS["y"], "i64", storage.address)
        for slot, dim in sizes.items():
            self.set_slot(LAYOUT_SLOTS[slot], "i64", self.size(dim))
        self.line(f"launch({name}, p, {self.size(shape[0] * height)}, {_BORDER_GRAIN}, pool)")

    def temporary(self, count: Dim, dtype: DType) -> Storage:
        nbytes = count * dtype.itemsize
        return self.new_buffer(nbytes, static=symbols(nbytes) <= self.argument_symbols)

    # -- kernels --

    def add_kernel(self, kernel: KernelSource) -> str:
        self.kernels.setdefault(kernel.name, kernel)
        return kernel.name

    def set_slot(self, slot: int, kind: str, text: str) -> None:
        self.scratch_slots = max(self.scratch_slots, slot + 1)
        if kind == "i64":
            self.pending.append((slot, text))
        else:
            self.line(f"set_slot_{kind}(p, {slot}, {text})")

    def run_group(self, group: Group) -> None:
        """Run the kernels of a group."""
        for value, target in [(v, t) for v, _, t, _ in group.placed()]:
            self.store(target)
            del value
        launches = lower_group(group, self.root)
        where = next((i.location for i in group.instructions if i.location is not None), None)
        self.report.extend(launch.note for launch in launches if launch.note)
        self.launch(launches, where)

    def launch(self, launches: Sequence[Launch], location: Location | None) -> None:
        temporaries: dict[int, list[Storage]] = {}
        for launch in launches:
            key = id(launch.temporaries)
            if key not in temporaries:
                temporaries[key] = [self.temporary(t.count, t.dtype) for t in launch.temporaries]
            self.run_kernel(launch.kernel, launch.n, launch.grain, temporaries[key], location)
            self.clock += 1

    def run_kernel(
        self, kernel: Kernel, n: Dim, grain: Dim, temporaries: Sequence[Storage], location: Location | None
    ) -> None:
        name = self.add_kernel(kernel.source)
        status = None
        for slot, parameter in enumerate(kernel.parameters):
            match parameter.source:
                case ("address", Value() as value):
                    self.set_slot(slot, "i64", self.address(value))
                case ("dim", dim):
                    self.set_slot(slot, "i64", self.size(dim))  # type: ignore[arg-type]
                case ("scalar", Value() as value):
                    self.set_slot(slot, parameter.kind, self.slot_value(value))
                case ("temporary", int() as index):
                    self.touch(temporaries[index])
                    self.set_slot(slot, "i64", temporaries[index].address)
                case ("constant", np.ndarray() as array):
                    self.set_slot(slot, "i64", self.constant(array, (array.tobytes(), array.dtype.str)))
                case ("status",):
                    status = len(kernel.parameters)
                    self.set_slot(slot, "i64", f"p + {8 * status}")
                    self.set_slot(status, "i64", "0")
        if isinstance(n, int) and isinstance(grain, int) and n < 2 * grain:
            if n > 0:
                self.line(f"{name}(p, 0, {n})")
        else:
            self.line(f"launch({name}, p, {self.size(n)}, {self.size(grain)}, pool)")
        if status is not None:
            self.check_status(status, location)

    def check_status(self, slot: int, location: Location | None) -> None:
        """Turn what a kernel reported into an error."""
        for number, (exception, message) in KERNEL_ERRORS.items():
            self.fail_if(f"slot_i64(p, {slot}) == {number}", exception, message, location)

    # -- scalars --

    def scalar(self, value: Value) -> str:
        """A Python number (or list) of the program as text."""
        if value in self.locals:
            return self.locals[value]
        instruction = value.instruction
        if instruction is not None and instruction.op.name == "constant":
            return number_literal(instruction.attributes["value"], instruction.location)
        if isinstance(value.type, IntType) and value.type.value is not None:
            return self.size(value.type.value)
        name = instruction.op.name if instruction is not None else "an argument"
        raise Unsupported(f"{name}: a value of type {value.type} has no native form", value_location(value))

    def slot_value(self, value: Value) -> str:
        """A Python number as it is written into a slot."""
        text = self.scalar(value)
        return f"1 if {text} else 0" if isinstance(value.type, BoolType) else text

    def set_scalar(self, value: Value, text: str, prefix: str = "s") -> None:
        name = self.fresh(prefix)
        self.locals[value] = name
        self.line(f"{name} = {text}")

    def text(self, value: Value) -> tuple[str, str]:
        """A string of the program: the address of its characters and their number."""
        if value in self.texts:
            return self.texts[value]
        instruction = value.instruction
        if instruction is not None and instruction.op.name == "constant":
            return self.literal_text(str(instruction.attributes["value"]))
        name = instruction.op.name if instruction is not None else "an argument"
        raise Unsupported(f"{name}: a value of type {value.type} has no native form", value_location(value))

    def literal_text(self, literal: str) -> tuple[str, str]:
        """A string that is known: the address of its characters and their number."""
        codes = np.frombuffer(literal.encode("utf-32-le", "surrogatepass"), np.uint32)
        return self.constant(codes, ("text", literal)), str(len(codes))

    def set_text(self, value: Value, address: str, length: str) -> None:
        """Make a string of an address and a number of characters."""
        names = self.fresh("m"), self.fresh("k")
        self.line(f"{names[0]} = {address}")
        self.line(f"{names[1]} = {length}")
        self.texts[value] = names

    # -- what is known of ints --

    def is_nonnegative(self, value: Value) -> bool:
        """Whether an int is surely not negative, by how it is computed."""
        if self.nonnegative is None:
            self.nonnegative = nonnegative_values(self.graph.block)
        least = lowest(value)
        return value in self.nonnegative or (least is not None and least >= 0)

    def upper_bound(self, value: Value) -> int:
        """An int that a value is surely not above."""
        if isinstance(value.type, IntType) and isinstance(value.type.value, int):
            return value.type.value
        if self.highest is None:
            if self.nonnegative is None:
                self.nonnegative = nonnegative_values(self.graph.block)
            self.highest = highest_values(self.graph.block, self.nonnegative)
        return self.highest.get(value, LARGEST)

    def is_below_length(self, index: Value, text: Value) -> bool:
        """Whether an index is surely below the length of a string: it counts a loop of that many rounds."""
        owner = index.block.parent if index.instruction is None and index.block is not None else None
        if owner is None or owner.op.name != "loop" or index.index != 0 or not self.is_nonnegative(index):
            return False
        count = owner.operands[0]
        made = count.instruction if count is not None else None
        return made is not None and made.op.name == "str.length" and made.operands[0] is text

    # -- blocks --

    def run_block(self, block: Block) -> None:
        """Everything in a block but its terminator."""
        plan = self.plan_block(self, block)
        self.report.extend(plan.report)
        self.aliases.update(plan.aliases)
        by_position: dict[int, list[Group]] = {}
        fused: set[Instruction] = set()
        for group in plan.groups:
            by_position.setdefault(group.position, []).append(group)
            if group.contraction is not None:
                fused.add(group.contraction)
        contained = {i for g in plan.groups for i in g.instructions}
        checked: set[tuple[Dim, Dim]] = set()
        for position, instruction in enumerate(block.instructions[:-1]):
            groups = by_position.get(position, [])
            self.check_broadcasts(instruction, checked)
            if instruction not in contained and instruction not in fused and not self.in_kernels(instruction):
                self.run_instruction(instruction)
                self.clock += 1
            for group in groups:
                if group.contraction is not None:
                    self.run_contraction(group.contraction, group)
                else:
                    self.run_group(group)
                self.clock += 1
        for group in by_position.get(len(block.instructions) - 1, []):
            self.run_group(group)

    def in_kernels(self, instruction: Instruction) -> bool:
        """Whether an instruction is computed inside kernels, wherever its result is needed."""
        raise NotImplementedError  # set by `generate`

    def run_instruction(self, instruction: Instruction) -> None:
        """Run what is not computed inside kernels: control flow, scalars, products, ..."""
        raise NotImplementedError  # set by `generate`

    def run_contraction(self, instruction: Instruction, group: Group | None) -> None:
        """A matrix product or convolution with the group's operations applied to its result."""
        raise NotImplementedError  # set by `generate`

    # -- the finished source --

    def finish(self, name: str) -> str:
        """The driver's source: what the plan decides is read at the start."""
        head = [f"def {name}(frame):"]
        body = "\n".join(self.lines)

        def used(variable: str) -> bool:
            return re.search(rf"\b{variable}\b", body) is not None

        slots = [
            ("plan", FRAME_PLAN, bool(self.sizes or self.buffers or self.constants)),
            ("workspace", FRAME_WORKSPACE, bool(self.buffers)),
            ("pool", FRAME_POOL, used("pool") or used("threads")),
            ("arena", FRAME_ARENA, used("arena")),
            ("p", FRAME_SCRATCH, used("p")),
        ]
        head.extend(f"    {variable} = slot_i64(frame, {slot})" for variable, slot, needed in slots if needed)
        if self.saves_generator:
            head.append(f"    generator = slot_i64(frame, {FRAME_GENERATOR})")
        head += self.extra_head(used)
        if used("depth"):
            head += depth_limits()
        base = 0
        head.extend(f"    n{i} = slot_i64(plan, {base + i})" for i in range(len(self.sizes)) if used(f"n{i}"))
        base += len(self.sizes)
        for i in range(len(self.buffers)):
            if used(f"b{i}"):
                head.append(f"    b{i} = workspace + slot_i64(plan, {base + i})")
        base += len(self.buffers)
        head.extend(f"    c{i} = slot_i64(plan, {base + i})" for i in range(len(self.constants)) if used(f"c{i}"))
        functions = "".join(f"{function.source()}\n\n" for function in self.called.sources) if self.called else ""
        return self.driver_preamble() + functions + "\n".join(head) + "\n" + body + "\n    return 0\n"

    def extra_head(self, used: Callable[[str], bool]) -> list[str]:
        """Lines at the start that some drivers need."""
        head = []
        if self.joins_text:
            head += [
                "    open_texts = arena_allocate(arena, 72)",
                "    if open_texts == 0:",
                f"        return {STATUS_OUT_OF_MEMORY}",
                "    fill_bytes(open_texts, 0, 72)",
            ]
        if used("threads"):
            head.append(f"    threads = slot_i64(pool, {WORKERS // 8}) + 1 if pool != 0 else 1")
        return head

    def driver_preamble(self) -> str:
        """Imports of helpers, and the functions that are pasted in front of the driver."""
        imports = set(self.imports)
        pasted = {name: text.rstrip() for name, text in self.functions.items()}
        for name in _PASTED:
            if name in imports:
                imports.remove(name)
                pasted[name] = plain_source(getattr(helpers, name))
                imports.update(_PASTED[name])
        text = f"from ingot.jit.codegen.helpers import {', '.join(sorted(imports))}\n\n\n" if imports else ""
        return text + "".join(f"{definition}\n\n\n" for definition in pasted.values())

    def finished_buffers(self) -> list[Buffer]:
        return [Buffer(nbytes, s.first, s.last, s.address) for nbytes, s in self.buffers]


_BCAST = '''
def bcast(a, b):
    """The size that two compatible sizes broadcast to; 0 and 1 to 0."""
    return a if b == 1 else b
'''.strip()

# Helpers that are plain functions, pasted in front of the driver, and what they call.
_PASTED: dict[str, tuple[str, ...]] = {
    "integer_power": (),
    "compare_int_float": ("as_i64", "as_f64"),
    "power_overflows": ("product_overflows",),
}

# What a kernel's status word means.
KERNEL_ERRORS: dict[int, tuple[str, str]] = {
    1: ("RuntimeError", "ZeroDivisionError: an integer tensor is divided by zero"),
    2: ("RuntimeError", "pow: integers to negative integer powers are not allowed; convert to a floating dtype"),
    3: ("IndexError", "an index is out of bounds for the dimension that it indexes"),
    4: ("RuntimeError", "Class values must be non-negative and smaller than num_classes."),
}


def _symbol_terms(name: str) -> Any:
    return symbol(name)._terms
