"""Dicts and sets in the driver, by functions that are made for each type of keys (`dict_code`)."""

import hashlib
from collections.abc import Callable

from ...ir.core import Instruction, Value
from ...ir.types import (
    BoolType,
    ComplexType,
    DictType,
    FloatType,
    IntType,
    RecordType,
    SetType,
    StrType,
    TupleType,
    Type,
    contained_types,
)
from .dict_code import DICT_FUNCTIONS, dict_find, set_functions
from .driver import Driver
from .equality import equal_function, hash_function
from .forms import adopt, copy_slots, kinds, parts, read_slots, width, write_slots
from .fusion import Unsupported
from .interface import check_type
from .module import STATUS_OUT_OF_MEMORY
from .texts import use

__all__ = ["DICTS", "run_hash"]

_CALLS: dict[str, tuple[str, ...]] = {
    "dict_add": ("dict_grow",),
    "dict_copy": ("dict_new",),
    "set_resize": ("set_place",),
    "set_count": ("set_resize", "set_place"),
}


def _paste(driver: Driver, *names: str) -> None:
    for name in names:
        for needed in (*_CALLS.get(name, ()), name):
            driver.functions.setdefault(needed, DICT_FUNCTIONS[needed].strip())


def _suffix(type: Type) -> str:
    return hashlib.sha256(str(type).encode()).hexdigest()[:8]


def _check_memory(driver: Driver, name: str) -> None:
    driver.uses_arena = True
    with driver.block(f"if {name} == 0:"):
        driver.line(f"return {STATUS_OUT_OF_MEMORY}")


def _made(driver: Driver, result: Value, call: str) -> None:
    """Make an object of a call that gives its address."""
    name = driver.fresh("l")
    driver.line(f"{name} = {call}")
    _check_memory(driver, name)
    driver.locals[result] = name


class _Dict:
    """A dict operand: its local, types, and the function that finds a key."""

    def __init__(self, driver: Driver, value: Value, instruction: Instruction) -> None:
        assert isinstance(value.type, DictType)
        check_type(value.type, instruction.location)
        self.driver, self.instruction = driver, instruction
        self.key, self.element = value.type.key, value.type.element
        self.name = driver.scalar(value) if value in driver.locals else ""
        self.first = 1 + width(self.key)  # slot of the value
        self.stride = 8 * (self.first + width(self.element))
        self.find = f"dict_find_{_suffix(self.key)}"
        if self.find not in driver.functions:
            equal = equal_function(driver, self.key, instruction.location)
            keys = [f"a{i}" for i in range(width(self.key))]
            driver.functions[self.find] = dict_find(self.find, keys, equal, read_slots("entry", self.key, 1))

    def key_of(self, value: Value) -> tuple[list[str], str]:
        """A key's slots and its hash, as locals."""
        driver = self.driver
        if type(value.type) is not type(self.key):
            raise Unsupported(f"{self.instruction.op.name} of {value.type} in a dict of {self.key}")
        texts = copy_slots(driver, parts(driver, value, self.key))
        (hashed,) = copy_slots(driver, [f"{hash_function(driver, self.key, None)}({', '.join(texts)})"])
        return texts, hashed

    def lookup(self, texts: list[str], hashed: str) -> str:
        """The address of a key's entry, or 0, as a local."""
        return copy_slots(self.driver, [f"{self.find}({self.name}, {self.stride}, {hashed}, {', '.join(texts)})"])[0]

    def add(self, texts: list[str], hashed: str, entry: str) -> None:
        """Add an entry for a key that is not there; `entry` becomes its address."""
        _paste(self.driver, "dict_add")
        self.driver.line(f"{entry} = dict_add(arena, {self.name}, {self.stride}, {hashed})")
        _check_memory(self.driver, entry)
        write_slots(self.driver, entry, texts, self.key, 1)

    def put(self, key: Value, value: Value) -> None:
        """`dict[key] = value`."""
        held = copy_slots(self.driver, parts(self.driver, value, self.element))
        texts, hashed = self.key_of(key)
        entry = self.lookup(texts, hashed)
        with self.driver.block(f"if {entry} == 0:"):
            self.add(texts, hashed, entry)
        write_slots(self.driver, entry, held, self.element, self.first)

    def value_at(self, entry: str) -> list[str]:
        return read_slots(entry, self.element, self.first)

    def key_error(self, entry: str, texts: list[str]) -> None:
        """KeyError with the key where there is no entry."""
        driver = self.driver
        with driver.block(f"if {entry} == 0:"):
            driver.line(f"return {key_error(driver, self.key, texts, self.instruction)}")


def _letters(type: Type) -> str:
    """The letters of a key among an exception's arguments (see `ErrorSite`)."""
    if isinstance(type, (TupleType, RecordType)):
        return f"({''.join(map(_letters, contained_types(type)))})"
    kinds = {IntType: "i", BoolType: "b", FloatType: "f", StrType: "s", ComplexType: "c"}
    return kinds.get(type.__class__, "n")


def key_error(driver: Driver, type: Type, texts: list[str], instruction: Instruction) -> int:
    """The status of a KeyError whose argument is the key."""
    message = f"{{args:{_letters(type)}}}"
    if isinstance(type, (IntType, BoolType, StrType)):
        for slot, text in enumerate(texts, 4):
            driver.line(f"set_slot_i64(frame, {slot}, {text})")
        message = {StrType: "{key:s}", BoolType: "{key:b}"}.get(type.__class__, "{key:i}")
    elif isinstance(type, FloatType):
        driver.line(f"set_slot_f64(frame, 4, {texts[0]})")
        message = "{key:f}"
    else:
        record = driver.fresh("l")
        driver.allocate(record, str(8 * max(len(texts), 1)))
        write_slots(driver, record, texts, type)
        driver.line(f"set_slot_i64(frame, 4, {record})")
        driver.line("set_slot_i64(frame, 5, 0)")
    return driver.error("KeyError", message, instruction.location)


def _operand(driver: Driver, instruction: Instruction) -> _Dict:
    return _Dict(driver, instruction.inputs[0], instruction)


def _dict_make(driver: Driver, instruction: Instruction) -> None:
    result = instruction.results[0]
    _paste(driver, "dict_new")
    _made(driver, result, "dict_new(arena)")
    made = _Dict(driver, result, instruction)
    for key, value in zip(instruction.inputs[::2], instruction.inputs[1::2], strict=True):
        made.put(key, value)


def _dict_get(driver: Driver, instruction: Instruction) -> None:
    d = _operand(driver, instruction)
    texts, hashed = d.key_of(instruction.inputs[1])
    entry = d.lookup(texts, hashed)
    d.key_error(entry, texts)
    adopt(driver, instruction.results[0], d.value_at(entry))
    if instruction.op.name == "dict.pop":
        _paste(driver, "dict_remove")
        driver.line(f"dict_remove({d.name}, {d.stride}, {entry})")


def _either(driver: Driver, d: _Dict, result: Value, entry: str, default: Value) -> list[str]:
    """Locals that hold the entry's value, or the default where there is no entry."""
    names = [driver.fresh("e") for _ in kinds(d.element)]
    given = copy_slots(driver, parts(driver, default, d.element))
    with driver.block(f"if {entry} != 0:"):
        for name, text in zip(names, d.value_at(entry), strict=True):
            driver.line(f"{name} = {text}")
    with driver.block("else:"):
        for name, text in zip(names, given, strict=True):
            driver.line(f"{name} = {text}")
    adopt(driver, result, names, d.element)
    return names


def _dict_get_or(driver: Driver, instruction: Instruction) -> None:
    d = _operand(driver, instruction)
    entry = d.lookup(*d.key_of(instruction.inputs[1]))
    _either(driver, d, instruction.results[0], entry, instruction.inputs[2])
    if instruction.op.name == "dict.pop_or":
        _paste(driver, "dict_remove")
        with driver.block(f"if {entry} != 0:"):
            driver.line(f"dict_remove({d.name}, {d.stride}, {entry})")


def _dict_setdefault(driver: Driver, instruction: Instruction) -> None:
    d = _operand(driver, instruction)
    texts, hashed = d.key_of(instruction.inputs[1])
    entry = d.lookup(texts, hashed)
    names = _either(driver, d, instruction.results[0], entry, instruction.inputs[2])
    with driver.block(f"if {entry} == 0:"):
        d.add(texts, hashed, entry)
        write_slots(driver, entry, names, d.element, d.first)


def _dict_set(driver: Driver, instruction: Instruction) -> None:
    _operand(driver, instruction).put(*instruction.inputs[1:])


def _dict_contains(driver: Driver, instruction: Instruction) -> None:
    d = _operand(driver, instruction)
    entry = d.lookup(*d.key_of(instruction.inputs[1]))
    driver.set_scalar(instruction.results[0], f"{entry} != 0")


def _length(driver: Driver, instruction: Instruction) -> None:
    driver.set_scalar(instruction.results[0], f"head({driver.scalar(instruction.inputs[0])}, 0)")


def _dict_popitem(driver: Driver, instruction: Instruction) -> None:
    d = _operand(driver, instruction)
    message = "popitem(): dictionary is empty"
    driver.fail_if(f"head({d.name}, 0) == 0", "KeyError", message, instruction.location)
    _paste(driver, "dict_last", "dict_remove")
    (entry,) = copy_slots(driver, [f"dict_last({d.name}, {d.stride})"])
    adopt(driver, instruction.results[0], [*read_slots(entry, d.key, 1), *d.value_at(entry)])
    driver.line(f"dict_remove({d.name}, {d.stride}, {entry})")


def _dict_update(driver: Driver, instruction: Instruction) -> None:
    d = _operand(driver, instruction)
    other = driver.scalar(instruction.inputs[1])
    index, entry = driver.fresh("e"), driver.fresh("e")
    with driver.block(f"for {index} in range(head({other}, 1)):"):
        driver.line(f"{entry} = head({other}, 3) + {index} * {d.stride}")
        with driver.block(f"if cell({entry}, 0) != 0:"):
            texts = copy_slots(driver, read_slots(entry, d.key, 1))
            held = copy_slots(driver, d.value_at(entry))
            (hashed,) = copy_slots(driver, [f"cell({entry}, 0) - 1"])
            place = d.lookup(texts, hashed)
            with driver.block(f"if {place} == 0:"):
                d.add(texts, hashed, place)
            write_slots(driver, place, held, d.element, d.first)


def _dict_equals(driver: Driver, instruction: Instruction) -> None:
    d = _operand(driver, instruction)
    other = _Dict(driver, instruction.inputs[1], instruction)
    if (d.key, d.element) != (other.key, other.element):
        raise Unsupported("dicts of different types are compared", instruction.location)
    equal = equal_function(driver, d.element, instruction.location)
    index, entry = driver.fresh("e"), driver.fresh("e")
    answer = driver.fresh("e")
    driver.line(f"{answer} = head({d.name}, 0) == head({other.name}, 0)")
    with driver.block(f"for {index} in range(head({d.name}, 1) if {answer} else 0):"):
        driver.line(f"{entry} = head({d.name}, 3) + {index} * {d.stride}")
        with driver.block(f"if cell({entry}, 0) != 0:"):
            texts = copy_slots(driver, read_slots(entry, d.key, 1))
            (hashed,) = copy_slots(driver, [f"cell({entry}, 0) - 1"])
            place = other.lookup(texts, hashed)
            same = f"{equal}({', '.join([*d.value_at(entry), *other.value_at(place)])})"
            with driver.block(f"if {place} == 0:"):
                driver.line(f"{answer} = False")
            with driver.block(f"elif not {same}:"):
                driver.line(f"{answer} = False")
    driver.set_scalar(instruction.results[0], answer)


def _dict_clear(driver: Driver, instruction: Instruction) -> None:
    _paste(driver, "dict_clear")
    driver.line(f"dict_clear({driver.scalar(instruction.inputs[0])})")


def _dict_copy(driver: Driver, instruction: Instruction) -> None:
    d = _operand(driver, instruction)
    _paste(driver, "dict_copy")
    _made(driver, instruction.results[0], f"dict_copy(arena, {d.name}, {d.stride})")


def _dict_part(driver: Driver, instruction: Instruction) -> None:
    d = _operand(driver, instruction)
    use(driver, "list_new")
    part = instruction.op.name.removeprefix("dict.")
    type = {"keys": d.key, "values": d.element}.get(part, TupleType((d.key, d.element)))
    first = d.first if part == "values" else 1
    if isinstance(type, BoolType):
        _paste(driver, "dict_part_bool")
        _made(driver, instruction.results[0], f"dict_part_bool(arena, {d.name}, {d.stride}, {first})")
        return
    _paste(driver, "dict_part")
    call = f"dict_part(arena, {d.name}, {d.stride}, {first}, {8 * width(type)})"
    _made(driver, instruction.results[0], call)


def _unchanged(message: str) -> Callable[[Driver, Instruction], None]:
    def emit(driver: Driver, instruction: Instruction) -> None:
        name, length = (driver.scalar(v) for v in instruction.inputs)
        driver.fail_if(f"head({name}, 0) != {length}", "RuntimeError", message, instruction.location)

    return emit


# -- sets --------------------------------------------------------------------------------------------------------------


def _python_hash(driver: Driver, type: Type, texts: list[str]) -> str:
    """A value's hash as Python has it (of strings and tuples: a number of ours; Python's own differ by process)."""
    if isinstance(type, FloatType):
        _paste(driver, "python_hash_float")
        return f"python_hash_float({texts[0]})"
    if isinstance(type, (IntType, BoolType)):
        _paste(driver, "python_hash_int")
        return f"python_hash_int({texts[0]})"
    return f"{hash_function(driver, type, None)}({', '.join(texts)})"


def run_hash(driver: Driver, instruction: Instruction) -> None:
    """`hash` of a number."""
    value = instruction.inputs[0]
    if not isinstance(value.type, (IntType, BoolType, FloatType)):
        raise Unsupported(f"hash of {value.type}", instruction.location)
    driver.set_scalar(instruction.results[0], _python_hash(driver, value.type, parts(driver, value)))


class _Set:
    """A set operand: its local, type, and the functions of its element type."""

    def __init__(self, driver: Driver, value: Value, instruction: Instruction) -> None:
        assert isinstance(value.type, SetType)
        check_type(value.type, instruction.location)
        self.driver, self.instruction = driver, instruction
        self.element = value.type.element
        self.name = driver.scalar(value) if value in driver.locals else ""
        self.stride = 16 + 8 * width(self.element)
        self.suffix = _suffix(self.element)
        _paste(driver, "set_new", "set_count", "set_resize", "set_place", "set_drop", "set_clear")
        if f"set_find_{self.suffix}" not in driver.functions:
            equal = equal_function(driver, self.element, instruction.location)
            keys = [f"a{i}" for i in range(width(self.element))]
            write = [
                f"set_cell{'_f64' if kind == 'f' else ''}(place, {i}, {text})"
                for i, (kind, text) in enumerate(zip(kinds(self.element), keys, strict=True), 2)
            ]
            slots = read_slots("place", self.element, 2)
            driver.functions.update(set_functions(self.suffix, keys, equal, slots, write))

    def hashed(self, value: Value) -> str:
        """The hash of an element and its slots, as the last arguments of a function."""
        if type(value.type) is not type(self.element):
            raise Unsupported(f"{self.instruction.op.name} of {value.type} in a set of {self.element}")
        return self.hashed_texts(copy_slots(self.driver, parts(self.driver, value, self.element)))

    def hashed_texts(self, texts: list[str]) -> str:
        (hashed,) = copy_slots(self.driver, [_python_hash(self.driver, self.element, texts)])
        return ", ".join([hashed, *texts])

    def add(self, arguments: str) -> None:
        driver = self.driver
        driver.uses_arena = True
        with driver.block(f"if set_add_{self.suffix}(arena, {self.name}, {self.stride}, {arguments}) == 0:"):
            driver.line(f"return {STATUS_OUT_OF_MEMORY}")

    def find(self, arguments: str) -> str:
        return copy_slots(self.driver, [f"set_find_{self.suffix}({self.name}, {self.stride}, {arguments})"])[0]


def _new_set(driver: Driver, instruction: Instruction) -> _Set:
    made = _Set(driver, instruction.results[0], instruction)
    _made(driver, instruction.results[0], f"set_new(arena, {made.stride})")
    made.name = driver.scalar(instruction.results[0])
    return made


def _set_make(driver: Driver, instruction: Instruction) -> None:
    made = _new_set(driver, instruction)
    for value in instruction.inputs:
        made.add(made.hashed(value))


def _set_of(driver: Driver, instruction: Instruction) -> None:
    made = _new_set(driver, instruction)
    items, index = driver.scalar(instruction.inputs[0]), driver.fresh("e")
    with driver.block(f"for {index} in range(head({items}, 0)):"):
        if isinstance(made.element, BoolType):
            texts = [f"cell_u8(head({items}, 2), {index})"]
        else:
            texts = read_slots(f"head({items}, 2) + {index} * {8 * width(made.element)}", made.element)
        made.add(made.hashed_texts(copy_slots(driver, texts)))


def _set_change(driver: Driver, instruction: Instruction) -> None:
    s = _Set(driver, instruction.inputs[0], instruction)
    arguments = s.hashed(instruction.inputs[1])
    method = instruction.op.name.removeprefix("set.")
    if method == "add":
        s.add(arguments)
        return
    place = s.find(arguments)
    if method == "contains":
        driver.set_scalar(instruction.results[0], f"cell({place}, 0) == 1")
        return
    if method == "remove":
        with driver.block(f"if cell({place}, 0) != 1:"):
            driver.line(f"return {key_error(driver, s.element, arguments.split(', ')[1:], instruction)}")
    with driver.block(f"if cell({place}, 0) == 1:"):
        driver.line(f"set_drop({s.name}, {place})")


def _set_pop(driver: Driver, instruction: Instruction) -> None:
    s = _Set(driver, instruction.inputs[0], instruction)
    driver.fail_if(f"head({s.name}, 0) == 0", "KeyError", "pop from an empty set", instruction.location)
    _paste(driver, "set_next")
    (place,) = copy_slots(driver, [f"set_next({s.name}, {s.stride})"])
    adopt(driver, instruction.results[0], copy_slots(driver, read_slots(place, s.element, 2)))
    driver.line(f"set_drop({s.name}, {place})")


def _set_clear(driver: Driver, instruction: Instruction) -> None:
    s = _Set(driver, instruction.inputs[0], instruction)
    driver.uses_arena = True
    with driver.block(f"if set_clear(arena, {s.name}, {s.stride}) == 0:"):
        driver.line(f"return {STATUS_OUT_OF_MEMORY}")


def _merge(driver: Driver, s: _Set, function: str, to: str, other: str) -> None:
    driver.uses_arena = True
    with driver.block(f"if {function}_{s.suffix}(arena, {to}, {other}, {s.stride}) == 0:"):
        driver.line(f"return {STATUS_OUT_OF_MEMORY}")


def _set_copy(driver: Driver, instruction: Instruction) -> None:
    s = _Set(driver, instruction.inputs[0], instruction)
    made = _new_set(driver, instruction)
    _merge(driver, s, "set_merge", made.name, s.name)


def _pair_of_sets(driver: Driver, instruction: Instruction) -> tuple[_Set, str]:
    s, other = (_Set(driver, v, instruction) for v in instruction.inputs[:2])
    if s.element != other.element:
        raise Unsupported(f"{instruction.op.name} of sets of {s.element} and {other.element}", instruction.location)
    return s, other.name


def _set_combine(driver: Driver, instruction: Instruction) -> None:
    s, other = _pair_of_sets(driver, instruction)
    method, result = instruction.attributes["method"], instruction.results[0]
    if method in ("intersection", "difference"):
        function = "set_common" if method == "intersection" else "set_minus"
        _made(driver, result, f"{function}_{s.suffix}(arena, {s.name}, {other}, {s.stride})")
        return
    made = _new_set(driver, instruction)
    first, second = (s.name, other) if method == "union" else (other, s.name)
    _merge(driver, s, "set_merge", made.name, first)
    _merge(driver, s, "set_merge" if method == "union" else "set_toggle", made.name, second)


def _set_update(driver: Driver, instruction: Instruction) -> None:
    s, other = _pair_of_sets(driver, instruction)
    method = instruction.attributes["method"]
    if method == "intersection_update":
        (made,) = copy_slots(driver, [f"set_common_{s.suffix}(arena, {s.name}, {other}, {s.stride})"])
        _check_memory(driver, made)
        for slot in range(5):
            driver.line(f"set_head({s.name}, {slot}, head({made}, {slot}))")
        return
    function = {"update": "set_merge", "difference_update": "set_without"}.get(method, "set_toggle")
    _merge(driver, s, function, s.name, other)


def _set_compare(driver: Driver, instruction: Instruction) -> None:
    s, other = _pair_of_sets(driver, instruction)
    method = instruction.attributes["method"]
    small, large = (other, s.name) if method == "issuperset" else (s.name, other)
    inside = f"set_inside_{s.suffix}({small}, {large}, {s.stride})"
    wanted = "0" if method == "isdisjoint" else f"head({small}, 0)"
    text = f"{inside} == {wanted}"
    if method == "equals":
        text = f"head({small}, 0) == head({large}, 0) and {text}"
    driver.set_scalar(instruction.results[0], text)


def _set_values(driver: Driver, instruction: Instruction) -> None:
    s = _Set(driver, instruction.inputs[0], instruction)
    use(driver, "list_new")
    name = "set_values_bool" if isinstance(s.element, BoolType) else "set_values"
    _paste(driver, name)
    _made(driver, instruction.results[0], f"{name}(arena, {s.name}, {s.stride})")


DICTS: dict[str, Callable[[Driver, Instruction], None]] = {
    "dict.make": _dict_make,
    "dict.get": _dict_get,
    "dict.get_or": _dict_get_or,
    "dict.set": _dict_set,
    "dict.contains": _dict_contains,
    "dict.length": _length,
    "dict.pop": _dict_get,
    "dict.pop_or": _dict_get_or,
    "dict.popitem": _dict_popitem,
    "dict.setdefault": _dict_setdefault,
    "dict.update": _dict_update,
    "dict.clear": _dict_clear,
    "dict.copy": _dict_copy,
    "dict.keys": _dict_part,
    "dict.values": _dict_part,
    "dict.items": _dict_part,
    "dict.equals": _dict_equals,
    "dict.unchanged": _unchanged("dictionary changed size during iteration"),
    "set.make": _set_make,
    "set.of": _set_of,
    "set.add": _set_change,
    "set.discard": _set_change,
    "set.remove": _set_change,
    "set.contains": _set_change,
    "set.length": _length,
    "set.pop": _set_pop,
    "set.clear": _set_clear,
    "set.copy": _set_copy,
    "set.values": _set_values,
    "set.combine": _set_combine,
    "set.update": _set_update,
    "set.compare": _set_compare,
    "set.unchanged": _unchanged("Set changed size during iteration"),
}
