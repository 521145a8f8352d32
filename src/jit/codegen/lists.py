"""Lists in the driver: objects in the arena with the slots length, capacity, and address of the elements.

A number takes one slot, a tensor 1 + rank: the address of a copy of its own in the arena, and its sizes. Whatever is
more than a few statements is a function that is pasted in front of the driver.
"""

from collections.abc import Callable

from ...ir.core import Instruction, Value
from ...ir.types import BoolType, FloatType, IntType, ListType, TensorType, Type
from .driver import Driver, Storage
from .fusion import Unsupported
from .interface import check_type

__all__ = ["LISTS"]

_FUNCTIONS = {
    "list_reserve": '''
def list_reserve(arena, items, width, extra):
    """Make room for `extra` more elements of `width` slots; 0 when out of memory."""
    length, capacity = slot_i64(items, 0), slot_i64(items, 1)
    if length + extra <= capacity:
        return 1
    larger = max(2 * capacity, length + extra, 8)
    memory = arena_allocate(arena, larger * width * 8)
    if memory == 0:
        return 0
    copy_bytes(memory, slot_i64(items, 2), length * width * 8)
    arena_release(arena, slot_i64(items, 2))
    set_slot_i64(items, 1, larger)
    set_slot_i64(items, 2, memory)
    return 1
''',
    "list_new": '''
def list_new(arena, length, width):
    """A new list of `length` elements, not written yet; 0 when out of memory."""
    items = arena_allocate(arena, 24)
    memory = arena_allocate(arena, max(length, 1) * width * 8)
    if items == 0 or memory == 0:
        return 0
    set_slot_i64(items, 0, length)
    set_slot_i64(items, 1, max(length, 1))
    set_slot_i64(items, 2, memory)
    return items
''',
    "list_slice": '''
def list_slice(arena, items, width, from_start, start, to_end, stop, step):
    """A new list of the elements of a slice, by Python's rules; 0 when out of memory."""
    length, source = slot_i64(items, 0), slot_i64(items, 2)
    lowest, highest = (0, length) if step > 0 else (-1, length - 1)
    start = start + length if start < 0 else start
    stop = stop + length if stop < 0 else stop
    start = min(max(start, lowest), highest)
    stop = min(max(stop, lowest), highest)
    if from_start:
        start = lowest if step > 0 else highest
    if to_end:
        stop = highest if step > 0 else lowest
    count = max((stop - start + step - 1) // step if step > 0 else (start - stop - step - 1) // (-step), 0)
    result = list_new(arena, count, width)
    if result != 0:
        for k in range(count):
            copy_bytes(slot_i64(result, 2) + k * width * 8, source + (start + k * step) * width * 8, width * 8)
    return result
''',
    "list_reverse": '''
def list_reverse(items, width):
    """Reverse the order of the elements."""
    length, memory = slot_i64(items, 0), slot_i64(items, 2)
    for k in range(length // 2):
        for s in range(width):
            low, high = k * width + s, (length - 1 - k) * width + s
            first, second = slot_i64(memory, low), slot_i64(memory, high)
            set_slot_i64(memory, low, second)
            set_slot_i64(memory, high, first)
''',
    "list_sizes_differ": '''
def list_sizes_differ(items, rank, axis):
    """Whether tensors of a list differ in a size other than that of `axis`."""
    memory = slot_i64(items, 2)
    for k in range(1, slot_i64(items, 0)):
        for a in range(rank):
            if a != axis and slot_i64(memory, k * (1 + rank) + 1 + a) != slot_i64(memory, 1 + a):
                return True
    return False
''',
    "list_size_sum": '''
def list_size_sum(items, rank, axis):
    """The sum of the sizes of a list's tensors along a dimension."""
    total, memory = 0, slot_i64(items, 2)
    for k in range(slot_i64(items, 0)):
        total += slot_i64(memory, k * (1 + rank) + 1 + axis)
    return total
''',
    "list_join": '''
def list_join(items, rank, axis, itemsize, to):
    """Copy a list's tensors side by side along a dimension, which may be a new one."""
    memory = slot_i64(items, 2)
    whole = 0
    for k in range(slot_i64(items, 0)):
        block = itemsize
        for a in range(axis, rank):
            block *= slot_i64(memory, k * (1 + rank) + 1 + a)
        whole += block
    offset = 0
    for k in range(slot_i64(items, 0)):
        outer, block = 1, itemsize
        for a in range(rank):
            size = slot_i64(memory, k * (1 + rank) + 1 + a)
            if a < axis:
                outer *= size
            else:
                block *= size
        source = slot_i64(memory, k * (1 + rank))
        for o in range(outer):
            copy_bytes(to + o * whole + offset, source + o * block, block)
        offset += block
''',
}


def _use(driver: Driver, *names: str) -> None:
    """Paste functions in front of the driver."""
    for name in names:
        driver.functions[name] = _FUNCTIONS[name].strip()


def _out_of_memory(driver: Driver, condition: str) -> None:
    driver.uses_arena = True
    with driver.block(f"if {condition}:"):
        driver.line("return -1")


def _element_type(value: Value) -> Type:
    assert isinstance(value.type, ListType)
    check_type(value.type)
    return value.type.element


def _width(element: Type) -> int:
    return 1 + element.rank if isinstance(element, TensorType) else 1


def _write_element(driver: Driver, element: Type, place: str, value: Value) -> None:
    """Write a value into the slots of a list element; a tensor is copied into the arena."""
    driver.uses_arena = True
    if isinstance(element, TensorType):
        assert isinstance(value.type, TensorType)
        memory = driver.fresh("m")
        nbytes = driver.size(driver.nbytes(value.type))
        driver.allocate(memory, nbytes)
        driver.line(f"copy_bytes({memory}, {driver.address(value)}, {nbytes})")
        driver.line(f"set_slot_i64({place}, 0, {memory})")
        for axis, size in enumerate(value.type.shape):
            driver.line(f"set_slot_i64({place}, {axis + 1}, {driver.size(size)})")
    elif isinstance(element, FloatType):
        driver.line(f"set_slot_f64({place}, 0, {driver.scalar(value)})")
    else:
        driver.line(f"set_slot_i64({place}, 0, {driver.slot_value(value)})")


def _list_make(driver: Driver, instruction: Instruction) -> None:
    result = instruction.results[0]
    element = _element_type(result)
    name = driver.fresh("l")
    count, width = len(instruction.inputs), _width(element)
    driver.allocate(name, "24")
    driver.line(f"set_slot_i64({name}, 0, {count})")
    driver.line(f"set_slot_i64({name}, 1, {count})")
    if count:
        memory = driver.fresh("m")
        driver.allocate(memory, str(count * width * 8))
        driver.line(f"set_slot_i64({name}, 2, {memory})")
        for index, value in enumerate(instruction.inputs):
            _write_element(driver, element, f"{memory} + {index * width * 8}" if index else memory, value)
    else:
        driver.line(f"set_slot_i64({name}, 2, 0)")
    driver.locals[result] = name


def _list_append(driver: Driver, instruction: Instruction) -> None:
    items, value = instruction.inputs
    element = _element_type(items)
    name, width = driver.scalar(items), _width(element)
    _use(driver, "list_reserve")
    _out_of_memory(driver, f"list_reserve(arena, {name}, {width}, 1) == 0")
    place = driver.fresh("e")
    driver.line(f"{place} = slot_i64({name}, 2) + slot_i64({name}, 0) * {width * 8}")
    _write_element(driver, element, place, value)
    driver.line(f"set_slot_i64({name}, 0, slot_i64({name}, 0) + 1)")


def _element_place(driver: Driver, instruction: Instruction, what: str) -> str:
    """The address of an element's slots, its index checked."""
    items, index = instruction.inputs[:2]
    name, width = driver.scalar(items), _width(_element_type(items))
    position = driver.fresh("e")
    driver.line(f"{position} = {driver.scalar(index)}")
    with driver.block(f"if {position} < 0:"):
        driver.line(f"{position} += slot_i64({name}, 0)")
    driver.fail_if(f"{position} < 0 or {position} >= slot_i64({name}, 0)", "IndexError", what, instruction.location)
    place = driver.fresh("e")
    driver.line(f"{place} = slot_i64({name}, 2) + {position} * {width * 8}")
    return place


def _list_get(driver: Driver, instruction: Instruction) -> None:
    _read_element(driver, instruction.results[0], _element_place(driver, instruction, "list index out of range"))


def _read_element(driver: Driver, result: Value, place: str) -> None:
    """Make a result of the element at `place`."""
    match result.type:
        case TensorType():
            name = driver.fresh("m")
            driver.line(f"{name} = slot_i64({place}, 0)")
            driver.storages[result] = Storage(name, arena=True)
            driver.bind_symbols(result.type, [f"slot_i64({place}, {axis + 1})" for axis in range(result.type.rank)])
        case FloatType():
            driver.set_scalar(result, f"slot_f64({place}, 0)")
        case BoolType():
            driver.set_scalar(result, f"slot_i64({place}, 0) != 0")
        case _:
            driver.set_scalar(result, f"slot_i64({place}, 0)")


def _list_set(driver: Driver, instruction: Instruction) -> None:
    items, _, value = instruction.inputs
    place = _element_place(driver, instruction, "list assignment index out of range")
    _write_element(driver, _element_type(items), place, value)


def _list_pop(driver: Driver, instruction: Instruction) -> None:
    items = instruction.inputs[0]
    name, width = driver.scalar(items), _width(_element_type(items))
    driver.fail_if(f"slot_i64({name}, 0) == 0", "IndexError", "pop from empty list", instruction.location)
    place = _element_place(driver, instruction, "pop index out of range")
    _read_element(driver, instruction.results[0], place)
    end = f"slot_i64({name}, 2) + slot_i64({name}, 0) * {width * 8}"
    driver.line(f"move_bytes({place}, {place} + {width * 8}, {end} - {place} - {width * 8})")
    driver.line(f"set_slot_i64({name}, 0, slot_i64({name}, 0) - 1)")


def _list_insert(driver: Driver, instruction: Instruction) -> None:
    items, index, value = instruction.inputs
    element = _element_type(items)
    name, width = driver.scalar(items), _width(element)
    _use(driver, "list_reserve")
    _out_of_memory(driver, f"list_reserve(arena, {name}, {width}, 1) == 0")
    position = driver.fresh("e")
    driver.line(f"{position} = {driver.scalar(index)}")
    with driver.block(f"if {position} < 0:"):
        driver.line(f"{position} += slot_i64({name}, 0)")
    driver.line(f"{position} = min(max({position}, 0), slot_i64({name}, 0))")
    place = driver.fresh("e")
    driver.line(f"{place} = slot_i64({name}, 2) + {position} * {width * 8}")
    driver.line(f"move_bytes({place} + {width * 8}, {place}, (slot_i64({name}, 0) - {position}) * {width * 8})")
    driver.line(f"set_slot_i64({name}, 0, slot_i64({name}, 0) + 1)")
    _write_element(driver, element, place, value)


def _list_extend(driver: Driver, instruction: Instruction) -> None:
    items, other = (driver.scalar(v) for v in instruction.inputs)
    width = _width(_element_type(instruction.inputs[0]))
    count = driver.fresh("e")
    driver.line(f"{count} = slot_i64({other}, 0)")
    _use(driver, "list_reserve")
    _out_of_memory(driver, f"list_reserve(arena, {items}, {width}, {count}) == 0")
    end = f"slot_i64({items}, 2) + slot_i64({items}, 0) * {width * 8}"
    driver.line(f"move_bytes({end}, slot_i64({other}, 2), {count} * {width * 8})")
    driver.line(f"set_slot_i64({items}, 0, slot_i64({items}, 0) + {count})")


def _list_reverse(driver: Driver, instruction: Instruction) -> None:
    items = instruction.inputs[0]
    _use(driver, "list_reverse")
    driver.line(f"list_reverse({driver.scalar(items)}, {_width(_element_type(items))})")


def _list_clear(driver: Driver, instruction: Instruction) -> None:
    driver.line(f"set_slot_i64({driver.scalar(instruction.inputs[0])}, 0, 0)")


def _list_slice(driver: Driver, instruction: Instruction) -> None:
    items, start, stop, step = instruction.operands
    assert items is not None
    _use(driver, "list_new", "list_slice")
    by = "1" if step is None else driver.scalar(step)
    driver.fail_if(f"{by} == 0", "ValueError", "slice step cannot be zero", instruction.location)
    bounds = ", ".join("True, 0" if v is None else f"False, {driver.scalar(v)}" for v in (start, stop))
    name = driver.fresh("l")
    width = _width(_element_type(items))
    driver.line(f"{name} = list_slice(arena, {driver.scalar(items)}, {width}, {bounds}, {by})")
    _out_of_memory(driver, f"{name} == 0")
    driver.locals[instruction.results[0]] = name


def _list_concatenate(driver: Driver, instruction: Instruction) -> None:
    first, second = (driver.scalar(v) for v in instruction.inputs)
    width = 8 * _width(_element_type(instruction.inputs[0]))
    _use(driver, "list_new")
    name = driver.fresh("l")
    driver.line(f"{name} = list_new(arena, slot_i64({first}, 0) + slot_i64({second}, 0), {width // 8})")
    _out_of_memory(driver, f"{name} == 0")
    driver.line(f"copy_bytes(slot_i64({name}, 2), slot_i64({first}, 2), slot_i64({first}, 0) * {width})")
    end = f"slot_i64({name}, 2) + slot_i64({first}, 0) * {width}"
    driver.line(f"copy_bytes({end}, slot_i64({second}, 2), slot_i64({second}, 0) * {width})")
    driver.locals[instruction.results[0]] = name


def _list_repeat(driver: Driver, instruction: Instruction) -> None:
    items, count = (driver.scalar(v) for v in instruction.inputs)
    width = 8 * _width(_element_type(instruction.inputs[0]))
    _use(driver, "list_new")
    name, times, index = driver.fresh("l"), driver.fresh("e"), driver.fresh("e")
    driver.line(f"{times} = max({count}, 0)")
    driver.line(f"{name} = list_new(arena, slot_i64({items}, 0) * {times}, {width // 8})")
    _out_of_memory(driver, f"{name} == 0")
    nbytes = f"slot_i64({items}, 0) * {width}"
    with driver.block(f"for {index} in range({times}):"):
        driver.line(f"copy_bytes(slot_i64({name}, 2) + {index} * {nbytes}, slot_i64({items}, 2), {nbytes})")
    driver.locals[instruction.results[0]] = name


def _search(what: str) -> Callable[[Driver, Instruction], None]:
    """Whether, where or how often a list of numbers has a value."""

    def emit(driver: Driver, instruction: Instruction) -> None:
        items, value = instruction.inputs
        element = _element_type(items)
        if type(element) is not type(value.type) or not isinstance(element, (IntType, FloatType, BoolType)):
            raise Unsupported(f"{instruction.op.name} of {value.type} in {items.type}", instruction.location)
        name, index, found, wanted = driver.scalar(items), driver.fresh("e"), driver.fresh("e"), driver.fresh("s")
        kind = "f64" if isinstance(element, FloatType) else "i64"
        driver.line(f"{wanted} = {driver.slot_value(value)}")
        driver.line(f"{found} = {-1 if what == 'index' else 0}")
        equal = f"slot_{kind}(slot_i64({name}, 2), {index}) == {wanted}"
        loop = driver.block(f"for {index} in range(slot_i64({name}, 0)):")
        with loop, driver.block(f"if {equal} and {found} < 0:" if what == "index" else f"if {equal}:"):
            driver.line(f"{found} = {index}" if what == "index" else f"{found} += 1")
        if what == "index":
            driver.fail_if(f"{found} < 0", "ValueError", "the value is not in the list", instruction.location)
        driver.set_scalar(instruction.results[0], f"{found} > 0" if what == "contains" else found)

    return emit


def _join(stacked: bool) -> Callable[[Driver, Instruction], None]:
    """The tensors of a list side by side, along a new dimension or one of theirs."""

    def emit(driver: Driver, instruction: Instruction) -> None:
        items, result = instruction.inputs[0], instruction.results[0]
        element = _element_type(items)
        assert isinstance(element, TensorType) and isinstance(result.type, TensorType)
        rank, axis = element.rank, instruction.attributes["dim"] % result.type.rank
        name = driver.scalar(items)
        _use(driver, "list_sizes_differ", "list_size_sum", "list_join")
        what = "stack" if stacked else "cat"
        message = f"{what}: expected a non-empty list of Tensors"
        driver.fail_if(f"slot_i64({name}, 0) == 0", "RuntimeError", message, instruction.location)
        message = f"{what}: the tensors of the list differ in their sizes"
        other = -1 if stacked else axis
        driver.fail_if(f"list_sizes_differ({name}, {rank}, {other})", "RuntimeError", message, instruction.location)
        sizes = [f"slot_i64(slot_i64({name}, 2), {a + 1})" for a in range(rank)]
        if stacked:
            sizes.insert(axis, f"slot_i64({name}, 0)")
        else:
            sizes[axis] = f"list_size_sum({name}, {rank}, {axis})"
        driver.bind_symbols(result.type, sizes)
        storage = driver.store(result)
        driver.line(f"list_join({name}, {rank}, {axis}, {result.type.dtype.itemsize}, {storage.address})")

    return emit


def _list_length(driver: Driver, instruction: Instruction) -> None:
    driver.set_scalar(instruction.results[0], f"slot_i64({driver.scalar(instruction.inputs[0])}, 0)")


LISTS: dict[str, Callable[[Driver, Instruction], None]] = {
    "list.make": _list_make,
    "list.append": _list_append,
    "list.get": _list_get,
    "list.set": _list_set,
    "list.length": _list_length,
    "list.pop": _list_pop,
    "list.insert": _list_insert,
    "list.extend": _list_extend,
    "list.reverse": _list_reverse,
    "list.clear": _list_clear,
    "list.slice": _list_slice,
    "list.concatenate": _list_concatenate,
    "list.repeat": _list_repeat,
    "list.contains": _search("contains"),
    "list.count": _search("count"),
    "list.index": _search("index"),
    "list.stack": _join(True),
    "list.cat": _join(False),
}
