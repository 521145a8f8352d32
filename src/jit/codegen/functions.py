"""Functions of a graph as native functions beside the driver, and calls of them.

Each is a function of 64-bit integers, `function(frame, depth, arguments...)`, which returns a status as the driver does
and then what it returns. `depth` is how many more calls may be nested; a slot of the frame has the lowest address that
the stack may reach. A call beyond either is a RecursionError.

Arguments and results are the slots of `forms`, floats as their bits; tensors are addresses and sizes, and not copied.
A function's sizes are known when it runs only. Its buffers come from the arena, and are given back when it returns.
"""

import re
from typing import TYPE_CHECKING, Any

from ...ir.core import Graph, Instruction, Value
from ...ir.dims import Dim
from ...ir.recursion import RECURSION_MESSAGE
from ...ir.types import ListType, OptionalType, RecordType, TensorType, TupleType, Type, contained_types
from .driver import Driver, Storage
from .forms import adopt, kinds, parts
from .interface import check_type, value_location
from .limits import LOW_SLOT
from .module import FRAME_ARENA, FRAME_GENERATOR, FRAME_PLAN, FRAME_POOL, FRAME_SCRATCH

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FunctionDriver", "Functions", "run_call"]


class Functions:
    """The functions that a driver calls, each generated when it is first called."""

    def __init__(self, graph: Graph, make: "Callable[[Graph], FunctionDriver]", errors: int) -> None:
        self.graphs = graph.functions
        self.make = make
        self.names: dict[str, str] = {}
        self.pending: list[str] = []
        self.sources: list[FunctionDriver] = []
        self.errors = errors  # how many errors were found in a first round: what a `try` around a call may catch
        self.caught = False  # whether a `try` is around a call

    def name(self, function: str) -> str:
        """The name of a function in the source."""
        if function not in self.names:
            self.names[function] = f"f{len(self.names)}_{re.sub(r'[^A-Za-z0-9_]', '_', function)}"
            self.pending.append(function)
        return self.names[function]

    def generate(self) -> None:
        """Generate the functions that are called, and those that they call."""
        while self.pending:
            driver = self.make(self.graphs[self.pending.pop()])
            driver.run()
            self.sources.append(driver)


class FunctionDriver(Driver):
    """Writes one function; what is the whole program's is the driver's own."""

    shared: Driver

    def share(self, driver: Driver) -> None:
        """Use the tables of the program's driver."""
        self.shared = driver
        for name in ("sizes", "size_names", "buffers", "constants", "constant_keys", "kernels", "errors", "report",
                     "functions", "imports", "called"):  # fmt: skip
            setattr(self, name, getattr(driver, name))
        self.argument_symbols = frozenset()
        self.owned: list[str] = []
        self.parameters: list[str] = []
        self.returns = 0  # the slots that it returns besides a status
        self.uses_arena = True

    def line(self, text: str) -> None:
        if text.startswith("return ") and not self.tries:
            text += ", 0" * self.returns
        super().line(text)

    def new_buffer(self, nbytes: Dim, *, static: bool = True) -> Storage:
        """Memory of this call's own, in the arena; of a size that is known, it is allocated before loops around."""
        if static and self.loops:
            with self.before(self.loops[0]):
                return self.new_buffer(nbytes)
        storage = super().new_buffer(nbytes, static=False)
        if not self.nesting:
            self.owned.append(storage.address)
        return storage

    def run(self) -> None:
        """Write the function."""
        graph = self.graph
        for argument in graph.arguments:
            check_type(argument.type)
            names = []
            for kind in kinds(argument.type, value_location(argument)):
                names.append(f"a{len(self.parameters)}")
                self.parameters.append(names[-1])
                if kind == "f":
                    names[-1] = f"bits_to_float_f64({names[-1]})"
            adopt(self, argument, names)
        self.returns = sum(len(kinds(value.type, value_location(value))) for value in graph.results)
        self.run_block(graph.block)
        self.clock += 1
        texts = [text for value in graph.results for text in call_slots(self, value, value.type)]
        results = []
        for text in texts:
            results.append(self.fresh("r"))
            self.line(f"{results[-1]} = {text}")
        addresses = [results[i] for i in _address_slots([v.type for v in graph.results])]
        for name in self.owned:
            tests = [f"{name} != 0", *(f"{name} != {address}" for address in addresses)]
            with self.block(f"if {' and '.join(tests)}:"):
                self.line(f"arena_release(arena, {name})")
        self.lines.append(f"    return {', '.join(['0', *results])}")
        shared = self.shared
        shared.scratch_slots = max(shared.scratch_slots, self.scratch_slots)
        shared.may_interpret = shared.may_interpret or self.may_interpret
        shared.calls_back = shared.calls_back or self.calls_back
        shared.uses_arena = True

    def source(self) -> str:
        """The function's text, after all others are written: where constants lie in the plan is known then."""
        name = self.called.name(self.graph.name)
        body = "\n".join(self.lines)

        def used(variable: str) -> bool:
            return re.search(rf"\b{variable}\b", body) is not None

        head = ["@driver", f"def {name}({', '.join(['frame', 'depth', *self.parameters])}):"]
        slots = [
            ("plan", FRAME_PLAN, bool(self.constants)),
            ("pool", FRAME_POOL, used("pool") or used("threads")),
            ("arena", FRAME_ARENA, used("arena")),
            ("p", FRAME_SCRATCH, used("p")),
        ]
        head.extend(f"    {variable} = slot_i64(frame, {slot})" for variable, slot, needed in slots if needed)
        if self.saves_generator:
            head.append(f"    generator = slot_i64(frame, {FRAME_GENERATOR})")
        if used("low"):
            head.append(f"    low = slot_i64(frame, {LOW_SLOT})")
        if used("here"):
            head.append("    here = stack_address()")
        early = ", 0" * self.returns
        head += [line + early if line.lstrip().startswith("return ") else line for line in self.extra_head(used)]
        base = len(self.sizes) + len(self.buffers)
        head.extend(f"    c{i} = slot_i64(plan, {base + i})" for i in range(len(self.constants)) if used(f"c{i}"))
        head.extend(f"    {name} = 0" for name in self.owned)
        return "\n".join(head) + "\n" + body + "\n"


def run_call(driver: Driver, instruction: Instruction) -> None:
    """Call a function of the graph."""
    functions = driver.called
    function = functions.graphs[instruction.attributes["function"]]
    texts = []
    for value, argument in zip(instruction.inputs, function.arguments, strict=True):
        texts += call_slots(driver, value, argument.type)
    driver.uses_arena = True  # so that the program is told its limits
    condition = f"depth <= 0 or here < slot_i64(frame, {LOW_SLOT})"
    driver.fail_if(condition, "RecursionError", RECURSION_MESSAGE, instruction.location)
    letters = "".join(kinds(r.type, instruction.location) for r in instruction.results)
    status, *names = (driver.fresh("e") for _ in range(1 + len(letters)))
    arguments = ", ".join(["frame", "depth - 1", *texts])
    driver.line(f"{', '.join([status, *names])} = {functions.name(function.name)}({arguments})")
    with driver.block(f"if {status} != 0:"):
        if driver.tries:
            functions.caught = True
            driver.tries[-1].statuses.update(range(1, functions.errors + 1))
        driver.line(f"return {status}")
    # A tensor that comes back may be one that was passed in.
    passed = [driver.storage_of(v) for v in _tensors(driver, instruction.inputs)]
    slots = iter(zip(letters, names, strict=True))
    for result in instruction.results:
        own = [next(slots) for _ in kinds(result.type)]
        adopt(driver, result, [f"bits_to_float_f64({name})" if kind == "f" else name for kind, name in own])
        for tensor in _tensors(driver, [result]):
            driver.storages[tensor].members.extend(passed)


def call_slots(driver: Driver, value: Value, type: Type) -> list[str]:
    """The texts of a value's slots as integers; tensors are not copied."""
    match type:
        case TensorType():
            assert isinstance(value.type, TensorType)
            return [driver.address(value), *(driver.size(size) for size in value.type.shape)]
        case OptionalType(element=element):
            present, held = driver.tuples[value]
            return [driver.slot_value(present), *call_slots(driver, held, element)]
        case TupleType() | RecordType():
            pieces = driver.tuples[value]
            inside = contained_types(type)
            return [t for p, e in zip(pieces, inside, strict=True) for t in call_slots(driver, p, e)]
    letters = kinds(type, value_location(value))
    return [
        f"float_to_bits_f64({text})" if kind == "f" else text
        for kind, text in zip(letters, parts(driver, value, type), strict=True)
    ]


def _tensors(driver: Driver, values: Any) -> list[Value]:
    """The tensors among values and their parts."""
    found: list[Value] = []
    for value in values:
        if isinstance(value.type, TensorType):
            found.append(value)
        elif isinstance(value.type, (TupleType, RecordType, OptionalType)):
            found += _tensors(driver, driver.tuples[value])
    return found


def _address_slots(types: list[Type]) -> list[int]:
    """The places of tensors' addresses among the slots of values."""
    found: list[int] = []
    position = 0

    def visit(type: Type) -> None:
        nonlocal position
        match type:
            case TensorType():
                found.append(position)
            case TupleType() | RecordType():
                for element in contained_types(type):
                    visit(element)
                return
            case OptionalType(element=element):
                position += 1
                visit(element)
                return
            case ListType():
                pass
        position += len(kinds(type))

    for type in types:
        visit(type)
    return found
