"""Control flow, scalars, tuples and lists in the driver: one function per op, found by name in `CONTROL`."""

from collections.abc import Callable
from typing import Any

from ...ir.core import Block, Instruction, Value
from ...ir.types import (
    BoolType,
    ComplexType,
    DictType,
    FloatType,
    IntType,
    ListType,
    NoneType,
    OptionalType,
    RecordType,
    SetType,
    StrType,
    TensorType,
    TupleType,
    Type,
    contained_types,
)
from .complex_parts import ALIASES
from .complex_scalars import is_complex, run_complex
from .dicts import DICTS, run_hash
from .driver import Driver, Storage, _LoopFrame
from .functions import run_call
from .fusion import Unsupported, count_uses
from .host import HOST, to_float, to_int, to_str
from .lists import LISTS
from .module import FRAME_GENERATOR
from .passing import Passed, assign
from .python_calls import PYTHON_CALLS
from .reads import PARTS, UPDATES
from .scalars import SCALARS, run_item, run_scalar
from .texts import TEXTS, is_text, run_text_scalar
from .tries import TRIES

__all__ = ["CONTROL", "run_control"]

Handler = Callable[[Driver, Instruction], None]


def run_control(driver: Driver, instruction: Instruction) -> None:
    """Run an instruction that is not computed in kernels."""
    name = instruction.op.name
    if name.startswith("scalar.") and any(map(is_text, instruction.inputs)) and run_text_scalar(driver, instruction):
        return
    if name == "scalar.to_str":
        to_str(driver, instruction)
        return
    if name in ("scalar.to_int", "scalar.to_float") and is_text(instruction.inputs[0]):
        (to_int if name == "scalar.to_int" else to_float)(driver, instruction)
        return
    if is_complex(instruction):
        run_complex(driver, instruction)
        return
    if name in SCALARS:
        run_scalar(driver, instruction)
        return
    handler = CONTROL.get(name)
    if handler is not None:
        handler(driver, instruction)
        return
    raise Unsupported(f"{instruction.op.name} has no native form", instruction.location)


def _nothing(driver: Driver, instruction: Instruction) -> None:
    """Constants are literals or tables where they are used; sizes are known."""


def _bind_dim(driver: Driver, instruction: Instruction) -> None:
    value = instruction.operands[0]
    assert value is not None
    text = driver.scalar(value)
    name = driver.fresh("d")
    driver.line(f"{name} = {text}")
    with driver.block(f"if {name} < 0:"):
        driver.line(f"set_slot_i64(frame, 4, {name})")
        status = driver.error("RuntimeError", "a size must not be negative, given {0}", instruction.location)
        driver.line(f"return {status}")
    driver.symbol_locals[instruction.attributes["symbol"]] = name
    driver.locals[instruction.results[0]] = name


def _require_equal(driver: Driver, instruction: Instruction) -> None:
    left, right = (driver.scalar(v) for v in instruction.inputs)
    with driver.block(f"if {left} != {right}:"):
        driver.line(f"set_slot_i64(frame, 4, {left})")
        driver.line(f"set_slot_i64(frame, 5, {right})")
        message = instruction.attributes["message"].replace("{", "(").replace("}", ")")
        message = f"{message} (at run time: {{0}} and {{1}})"
        driver.line(f"return {driver.error('RuntimeError', message, instruction.location)}")


def _take_random(driver: Driver, instruction: Instruction) -> None:
    driver.imports.add("take_random")
    count = instruction.operands[0]
    assert count is not None
    taken = f"take_random(slot_i64(frame, {FRAME_GENERATOR}), {driver.scalar(count)})"
    driver.set_scalar(instruction.results[0], taken)


def _undefined(driver: Driver, instruction: Instruction) -> None:
    _set_undefined(driver, instruction.results[0])


def _set_undefined(driver: Driver, value: Value) -> None:
    match value.type:
        case TensorType():
            # Nothing reads it, but it may be passed on by copying, or computed with before a condition is known.
            driver.bind_symbols(value.type, ["0"] * value.type.rank)
            driver.storages[value] = driver.new_buffer(driver.nbytes(value.type), static=driver.is_static(value.type))
        case FloatType():
            driver.set_scalar(value, "0.0")
        case BoolType():
            driver.set_scalar(value, "False")
        case IntType():
            driver.set_scalar(value, "0")
        case ComplexType():
            driver.set_scalar(value, "complex(0.0, 0.0)")
        case StrType():
            driver.texts[value] = ("0", "0")
        case ListType() | DictType() | SetType():
            # An empty one: it may be passed on, and taken apart outside.
            name, slots = driver.fresh("l"), {ListType: 3, DictType: 6}.get(value.type.__class__, 5)
            driver.allocate(name, str(8 * slots))
            for slot in range(slots):
                driver.line(f"set_head({name}, {slot}, {-1 if slot == 5 else 0})")
            driver.locals[value] = name
        case TupleType() | RecordType() | OptionalType():
            parts = [driver.held(t) for t in contained_types(value.type)]
            if isinstance(value.type, OptionalType):
                parts.insert(0, Value(BoolType()))
            for part in parts:
                _set_undefined(driver, part)
            driver.tuples[value] = parts
        case NoneType():
            pass
        case _:
            raise Unsupported(f"a value of type {value.type}")


def _if(driver: Driver, instruction: Instruction) -> None:
    condition = instruction.operands[0]
    assert condition is not None
    passed = [Passed(driver, r, r.type) for r in instruction.results]
    _run_regions(driver, instruction, driver.scalar(condition), passed)


def _run_regions(driver: Driver, instruction: Instruction, condition: str, passed: list[Passed]) -> None:
    for header, region in zip((f"if {condition}:", "else:"), instruction.regions, strict=True):
        with driver.block(header):
            driver.run_block(region)
            pairs = []
            for target, source in zip(passed, region.terminator.operands, strict=True):
                assert source is not None
                pairs.extend(target.text(source))
            assign(driver, pairs)


# -- loops -----------------------------------------------------------------------------------------------------------


class _CarriedTensor:
    """A tensor that a loop carries: two buffers take turns, so that an iteration never overwrites what it reads.

    `current` starts as the initial value's address, which is not written. Where the region computes the next value
    itself, it is computed right into the other buffer; else it is copied there.
    """

    def __init__(self, driver: Driver, argument: Value, initial: Value, *, updated: bool) -> None:
        self.driver = driver
        self.argument = argument
        assert isinstance(argument.type, TensorType)
        self.static = driver.is_static(argument.type)
        self.start = driver.storage_of(initial)
        self.current = driver.fresh("x")
        self.next = driver.fresh("y")
        self.moves = True
        self.buffers: list[Storage] = []
        if updated:
            self.start_in_place(initial)
            return
        driver.line(f"{self.current} = {driver.address(initial)}")
        self.storage = Storage(self.current, driver.clock, driver.clock, members=[self.start])
        driver.storages[argument] = self.storage
        if self.static:
            self.buffers = [driver.new_buffer(driver.nbytes(argument.type)) for _ in range(2)]
            self.storage.members.extend(self.buffers)
            driver.line(f"{self.next} = {self.buffers[0].address}")

    def start_in_place(self, initial: Value) -> None:
        """The loop only writes parts of the tensor: it works on one copy of the initial value."""
        driver = self.driver
        self.moves = False
        nbytes = driver.nbytes(initial.type)
        buffer = driver.new_buffer(nbytes, static=driver.is_static(initial.type))
        if buffer.buffer:
            self.buffers = [buffer]
        driver.line(f"{self.current} = {buffer.address}")
        driver.line(f"copy_bytes({self.current}, {driver.address(initial)}, {driver.size(nbytes)})")
        self.storage = Storage(self.current, driver.clock, driver.clock, members=[buffer])
        driver.storages[self.argument] = self.storage
        driver.writable.add(self.argument)

    def prepare(self, region: Block, position: int) -> None:
        """Let the region compute the next value in place where it can."""
        value = region.terminator.operands[position]
        if not self.moves:
            return
        if value is self.argument:
            self.moves = False
            return
        instruction = value.instruction if value is not None else None
        if (
            self.static
            and value is not None
            and instruction is not None
            and instruction.block is region
            and not instruction.regions
            and list(region.terminator.operands).count(value) == 1
            and value.type == self.argument.type
        ):
            self.driver.preferred[value] = Storage(
                self.next, self.driver.clock, self.driver.clock, members=self.buffers
            )

    def finish(self, value: Value) -> list[tuple[str, str]]:
        """The end of an iteration: move the next value, and say how the locals change."""
        driver = self.driver
        driver.preferred.pop(value, None)
        if not self.moves:
            return []
        address = driver.address(value)
        assert isinstance(value.type, TensorType)
        nbytes = driver.size(driver.nbytes(value.type))
        if self.static:
            undefined = value.instruction is not None and value.instruction.op.name == "undefined"
            if address != self.next and not undefined:
                driver.line(f"copy_bytes({self.next}, {address}, {nbytes})")
            first, second = (b.address for b in self.buffers)
            return [(self.current, self.next), (self.next, f"{first} + {second} - {self.next}")]
        driver.allocate(self.next, nbytes)
        driver.line(f"copy_bytes({self.next}, {address}, {nbytes})")
        return [(self.current, self.next)]


def _is_updated(region: Block, argument: Value, following: Value | None) -> bool:
    """Whether all that a loop does with a tensor is to write parts of it."""
    value = argument
    while value is not following:
        users = [i for i in region.instructions if value in i.operands]
        if count_uses(region, value) != 1 or len(users) != 1:
            return False
        (user,) = users
        if user.op.name not in UPDATES or user.operands[0] is not value:
            return False
        value = user.results[0]
    return value is not argument and count_uses(region, value) == 1


def _loop(driver: Driver, instruction: Instruction) -> None:
    trip_count, condition, *carried = instruction.operands
    assert condition is not None
    region = instruction.regions[0]
    iteration, *arguments = region.arguments
    next_condition, *next_values = region.terminator.operands
    tensors: dict[int, _CarriedTensor] = {}
    scalars: dict[int, Passed] = {}
    pairs: list[tuple[str, str]] = []
    for index, (argument, initial) in enumerate(zip(arguments, carried, strict=True)):
        assert initial is not None
        if isinstance(argument.type, TensorType):
            passed = Passed(driver, argument, argument.type)
            assign(driver, passed.symbols(initial))
            updated = _is_updated(region, argument, next_values[index])
            tensors[index] = _CarriedTensor(driver, argument, initial, updated=updated)
        else:
            scalars[index] = Passed(driver, argument, argument.type)
            pairs.extend(scalars[index].text(initial))
    assign(driver, pairs)
    counter = driver.fresh("t")
    driver.locals[iteration] = counter
    driver.line(f"{counter} = 0")
    tests = []
    if trip_count is not None:
        limit = driver.fresh("t")
        driver.line(f"{limit} = {driver.scalar(trip_count)}")
        tests.append(f"{counter} < {limit}")
    always = [_is_true(condition), next_condition is not None and _is_true(next_condition)]
    flag = ""
    if not all(always):
        flag = driver.fresh("s")
        driver.line(f"{flag} = {driver.scalar(condition)}")
        tests.insert(0, flag)
    driver.clock += 1
    driver.flush_slots()
    frame = _LoopFrame(driver.clock, len(driver.lines), driver.depth)
    driver.loops.append(frame)
    driver.clock += 1
    with driver.block(f"while {' and '.join(tests) or 'True'}:"):
        for index, tensor in tensors.items():
            tensor.prepare(region, index + 1)
        driver.run_block(region)
        pairs = []
        symbols: list[tuple[str, str]] = []
        for index, value in enumerate(next_values):
            assert value is not None
            if index in tensors:
                argument = arguments[index]
                pairs.extend(tensors[index].finish(value))
                for dim, actual in zip(_shape(argument), _shape(value), strict=True):
                    if dim != actual and not isinstance(dim, int) and str(dim) in driver.symbol_locals:
                        symbols.append((driver.symbol_locals[str(dim)], driver.size(actual)))
            else:
                pairs.extend(scalars[index].text(value))
        if flag and next_condition is not None:
            pairs.append((flag, driver.scalar(next_condition)))
        assign(driver, [*pairs, *symbols])
        driver.line(f"{counter} += 1")
    driver.clock += 1
    driver.loops.pop()
    for storage in frame.touched:
        storage.last = max(storage.last, driver.clock)
        _extend(storage, driver)
    for tensor in tensors.values():
        for buffer in tensor.buffers:
            buffer.last = max(buffer.last, driver.clock)
        driver.touch(tensor.storage)
    for result, argument in zip(instruction.results, arguments, strict=True):
        _pass_result(driver, result, argument)


def _extend(storage: Storage, driver: Driver) -> None:
    """Members of a joined storage live as long as it."""
    driver.touch(storage)


def _shape(value: Value) -> tuple[Any, ...]:
    assert isinstance(value.type, TensorType)
    return value.type.shape


def _is_true(value: Value) -> bool:
    constant = value.instruction
    return constant is not None and constant.op.name == "constant" and constant.attributes["value"] is True


def _pass_result(driver: Driver, result: Value, argument: Value) -> None:
    """A loop's result is what its argument's locals hold in the end."""
    match result.type:
        case TensorType():
            driver.storages[result] = driver.storages[argument]
            sizes = [driver.size(d) for d in _shape(argument)]
            driver.bind_symbols(result.type, sizes)
        case TupleType() | RecordType() | OptionalType():
            driver.tuples[result] = driver.tuples[argument]
        case StrType():
            driver.texts[result] = driver.texts[argument]
        case NoneType():
            pass
        case _:
            driver.locals[result] = driver.locals[argument]


# -- tuples -----------------------------------------------------------------------------------------------------------


def _tuple_make(driver: Driver, instruction: Instruction) -> None:
    driver.tuples[instruction.results[0]] = instruction.inputs


def _tuple_get(driver: Driver, instruction: Instruction) -> None:
    source, result = instruction.operands[0], instruction.results[0]
    assert source is not None
    if source not in driver.tuples:
        raise Unsupported(f"a value of type {source.type}", instruction.location)
    pass_on(driver, result, driver.tuples[source][instruction.attributes["index"]])


def pass_on(driver: Driver, result: Value, element: Value) -> None:
    """A result that is another value."""
    if isinstance(element.type, TensorType):
        driver.aliases[result] = element
    elif isinstance(element.type, (TupleType, RecordType, OptionalType)):
        driver.tuples[result] = driver.tuples[element]
    elif isinstance(element.type, StrType):
        driver.texts[result] = driver.text(element)
    elif not isinstance(element.type, NoneType):
        driver.locals[result] = driver.scalar(element)


# -- values that may be None ------------------------------------------------------------------------------------------


def _optional_make(driver: Driver, instruction: Instruction) -> None:
    result, held = instruction.results[0], instruction.operands[0]
    assert isinstance(result.type, OptionalType)
    present = Value(BoolType())
    driver.locals[present] = str(held is not None)
    if held is None:
        held = driver.held(result.type.element)
        _set_undefined(driver, held)
    driver.tuples[result] = [present, held]


def _optional_is_none(driver: Driver, instruction: Instruction) -> None:
    present = driver.tuples[instruction.inputs[0]][0]
    driver.set_scalar(instruction.results[0], f"not {driver.scalar(present)}")


def _same(driver: Driver, instruction: Instruction) -> None:
    left, right = (driver.scalar(v) for v in instruction.inputs)
    driver.set_scalar(instruction.results[0], f"{left} == {right}")


def _bind_sizes(driver: Driver, type: Type, held: Value) -> None:
    """Give the symbols of a type the sizes that a value has under other names."""
    if type == held.type:
        return
    if isinstance(held.type, TensorType):
        driver.bind_symbols(type, [driver.size(d) for d in held.type.shape])
    elif isinstance(held.type, (TupleType, RecordType)):
        for part, value in zip(contained_types(type), driver.tuples[held], strict=True):
            _bind_sizes(driver, part, value)


def _optional_unwrap(driver: Driver, instruction: Instruction) -> None:
    result, held = instruction.results[0], driver.tuples[instruction.inputs[0]][1]
    pass_on(driver, result, held)
    _bind_sizes(driver, result.type, held)


CONTROL: dict[str, Handler] = {
    "constant": _nothing,
    **dict.fromkeys(PARTS, _nothing),  # each part is stored by a group
    "dim": _nothing,
    **dict.fromkeys(ALIASES, _nothing),
    "bind_dim": _bind_dim,
    "require_equal": _require_equal,
    **TRIES,
    **HOST,
    **PYTHON_CALLS,
    "take_random": _take_random,
    "undefined": _undefined,
    "if": _if,
    "loop": _loop,
    "call": run_call,
    "tuple.make": _tuple_make,
    "tuple.record": _tuple_make,
    "tuple.get": _tuple_get,
    "optional.make": _optional_make,
    "optional.is_none": _optional_is_none,
    "optional.unwrap": _optional_unwrap,
    **LISTS,
    **TEXTS,
    **DICTS,
    "scalar.hash": run_hash,
    "scalar.same": _same,
    "item": run_item,
}
