"""Values that are assigned on several paths: locals of the driver, made once."""

import re
from collections.abc import Sequence

from ...ir.core import Value
from ...ir.types import (
    BoolType,
    NoneType,
    OptionalType,
    RecordType,
    StrType,
    TensorType,
    TupleType,
    Type,
    contained_types,
)
from .driver import Driver, Storage
from .interface import check_type

__all__ = ["Passed", "assign"]


class Passed:
    """A value that is assigned on several paths (results of `if`, what a loop carries): locals made once."""

    def __init__(self, driver: Driver, value: Value, type: Type) -> None:
        check_type(type)
        self.driver = driver
        self.value = value
        self.type = type
        self.name = ""
        self.parts: list[Passed] = []
        match type:
            case TensorType():
                self.name = driver.fresh("j")
                driver.storages[value] = Storage(self.name, driver.clock, driver.clock)
            case TupleType() | RecordType() | OptionalType():
                values = [driver.held(t) for t in contained_types(type)]
                if isinstance(type, OptionalType):
                    values.insert(0, Value(BoolType()))
                driver.tuples[value] = values
                self.parts = [Passed(driver, v, v.type) for v in values]
            case NoneType():
                pass
            case StrType():
                driver.texts[value] = (driver.fresh("m"), driver.fresh("k"))
            case _:
                self.name = driver.fresh("s")
                driver.locals[value] = self.name

    def text(self, source: Value) -> list[tuple[str, str]]:
        """(local, what it gets) for the value and its parts."""
        match self.type:
            case TensorType():
                storage = self.driver.storage_of(source)
                self.driver.storages[self.value].members.append(storage)
                return [(self.name, self.driver.address(source)), *self.symbols(source)]
            case StrType():
                return list(zip(self.driver.texts[self.value], self.driver.text(source), strict=True))
            case TupleType() | RecordType() | OptionalType():
                pairs = []
                for part, element in zip(self.parts, self.driver.tuples[source], strict=True):
                    pairs.extend(part.text(element))
                return pairs
            case NoneType():
                return []
        return [(self.name, self.driver.scalar(source))]

    def symbols(self, source: Value) -> list[tuple[str, str]]:
        """Locals of the sizes that the value's type alone has names for."""
        driver = self.driver
        pairs = []
        assert isinstance(self.type, TensorType) and isinstance(source.type, TensorType)
        for dim, actual in zip(self.type.shape, source.type.shape, strict=True):
            if dim == actual or isinstance(dim, int) or not dim.is_symbol() or str(dim) in driver.argument_symbols:
                continue
            if str(dim) not in driver.symbol_locals:
                driver.symbol_locals[str(dim)] = driver.fresh("d")
            pair = (driver.symbol_locals[str(dim)], driver.size(actual))
            if pair not in pairs and pair[0] != pair[1]:
                pairs.append(pair)
        return pairs


def assign(driver: Driver, pairs: Sequence[tuple[str, str]]) -> None:
    """Assign all at once: through temporaries where one is read after it is written."""
    pairs = list(dict.fromkeys((a, b) for a, b in pairs if a != b))
    targets = {a for a, _ in pairs}
    if any(_mentions(b, targets - {a}) for a, b in pairs):
        temporaries = []
        for target, text in pairs:
            name = driver.fresh("q")
            driver.line(f"{name} = {text}")
            temporaries.append((target, name))
        pairs = temporaries
    for target, text in pairs:
        driver.line(f"{target} = {text}")


def _mentions(text: str, names: set[str]) -> bool:
    return any(word in names for word in re.findall(r"[A-Za-z_]\w*", text))
