"""Lists in the driver: objects in the arena with the slots length, capacity, and address of the elements.

`forms` says how an element lies there; a tensor is a copy of its own in the arena. Whatever is more than a few
statements is a function that is pasted in front of the driver (`list_code`).
"""

from collections.abc import Callable

from ...ir.core import Instruction, Value
from ...ir.types import BoolType, FloatType, IntType, ListType, TensorType, Type
from .driver import Driver
from .equality import compare_function, equal_function
from .forms import adopt, copy_slots, parts, read_slots, stride, width, write_slots
from .fusion import Unsupported, count_uses
from .interface import check_type
from .module import STATUS_OUT_OF_MEMORY
from .texts import use

__all__ = ["LISTS", "element_type", "new_list", "write_element"]


def _out_of_memory(driver: Driver, condition: str) -> None:
    driver.uses_arena = True
    with driver.block(f"if {condition}:"):
        driver.line(f"return {STATUS_OUT_OF_MEMORY}")


def element_type(value: Value) -> Type:
    """The type of a list's elements, which must have a native form."""
    assert isinstance(value.type, ListType)
    check_type(value.type)
    return value.type.element


def write_element(driver: Driver, element: Type, place: str, value: Value) -> None:
    """Write a value as an element of a list at an address."""
    driver.uses_arena = True
    texts = parts(driver, value, element)
    if isinstance(element, BoolType):
        driver.line(f"set_cell_u8({place}, 0, {texts[0]})")
    else:
        write_slots(driver, place, texts, element)


def _element_texts(place: str, element: Type) -> list[str]:
    """The texts of the slots of a list's element at an address."""
    return [f"cell_u8({place}, 0)"] if isinstance(element, BoolType) else read_slots(place, element)


def new_list(driver: Driver, result: Value, count: str) -> str:
    """A new list of `count` elements, not written yet, as a result."""
    use(driver, "list_new")
    name = driver.fresh("l")
    driver.line(f"{name} = list_new(arena, {count}, {stride(element_type(result))})")
    _out_of_memory(driver, f"{name} == 0")
    driver.locals[result] = name
    return name


def _list_make(driver: Driver, instruction: Instruction) -> None:
    result = instruction.results[0]
    element = element_type(result)
    name = new_list(driver, result, str(len(instruction.inputs)))
    if instruction.inputs:
        memory = driver.fresh("m")
        driver.line(f"{memory} = head({name}, 2)")
        for index, value in enumerate(instruction.inputs):
            offset = index * stride(element)
            write_element(driver, element, f"{memory} + {offset}" if offset else memory, value)


def _list_append(driver: Driver, instruction: Instruction) -> None:
    items, value = instruction.inputs
    element = element_type(items)
    name = driver.scalar(items)
    texts = copy_slots(driver, parts(driver, value, element)) if isinstance(value.type, TensorType) else []
    use(driver, "list_reserve")
    with driver.block(f"if head({name}, 0) == head({name}, 1):"):
        _out_of_memory(driver, f"list_reserve(arena, {name}, {stride(element)}, 1) == 0")
    place = driver.fresh("e")
    driver.line(f"{place} = head({name}, 2) + head({name}, 0) * {stride(element)}")
    if texts:
        write_slots(driver, place, texts, element)
    else:
        write_element(driver, element, place, value)
    driver.line(f"set_head({name}, 0, head({name}, 0) + 1)")


def _position(driver: Driver, items: Value, index: Value, what: str, instruction: Instruction) -> str:
    """An index that was checked, as a local."""
    name, position = driver.scalar(items), driver.fresh("e")
    driver.line(f"{position} = {driver.scalar(index)}")
    if driver.is_nonnegative(index):
        driver.fail_if(f"{position} >= head({name}, 0)", "IndexError", what, instruction.location)
        return position
    # One comparison where nothing is unusual.
    outside = f"is_outside({position}, head({name}, 0))"
    with driver.block(f"if {outside}:"):
        with driver.block(f"if {position} < 0:"):
            driver.line(f"{position} += head({name}, 0)")
        driver.fail_if(outside, "IndexError", what, instruction.location)
    return position


def _element_place(driver: Driver, instruction: Instruction, what: str) -> str:
    """The address of an element, its index checked."""
    items, index = instruction.inputs[:2]
    position = _position(driver, items, index, what, instruction)
    place = driver.fresh("e")
    driver.line(f"{place} = head({driver.scalar(items)}, 2) + {position} * {stride(element_type(items))}")
    return place


def _list_get(driver: Driver, instruction: Instruction) -> None:
    place = _element_place(driver, instruction, "list index out of range")
    adopt(driver, instruction.results[0], _element_texts(place, element_type(instruction.inputs[0])))


def _list_set(driver: Driver, instruction: Instruction) -> None:
    items, _, value = instruction.inputs
    place = _element_place(driver, instruction, "list assignment index out of range")
    write_element(driver, element_type(items), place, value)


def _list_pop(driver: Driver, instruction: Instruction) -> None:
    items = instruction.inputs[0]
    name, element = driver.scalar(items), element_type(items)
    step = stride(element)
    driver.fail_if(f"head({name}, 0) == 0", "IndexError", "pop from empty list", instruction.location)
    place = _element_place(driver, instruction, "pop index out of range")
    adopt(driver, instruction.results[0], copy_slots(driver, _element_texts(place, element)))
    driver.line(f"set_head({name}, 0, head({name}, 0) - 1)")
    end = f"head({name}, 2) + head({name}, 0) * {step}"
    with driver.block(f"if {place} != {end}:"):
        driver.line(f"move_bytes({place}, {place} + {step}, {end} - {place})")


def _list_insert(driver: Driver, instruction: Instruction) -> None:
    items, index, value = instruction.inputs
    element = element_type(items)
    name, step = driver.scalar(items), stride(element)
    use(driver, "list_reserve")
    _out_of_memory(driver, f"list_reserve(arena, {name}, {step}, 1) == 0")
    position = driver.fresh("e")
    driver.line(f"{position} = {driver.scalar(index)}")
    with driver.block(f"if {position} < 0:"):
        driver.line(f"{position} += head({name}, 0)")
    driver.line(f"{position} = min(max({position}, 0), head({name}, 0))")
    place = driver.fresh("e")
    driver.line(f"{place} = head({name}, 2) + {position} * {step}")
    driver.line(f"move_bytes({place} + {step}, {place}, (head({name}, 0) - {position}) * {step})")
    driver.line(f"set_head({name}, 0, head({name}, 0) + 1)")
    write_element(driver, element, place, value)


def _list_extend(driver: Driver, instruction: Instruction) -> None:
    items, other = (driver.scalar(v) for v in instruction.inputs)
    step = stride(element_type(instruction.inputs[0]))
    count = driver.fresh("e")
    driver.line(f"{count} = head({other}, 0)")
    use(driver, "list_reserve")
    _out_of_memory(driver, f"list_reserve(arena, {items}, {step}, {count}) == 0")
    end = f"head({items}, 2) + head({items}, 0) * {step}"
    driver.line(f"move_bytes({end}, head({other}, 2), {count} * {step})")
    driver.line(f"set_head({items}, 0, head({items}, 0) + {count})")


def _list_reverse(driver: Driver, instruction: Instruction) -> None:
    items = instruction.inputs[0]
    use(driver, "list_reverse")
    element = element_type(items)
    slots = 0 if isinstance(element, BoolType) else width(element)
    driver.line(f"list_reverse({driver.scalar(items)}, {slots})")


def _list_clear(driver: Driver, instruction: Instruction) -> None:
    driver.line(f"set_head({driver.scalar(instruction.inputs[0])}, 0, 0)")


def _slice_bounds(driver: Driver, instruction: Instruction) -> tuple[str, str, str]:
    """Start, number of elements and step of a slice of the first operand, as texts."""
    items, start, stop, step = instruction.operands[:4]
    assert items is not None
    use(driver, "slice_start", "slice_count")
    by = "1" if step is None else driver.scalar(step)
    if step is not None:
        driver.fail_if(f"{by} == 0", "ValueError", "slice step cannot be zero", instruction.location)
    low, high = ("True, 0" if v is None else f"False, {driver.scalar(v)}" for v in (start, stop))
    length = f"head({driver.scalar(items)}, 0)"
    first, count = driver.fresh("e"), driver.fresh("e")
    driver.line(f"{first} = slice_start({length}, {low}, {by})")
    driver.line(f"{count} = slice_count({length}, {first}, {high}, {by})")
    return first, count, by


def _list_slice(driver: Driver, instruction: Instruction) -> None:
    items = instruction.inputs[0]
    first, count, by = _slice_bounds(driver, instruction)
    use(driver, "list_slice")
    name = driver.fresh("l")
    step = stride(element_type(items))
    driver.line(f"{name} = list_slice(arena, {driver.scalar(items)}, {step}, {first}, {count}, {by})")
    _out_of_memory(driver, f"{name} == 0")
    driver.locals[instruction.results[0]] = name


def _list_assign(driver: Driver, instruction: Instruction) -> None:
    items, other = instruction.inputs[0], instruction.inputs[-1]
    first, count, by = _slice_bounds(driver, instruction)
    name, source, step = driver.scalar(items), driver.scalar(other), stride(element_type(items))
    use(driver, "list_assign", "list_scatter")
    with driver.block(f"if {by} == 1:"):
        _out_of_memory(driver, f"list_assign(arena, {name}, {step}, {first}, {count}, {source}) == 0")
    if by != "1":
        with driver.block("else:"):
            with driver.block(f"if head({source}, 0) != {count}:"):
                driver.line(f"set_slot_i64(frame, 4, head({source}, 0))")
                driver.line(f"set_slot_i64(frame, 5, {count})")
                message = "attempt to assign sequence of size {0} to extended slice of size {1}"
                driver.line(f"return {driver.error('ValueError', message, instruction.location)}")
            driver.line(f"list_scatter({name}, {step}, {first}, {count}, {by}, {source})")


def _list_delete(driver: Driver, instruction: Instruction) -> None:
    items = instruction.inputs[0]
    first, count, by = _slice_bounds(driver, instruction)
    use(driver, "list_delete")
    driver.line(f"list_delete({driver.scalar(items)}, {stride(element_type(items))}, {first}, {count}, {by})")


def _list_concatenate(driver: Driver, instruction: Instruction) -> None:
    first, second = (driver.scalar(v) for v in instruction.inputs)
    step = stride(element_type(instruction.inputs[0]))
    name = new_list(driver, instruction.results[0], f"head({first}, 0) + head({second}, 0)")
    driver.line(f"copy_bytes(head({name}, 2), head({first}, 2), head({first}, 0) * {step})")
    end = f"head({name}, 2) + head({first}, 0) * {step}"
    driver.line(f"copy_bytes({end}, head({second}, 2), head({second}, 0) * {step})")


def _list_repeat(driver: Driver, instruction: Instruction) -> None:
    items, count = instruction.inputs
    element, source = element_type(items), driver.scalar(items)
    made = items.instruction
    times, index = driver.fresh("e"), driver.fresh("e")
    driver.line(f"{times} = max({driver.scalar(count)}, 0)")
    name = new_list(driver, instruction.results[0], f"head({source}, 0) * {times}")
    # A literal that nothing else uses has the one element that it was made with.
    single = made is not None and made.op.name == "list.make" and len(made.inputs) == 1
    single = single and made is not None and made.block is not None and count_uses(made.block, items) == 1
    if single and isinstance(element, BoolType):
        driver.line(f"fill_bytes(head({name}, 2), cell_u8(head({source}, 2), 0), {times})")
        return
    if single and isinstance(element, (IntType, FloatType)):
        read = "cell_f64" if isinstance(element, FloatType) else "cell"
        value, memory = driver.fresh("e"), driver.fresh("m")
        driver.line(f"{value} = {read}(head({source}, 2), 0)")
        driver.line(f"{memory} = head({name}, 2)")
        with driver.block(f"for {index} in range({times}):"):
            driver.line(f"set_{read}({memory}, {index}, {value})")
        return
    nbytes = driver.fresh("e")
    driver.line(f"{nbytes} = head({source}, 0) * {stride(element)}")
    with driver.block(f"for {index} in range({times}):"):
        driver.line(f"copy_bytes(head({name}, 2) + {index} * {nbytes}, head({source}, 2), {nbytes})")


def _search(what: str) -> Callable[[Driver, Instruction], None]:
    """Whether, where or how often a list has a value."""

    def emit(driver: Driver, instruction: Instruction) -> None:
        items, value = instruction.inputs
        element = element_type(items)
        if type(element) is not type(value.type):
            raise Unsupported(f"{instruction.op.name} of {value.type} in {items.type}", instruction.location)
        name, index, found, place = driver.scalar(items), *(driver.fresh("e") for _ in range(3))
        wanted = copy_slots(driver, parts(driver, value))
        equal = equal_function(driver, element, instruction.location)
        driver.line(f"{found} = {-1 if what == 'index' else 0}")
        with driver.block(f"for {index} in range(head({name}, 0)):"):
            driver.line(f"{place} = head({name}, 2) + {index} * {stride(element)}")
            with driver.block(f"if {equal}({', '.join([*_element_texts(place, element), *wanted])}):"):
                driver.line(f"{found} = {index}" if what == "index" else f"{found} += 1")
                if what != "count":
                    driver.line("break")
        if what == "index":
            driver.fail_if(f"{found} < 0", "ValueError", "the value is not in the list", instruction.location)
        driver.set_scalar(instruction.results[0], f"{found} > 0" if what == "contains" else found)

    return emit


def _equals(driver: Driver, instruction: Instruction) -> None:
    a, b = instruction.inputs
    if a.type != b.type:
        raise Unsupported(f"comparing {a.type} and {b.type}", instruction.location)
    function = equal_function(driver, a.type, instruction.location)
    driver.set_scalar(instruction.results[0], f"{function}({driver.scalar(a)}, {driver.scalar(b)})")


def _compare(driver: Driver, instruction: Instruction) -> None:
    a, b = instruction.inputs
    if a.type != b.type:
        raise Unsupported(f"comparing {a.type} and {b.type}", instruction.location)
    function = compare_function(driver, a.type, instruction.location)
    driver.set_scalar(instruction.results[0], f"{function}({driver.scalar(a)}, {driver.scalar(b)})")


def _sort(driver: Driver, instruction: Instruction) -> None:
    """Merge sort of a table of indices by the keys, which keeps equal elements in order; then the elements move."""
    items, keys = instruction.inputs[0], instruction.inputs[-1]
    element = element_type(keys)
    compare = compare_function(driver, element, instruction.location)
    backwards = bool(instruction.attributes.get("reverse", False))
    name = _sort_function(driver, element, compare, backwards)
    use(driver, "list_permute")
    order = driver.fresh("m")
    if keys is not items:
        message = "the list changed while its keys were computed"
        a, b = driver.scalar(items), driver.scalar(keys)
        driver.fail_if(f"head({a}, 0) != head({b}, 0)", "ValueError", message, instruction.location)
    driver.line(f"{order} = {name}(arena, {driver.scalar(keys)})")
    _out_of_memory(driver, f"{order} == 0")
    _out_of_memory(driver, f"list_permute(arena, {driver.scalar(items)}, {stride(element_type(items))}, {order}) == 0")
    driver.line(f"arena_release(arena, {order})")


def _sort_function(driver: Driver, element: Type, compare: str, backwards: bool) -> str:
    name = f"sort_{compare.removeprefix('compare_')}{'_down' if backwards else ''}"
    step = stride(element)

    def at(index: str) -> str:
        return ", ".join(_element_texts(f"memory + {index} * {step}", element))

    # Taken from the right only where it is strictly before the left: that is what keeps the order of equal elements.
    before = f"{compare}({at('slot_i64(source, j)')}, {at('slot_i64(source, i)')}) {'>' if backwards else '<'} 0"
    driver.functions[name] = f'''
def {name}(arena, keys):
    """A table of the indices of a list's elements in order; 0 when out of memory."""
    count, memory = head(keys, 0), head(keys, 2)
    table = arena_allocate(arena, 16 * max(count, 1))
    if table == 0:
        return 0
    source, target = table, table + 8 * count
    for k in range(count):
        set_slot_i64(source, k, k)
    run = 1
    while run < count:
        start = 0
        while start < count:
            middle, stop = min(start + run, count), min(start + 2 * run, count)
            i, j = start, middle
            for k in range(start, stop):
                right = False
                if i >= middle:
                    right = True
                elif j < stop:
                    right = {before}
                if right:
                    set_slot_i64(target, k, slot_i64(source, j))
                    j += 1
                else:
                    set_slot_i64(target, k, slot_i64(source, i))
                    i += 1
            start += 2 * run
        source, target = target, source
        run *= 2
    if source != table:
        copy_bytes(table, source, 8 * count)
    return table
'''.strip()
    return name


def _join(stacked: bool) -> Callable[[Driver, Instruction], None]:
    """The tensors of a list side by side, along a new dimension or one of theirs."""

    def emit(driver: Driver, instruction: Instruction) -> None:
        items, result = instruction.inputs[0], instruction.results[0]
        element = element_type(items)
        assert isinstance(element, TensorType) and isinstance(result.type, TensorType)
        rank, axis = element.rank, instruction.attributes["dim"] % result.type.rank
        name = driver.scalar(items)
        use(driver, "list_sizes_differ", "list_size_sum", "list_join")
        what = "stack" if stacked else "cat"
        message = f"{what}: expected a non-empty list of Tensors"
        driver.fail_if(f"head({name}, 0) == 0", "RuntimeError", message, instruction.location)
        message = f"{what}: the tensors of the list differ in their sizes"
        other = -1 if stacked else axis
        driver.fail_if(f"list_sizes_differ({name}, {rank}, {other})", "RuntimeError", message, instruction.location)
        sizes = [f"cell(head({name}, 2), {a + 1})" for a in range(rank)]
        if stacked:
            sizes.insert(axis, f"head({name}, 0)")
        else:
            sizes[axis] = f"list_size_sum({name}, {rank}, {axis})"
        driver.bind_symbols(result.type, sizes)
        storage = driver.store(result)
        driver.line(f"list_join({name}, {rank}, {axis}, {result.type.dtype.itemsize}, {storage.address})")

    return emit


def _list_length(driver: Driver, instruction: Instruction) -> None:
    driver.set_scalar(instruction.results[0], f"head({driver.scalar(instruction.inputs[0])}, 0)")


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
    "list.equals": _equals,
    "list.compare": _compare,
    "list.sort": _sort,
    "list.sort_by": _sort,
    "list.assign": _list_assign,
    "list.delete": _list_delete,
    "list.stack": _join(True),
    "list.cat": _join(False),
}
