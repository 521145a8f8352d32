"""What goes into a driver and comes out of it: arguments, results, and which types have a native form."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...ir.core import Graph, Value
from ...ir.dims import DimExpr
from ...ir.location import Location
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
    ScalarType,
    SetType,
    StrType,
    TensorType,
    TupleType,
    Type,
    contained_types,
)
from ..errors import Unsupported
from ..memory_form import slot_count
from .module import FRAME_HEADER, ArgumentSpec, ResultSpec

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["argument_specs", "argument_symbols", "check_type", "number_literal", "result_slots", "result_specs"]


_IN_SLOTS = (ListType, DictType, SetType, StrType, TupleType, OptionalType, RecordType, ComplexType)


def value_location(value: Value) -> Location | None:
    """Where a value comes from."""
    return value.instruction.location if value.instruction is not None else None


def number_literal(value: Any, location: Location | None) -> str:
    """A Python number as text in the driver."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise Unsupported(f"the integer {value} does not fit into 64 bits", location)
        return str(value) if value >= 0 else f"({value})"
    if isinstance(value, float):
        if value != value:
            return "math.nan"
        if value in (float("inf"), float("-inf")):
            return "math.inf" if value > 0 else "(-math.inf)"
        return repr(value) if not repr(value).startswith("-") else f"({value!r})"
    if isinstance(value, complex):
        return f"complex({number_literal(value.real, location)}, {number_literal(value.imag, location)})"
    raise Unsupported(f"the constant {value!r} has no native form", location)


def argument_symbols(graph: Graph) -> frozenset[str]:
    """The symbols whose values are known from the arguments."""
    found: set[str] = set()
    for argument in graph.arguments:
        match argument.type:
            case TensorType(shape=shape):
                found.update(str(d) for d in shape if isinstance(d, DimExpr) and d.is_symbol())
            case IntType(value=DimExpr() as value) if value.is_symbol():
                found.add(str(value))
    return frozenset(found)


def check_type(type: Type, location: Location | None = None) -> None:
    """Raise Unsupported where a value of this type has no native form."""
    match type:
        case TensorType(device=device):  # kernels compute with some dtypes only, but memory holds all of them
            if device != "cpu":
                raise Unsupported(f"a tensor on {device}", location)
        case IntType() | FloatType() | BoolType() | ComplexType() | NoneType() | StrType():
            pass
        case TupleType(elements=elements):
            for element in elements:
                check_type(element, location)
        case RecordType() | OptionalType() | ListType() | DictType() | SetType():
            for element in contained_types(type):
                check_type(element, location)
        case _:
            raise Unsupported(f"a value of type {type}", location)


def argument_specs(driver: "Driver", written: frozenset[int]) -> list[ArgumentSpec]:
    """Read the arguments from the frame into locals."""
    specs = []
    for index, argument in enumerate(driver.graph.arguments):
        check_type(argument.type)
        slot = FRAME_HEADER + index
        specs.append(ArgumentSpec(argument.name or f"argument{index}", argument.type, index in written))
        match argument.type:
            case TensorType():
                name = f"a{index}"
                driver.line(f"{name} = slot_i64(frame, {slot})")
                driver.place(argument, name)
            case FloatType():
                driver.set_scalar(argument, f"slot_f64(frame, {slot})")
            case BoolType():
                driver.set_scalar(argument, f"slot_i64(frame, {slot}) != 0")
            case IntType() | ListType() | DictType() | SetType():
                driver.set_scalar(argument, f"slot_i64(frame, {slot})")
            case StrType():
                # The slot holds the address of two slots: that of the characters, and their number.
                pair = f"slot_i64(frame, {slot})"
                driver.set_text(argument, f"slot_i64({pair}, 0)", f"slot_i64({pair}, 1)")
            case ComplexType():
                pair = f"slot_i64(frame, {slot})"
                driver.set_scalar(argument, f"complex(slot_f64({pair}, 0), slot_f64({pair}, 1))")
            case NoneType():
                pass
            case _:
                raise Unsupported(f"an argument of type {argument.type}")
    return specs


def result_specs(driver: "Driver") -> list[ResultSpec]:
    """Decide where each result comes from, before code is generated: outputs are written in place where possible."""
    graph = driver.graph
    written = {result: argument for argument, result in graph.writes}
    specs: list[ResultSpec] = []
    for index, value in enumerate(graph.results):
        check_type(value.type, value_location(value))
        if index in written:
            specs.append(ResultSpec(value.type, "argument", written[index]))
        elif isinstance(value.type, TensorType):
            if value.block is graph.block:
                specs.append(ResultSpec(value.type, "argument", value.index))
            elif driver.is_static(value.type):
                specs.append(ResultSpec(value.type, "output"))
            else:
                specs.append(ResultSpec(value.type, "runtime"))
        elif isinstance(value.type, _IN_SLOTS):
            specs.append(ResultSpec(value.type, "list"))
        elif isinstance(value.type, ScalarType):
            specs.append(ResultSpec(value.type, "scalar"))
        else:
            raise Unsupported(f"a result of type {value.type}", value_location(value))
    return specs


def result_slots(specs: Sequence[ResultSpec], n_arguments: int) -> list[int]:
    """The first frame slot of each result."""
    slots = []
    slot = FRAME_HEADER + n_arguments
    for spec in specs:
        slots.append(slot)
        slot += slot_count(spec)
    return slots
