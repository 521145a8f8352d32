"""Comparison, order and hash of values in the memory of run-time objects: functions made for each type, pasted in
front of the driver. What they compare are the slots of a value, given one by one.
"""

import hashlib
from collections.abc import Sequence

from ...ir.location import Location, printable
from ...ir.types import (
    BoolType,
    ComplexType,
    FloatType,
    IntType,
    ListType,
    NoneType,
    OptionalType,
    RecordType,
    StrType,
    TupleType,
    Type,
    contained_types,
)
from ..errors import Unsupported
from .driver import Driver
from .forms import kinds, width
from .texts import use

__all__ = ["compare_function", "equal_function", "hash_function"]


def _names(type: Type, *prefixes: str) -> list[list[str]]:
    return [[f"{p}{i}" for i in range(width(type))] for p in prefixes]


def _key(type: Type) -> str:
    return hashlib.sha256(str(type).encode()).hexdigest()[:8]


def _element(type: Type, items: str, index: str) -> list[str]:
    """The texts of the slots of a list's element."""
    if isinstance(type, BoolType):
        return [f"cell_u8(head({items}, 2), {index})"]
    step = width(type)
    read = {"f": "cell_f64", "i": "cell"}
    return [f"{read[k]}(head({items}, 2), {index} * {step} + {i})" for i, k in enumerate(kinds(type))]


def equal_function(driver: Driver, type: Type, location: Location | None) -> str:
    """The name of a function of the slots of two values: whether they are equal."""
    name = f"equal_{_key(type)}"
    if name in driver.functions:
        return name
    a, b = _names(type, "a", "b")
    body: list[str]
    match type:
        case IntType() | BoolType() | FloatType():
            body = ["return a0 == b0"]
        case ComplexType():
            body = ["return a0 == b0 and a1 == b1"]
        case StrType():
            use(driver, "text_equal")
            body = ["return text_equal(a0, a1, b0, b1)"]
        case NoneType():
            body = ["return True"]
        case OptionalType(element=element):
            inner = equal_function(driver, element, location)
            body = [
                "if a0 != b0:",
                "    return False",
                f"return a0 == 0 or {inner}({', '.join([*a[1:], *b[1:]])})",
            ]
        case TupleType() | RecordType():
            body = []
            position = 0
            for part in contained_types(type):
                inner, count = equal_function(driver, part, location), width(part)
                values = [*a[position : position + count], *b[position : position + count]]
                body += [f"if not {inner}({', '.join(values)}):", "    return False"]
                position += count
            body.append("return True")
        case ListType(element=element):
            inner = equal_function(driver, element, location)
            values = [*_element(element, "a0", "k"), *_element(element, "b0", "k")]
            body = [
                "if a0 == b0:",
                "    return True",
                "if head(a0, 0) != head(b0, 0):",
                "    return False",
                "for k in range(head(a0, 0)):",
                f"    if not {inner}({', '.join(values)}):",
                "        return False",
                "return True",
            ]
        case _:
            raise Unsupported(f"comparing values of type {type}", location)
    _paste(driver, name, [*a, *b], f"Whether two values of type {type} are equal.", body)
    return name


def compare_function(driver: Driver, type: Type, location: Location | None) -> str:
    """The name of a function of the slots of two values: -1, 0 or 1 as the first is less, equal or greater."""
    name = f"compare_{_key(type)}"
    if name in driver.functions:
        return name
    a, b = _names(type, "a", "b")
    body: list[str]
    match type:
        case IntType() | BoolType() | FloatType():
            body = ["return -1 if a0 < b0 else (1 if b0 < a0 else 0)"]
        case StrType():
            use(driver, "text_compare")
            body = ["return text_compare(a0, a1, b0, b1)"]
        case TupleType() | RecordType():
            body = []
            position = 0
            for part in contained_types(type):
                inner, count = compare_function(driver, part, location), width(part)
                values = [*a[position : position + count], *b[position : position + count]]
                body += [f"order = {inner}({', '.join(values)})", "if order != 0:", "    return order"]
                position += count
            body.append("return 0")
        case ListType(element=element):
            inner = compare_function(driver, element, location)
            values = [*_element(element, "a0", "k"), *_element(element, "b0", "k")]
            body = [
                "for k in range(min(head(a0, 0), head(b0, 0))):",
                f"    order = {inner}({', '.join(values)})",
                "    if order != 0:",
                "        return order",
                "return -1 if head(a0, 0) < head(b0, 0) else (1 if head(a0, 0) > head(b0, 0) else 0)",
            ]
        case _:
            raise Unsupported(f"the order of values of type {type}", location)
    _paste(driver, name, [*a, *b], f"-1, 0 or 1 as one value of type {type} is less, equal or greater.", body)
    return name


def hash_function(driver: Driver, type: Type, location: Location | None) -> str:
    """The name of a function of a value's slots: a number that is not negative and that equal values share."""
    name = f"hash_{_key(type)}"
    if name in driver.functions:
        return name
    (a,) = _names(type, "a")
    body: list[str]
    match type:
        case IntType() | BoolType():
            body = ["return (a0 ^ (a0 >> 31)) & 0x1FFFFFFFFFFFFF"]
        case FloatType():
            # Zeros are equal whatever their sign; adding makes one of them.
            body = ["h = float_to_bits_f64(a0 + 0.0)", "return (h ^ (h >> 29)) & 0x1FFFFFFFFFFFFF"]
        case ComplexType():
            inner = hash_function(driver, FloatType(), location)
            body = [f"return (({inner}(a0) * 435) ^ {inner}(a1)) & 0x1FFFFFFFFFFFFF"]
        case StrType():
            use(driver, "text_hash")
            body = ["return text_hash(a0, a1)"]
        case TupleType() | RecordType():
            body = ["h = 17"]
            position = 0
            for part in contained_types(type):
                inner, count = hash_function(driver, part, location), width(part)
                values = ", ".join(a[position : position + count])
                body.append(f"h = ((h ^ {inner}({values})) * 435) & 0x1FFFFFFFFFFFFF")
                position += count
            body.append("return h")
        case NoneType():
            body = ["return 0"]
        case _:
            raise Unsupported(f"the hash of values of type {type}", location)
    _paste(driver, name, a, f"A number that equal values of type {type} share.", body)
    return name


def _paste(driver: Driver, name: str, parameters: Sequence[str], doc: str, body: Sequence[str]) -> None:
    lines = "\n".join(f"    {line}" for line in body)
    driver.functions[name] = f"def {name}({', '.join(parameters)}):\n    # {printable(doc)}\n{lines}"
