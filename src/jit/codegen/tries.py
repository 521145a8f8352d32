"""Exceptions in the driver: raising with arguments, `try`, what it saves, and raising again.

A `try` is a loop that runs once: what would return an error's status sets a local instead and breaks out, and every
loop inside is followed by a break while that local is set. What handlers need of an error is a record in the arena:
its status and the two detail slots.
"""

from dataclasses import dataclass, field

from ...ir.core import Instruction, Value
from ...ir.exception_names import builtin_names
from ...ir.types import BoolType, ComplexType, FloatType, IntType, NoneType, StrType, TensorType, TupleType
from .driver import Driver, Storage
from .fusion import Unsupported
from .passing import Passed, assign

__all__ = ["TRIES"]

_DETAILS = (4, 5)


@dataclass
class TryFrame:
    """A `try` whose region is being written."""

    name: str
    status: str  # the local that holds the status of what was raised
    passed: list[Passed]
    loops: int  # how many loops of the program are around it
    depth: int  # how many loops of the driver are around it
    catches: tuple[tuple[str, int], ...] = ()
    statuses: set[int] = field(default_factory=set)
    copies: dict[int, Storage] = field(default_factory=dict)


# -- raising -----------------------------------------------------------------------------------------------------------

_TEMPLATES = ("{0}", "{1}", "{text", "{key:", "{args:")


def _raise(driver: Driver, instruction: Instruction) -> None:
    exception, location = instruction.attributes["exception"], instruction.location
    arguments = instruction.inputs
    # Under a condition, so that code after it is not dead for Numba.
    with driver.block("if frame != 0:"):
        if len(arguments) == 1 and isinstance(arguments[0].type, StrType):
            constant = arguments[0].instruction
            text = str(constant.attributes["value"]) if constant and constant.op.name == "constant" else None
            if text and not any(t in text for t in _TEMPLATES):
                driver.line(f"return {driver.error(exception, text, location)}")
                return
            if text is None and exception != "KeyError":
                _details(driver, driver.text(arguments[0]))
                driver.line(f"return {driver.error(exception, '{text}', location)}")
                return
        if not arguments:
            driver.line(f"return {driver.error(exception, '', location)}")
            return
        kinds, slots = "", []
        for argument in arguments:
            kind, values = _argument(driver, argument)
            kinds += kind
            slots += values
        record = driver.fresh("l")
        driver.allocate(record, str(8 * max(len(slots), 1)))
        for index, (kind, text) in enumerate(slots):
            driver.line(f"set_cell{'_f64' if kind == 'f' else ''}({record}, {index}, {text})")
        _details(driver, (record, "0"))
        driver.line(f"return {driver.error(exception, f'{{args:{kinds}}}', location)}")


def _details(driver: Driver, texts: tuple[str, str]) -> None:
    for slot, text in zip(_DETAILS, texts, strict=True):
        driver.line(f"set_slot_i64(frame, {slot}, {text})")


def _argument(driver: Driver, value: Value) -> tuple[str, list[tuple[str, str]]]:
    """The letters of an exception's argument (see `ErrorSite`), and (kind, text) of its slots."""
    match value.type:
        case StrType():
            address, length = driver.text(value)
            return "s", [("i", address), ("i", length)]
        case FloatType():
            return "f", [("f", driver.scalar(value))]
        case ComplexType():
            text = driver.scalar(value)
            return "c", [("f", f"({text}).real"), ("f", f"({text}).imag")]
        case BoolType():
            return "b", [("i", driver.slot_value(value))]
        case IntType():
            return "i", [("i", driver.scalar(value))]
        case NoneType():
            return "n", []
        case TupleType() if value in driver.tuples:
            parts = [_argument(driver, v) for v in driver.tuples[value]]
            return f"({''.join(k for k, _ in parts)})", [slot for _, slots in parts for slot in slots]
    raise Unsupported(f"an exception with an argument of type {value.type}")


# -- catching ----------------------------------------------------------------------------------------------------------


def _try(driver: Driver, instruction: Instruction) -> None:
    handler, error, *results = instruction.results
    passed = [Passed(driver, r, r.type) for r in results]
    name = instruction.attributes["name"]
    catches = instruction.attributes["catches"]
    frame = TryFrame(name, driver.fresh("s"), passed, len(driver.loops), driver.nesting + 1, catches)
    driver.line(f"{frame.status} = 0")
    _pass(driver, frame, instruction.inputs)
    driver.tries.append(frame)
    driver.clock += 1
    with driver.block("while True:"):
        (region,) = instruction.regions
        driver.run_block(region)
        _pass(driver, frame, region.terminator.inputs)
        driver.line("break")
    driver.tries.pop()
    driver.clock += 1
    number = driver.fresh("s")
    driver.locals[handler] = number
    record = driver.fresh("l")
    driver.locals[error] = record
    driver.line(f"{number} = 0")
    driver.line(f"{record} = 0")
    by_handler: dict[int, list[int]] = {}
    for status in sorted(frame.statuses):
        site = driver.errors[status - 1]
        by_handler.setdefault(_handler(site.exception, instruction.attributes["catches"]), []).append(status)
    uncaught = by_handler.pop(0, [])
    with driver.block(f"if {frame.status} != 0:"):
        for found, statuses in by_handler.items():
            with driver.block(f"if {' or '.join(f'{frame.status} == {s}' for s in statuses)}:"):
                driver.line(f"{number} = {found}")
        with driver.block(f"if {number} == 0:"):
            if driver.tries:
                driver.tries[-1].statuses.update(uncaught)
            driver.line(f"return {frame.status}")
        if any(error in i.operands for i in driver.graph.walk()):
            driver.allocate(record, "24")
            driver.line(f"set_cell({record}, 0, {frame.status})")
            for slot, detail in enumerate(_DETAILS, 1):
                driver.line(f"set_cell({record}, {slot}, slot_i64(frame, {detail}))")
            driver.caught[error] = {s for statuses in by_handler.values() for s in statuses}
        driver.restore_generator()


def _handler(exception: str, catches: tuple[tuple[str, int], ...]) -> int:
    numbers = dict(catches)
    if exception in numbers:
        return numbers[exception]
    return next((numbers[n] for n in builtin_names(exception) if n in numbers), 0)


def _pass(driver: Driver, frame: TryFrame, values: list[Value]) -> None:
    pairs = []
    for target, value in zip(frame.passed, values, strict=True):
        pairs += target.text(value)
    assign(driver, pairs)


def _save(driver: Driver, instruction: Instruction) -> None:
    frame = next(f for f in driver.tries if f.name == instruction.attributes["name"])
    if len(driver.loops) == frame.loops:
        _pass(driver, frame, instruction.inputs)
        return
    # Memory of a value made in a loop is written again in the next round: what was saved must stay.
    pairs = []
    for index, (target, value) in enumerate(zip(frame.passed, instruction.inputs, strict=True)):
        made = target.text(value)
        if isinstance(target.type, TensorType) and made:
            (local, address), *sizes = made
            nbytes = driver.size(driver.nbytes(value.type))
            if driver.is_static(value.type):
                if index not in frame.copies:
                    frame.copies[index] = driver.new_buffer(driver.nbytes(value.type))
                copy = frame.copies[index]
            else:
                copy = driver.new_buffer(driver.nbytes(value.type), static=False)
            driver.storages[target.value].members.append(copy)
            driver.touch(copy)
            driver.line(f"move_bytes({copy.address}, {address}, {nbytes})")
            made = [(local, copy.address), *sizes]
        pairs += made
    assign(driver, pairs)


def _reraise(driver: Driver, instruction: Instruction) -> None:
    value = instruction.operands[0]
    assert value is not None
    record = driver.scalar(value)
    with driver.block("if frame != 0:"):
        for slot, detail in enumerate(_DETAILS, 1):
            driver.line(f"set_slot_i64(frame, {detail}, cell({record}, {slot}))")
        if driver.tries:
            driver.tries[-1].statuses.update(driver.caught_by(value))
        driver.line(f"return cell({record}, 0)")


TRIES = {"raise": _raise, "try": _try, "save": _save, "reraise": _reraise}
