"""Strings in the driver: two locals each, the address of the characters (32 bits each) and their number.

They never change, so that slices share memory. What only Python's Unicode tables know (the case of characters that are
not ASCII) sends the call to the interpreter.
"""

from collections.abc import Callable

from ...ir.core import Instruction, Value
from ...ir.types import StrType
from .driver import Driver
from .list_code import LIST_FUNCTIONS
from .module import STATUS_INTERPRET, STATUS_OUT_OF_MEMORY
from .text_code import TEXT_FUNCTIONS, needed_functions

__all__ = ["TEXTS", "is_text", "run_text_scalar", "use"]

_METHODS = {"upper": 0, "lower": 1, "casefold": 1, "swapcase": 2, "title": 3, "capitalize": 4}
_TESTS = {
    "isdigit": 0, "isdecimal": 0, "isnumeric": 0, "isalpha": 1, "isalnum": 2, "isupper": 4, "islower": 5, "istitle": 6,
    "isidentifier": 7, "isprintable": 8,
}  # fmt: skip


def use(driver: Driver, *names: str) -> None:
    """Paste functions, and what they call, in front of the driver."""
    for name in names:
        for needed in needed_functions(name):
            source = TEXT_FUNCTIONS.get(needed) or LIST_FUNCTIONS[needed]
            if needed == "list_slice":
                use(driver, "list_new")
            if needed == "list_assign":
                use(driver, "list_reserve", "list_slice")
            driver.functions.setdefault(needed, source.strip())


def is_text(value: Value) -> bool:
    """Whether a value is a string."""
    return isinstance(value.type, StrType)


def _made(driver: Driver, result: Value, call: str, *, asks: bool = False) -> None:
    """Make a result of a call that gives address and length; `asks` where it may ask for the interpreter."""
    driver.uses_arena = True
    address, length = driver.fresh("m"), driver.fresh("k")
    driver.line(f"{address}, {length} = {call}")
    _check_memory(driver, address, asks=asks)
    driver.texts[result] = (address, length)


def _check_memory(driver: Driver, address: str, *, asks: bool = False) -> None:
    if asks:
        _ask_interpreter(driver, f"{address} == -2")
    with driver.block(f"if {address} == -1:"):
        driver.line(f"return {STATUS_OUT_OF_MEMORY}")


def _ask_interpreter(driver: Driver, condition: str) -> None:
    driver.may_interpret = True
    with driver.block(f"if {condition}:"):
        driver.line(f"return {STATUS_INTERPRET}")


def _pair(driver: Driver, value: Value | None) -> str:
    assert value is not None
    return ", ".join(driver.text(value))


def _optional_text(driver: Driver, value: Value | None) -> str:
    """A string that may be absent, and whether it is."""
    return "0, 0, True" if value is None else f"{_pair(driver, value)}, False"


def concatenate(driver: Driver, instruction: Instruction) -> None:
    """The two strings of a `scalar.add` one after the other."""
    left, right = (driver.text(v) for v in instruction.inputs)
    use(driver, "text_join_two")
    driver.uses_arena = driver.joins_text = True
    length, address = driver.fresh("k"), driver.fresh("m")
    driver.line(f"{length} = {left[1]} + {right[1]}")
    driver.line(f"{address} = text_join_two(arena, open_texts, {left[0]}, {left[1]}, {right[0]}, {right[1]})")
    _check_memory(driver, address)
    driver.texts[instruction.results[0]] = (address, length)


def run_text_scalar(driver: Driver, instruction: Instruction) -> bool:
    """Scalar ops on strings: concatenation, comparison, truth; whether this was one."""
    name = instruction.op.name.removeprefix("scalar.")
    values, result = instruction.inputs, instruction.results[0]
    if name == "add":
        concatenate(driver, instruction)
    elif name in ("eq", "ne", "lt", "le", "gt", "ge"):
        if not all(map(is_text, values)):
            driver.set_scalar(result, str(name == "ne"))
            return True
        use(driver, "text_equal" if name in ("eq", "ne") else "text_compare")
        pairs = f"{_pair(driver, values[0])}, {_pair(driver, values[1])}"
        if name in ("eq", "ne"):
            driver.set_scalar(result, f"{'not ' if name == 'ne' else ''}text_equal({pairs})")
        else:
            symbol = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}[name]
            driver.set_scalar(result, f"text_compare({pairs}) {symbol} 0")
    elif name in ("not_", "to_bool"):
        driver.set_scalar(result, f"{driver.text(values[0])[1]} {'==' if name == 'not_' else '!='} 0")
    elif name == "to_str" and is_text(values[0]):
        driver.texts[result] = driver.text(values[0])
    else:
        return False
    return True


def _length(driver: Driver, instruction: Instruction) -> None:
    driver.set_scalar(instruction.results[0], driver.text(instruction.inputs[0])[1])


def _get(driver: Driver, instruction: Instruction) -> None:
    text, index = instruction.inputs
    address, length = driver.text(text)
    position = driver.fresh("e")
    driver.line(f"{position} = {driver.scalar(index)}")
    if not driver.is_nonnegative(index):
        with driver.block(f"if {position} < 0:"):
            driver.line(f"{position} += {length}")
    outside = f"{position} >= {length}"
    if not driver.is_nonnegative(index):
        outside = f"{position} < 0 or {outside}"
    if not driver.is_below_length(index, text):
        driver.fail_if(outside, "IndexError", "string index out of range", instruction.location)
    name = driver.fresh("m")
    driver.line(f"{name} = {address} + 4 * {position}")
    driver.texts[instruction.results[0]] = (name, "1")


def _slice(driver: Driver, instruction: Instruction) -> None:
    text, start, stop, step = instruction.operands
    use(driver, "text_slice")
    by = "1" if step is None else driver.scalar(step)
    if step is not None:
        driver.fail_if(f"{by} == 0", "ValueError", "slice step cannot be zero", instruction.location)
    bounds = ", ".join("True, 0" if v is None else f"False, {driver.scalar(v)}" for v in (start, stop))
    _made(driver, instruction.results[0], f"text_slice(arena, {_pair(driver, text)}, {bounds}, {by})")


def _repeat(driver: Driver, instruction: Instruction) -> None:
    text, count = instruction.inputs
    use(driver, "text_repeat")
    _made(driver, instruction.results[0], f"text_repeat(arena, {_pair(driver, text)}, {driver.scalar(count)})")


def _contains(driver: Driver, instruction: Instruction) -> None:
    text, part = instruction.inputs
    use(driver, "text_find")
    length = driver.text(text)[1]
    call = f"text_find({_pair(driver, text)}, {_pair(driver, part)}, 0, {length})"
    driver.set_scalar(instruction.results[0], f"{call} >= 0")


def _bounds(driver: Driver, text: Value | None, start: Value | None, stop: Value | None) -> str:
    """Bounds of a search as locals, by Python's rules."""
    assert text is not None
    length = driver.text(text)[1]
    names = []
    for bound, default in ((start, "0"), (stop, length)):
        if bound is None:
            names.append(default)
            continue
        name = driver.fresh("e")
        driver.line(f"{name} = {driver.scalar(bound)}")
        with driver.block(f"if {name} < 0:"):
            driver.line(f"{name} = max({name} + {length}, 0)")
        if default != "0":
            driver.line(f"{name} = min({name}, {length})")
        names.append(name)
    return ", ".join(names)


def _find(driver: Driver, instruction: Instruction) -> None:
    text, part, start, stop = instruction.operands
    method = instruction.attributes["method"]
    function = {"rfind": "text_find_last", "rindex": "text_find_last", "count": "text_count"}.get(method, "text_find")
    use(driver, function)
    bounds = _bounds(driver, text, start, stop)
    result = driver.fresh("e")
    driver.line(f"{result} = {function}({_pair(driver, text)}, {_pair(driver, part)}, {bounds})")
    if method in ("index", "rindex"):
        driver.fail_if(f"{result} < 0", "ValueError", "substring not found", instruction.location)
    driver.set_scalar(instruction.results[0], result)


def _ends(driver: Driver, instruction: Instruction) -> None:
    text, part, start, stop = instruction.operands
    use(driver, "text_ends")
    bounds = _bounds(driver, text, start, stop)
    last = instruction.attributes["method"] == "endswith"
    call = f"text_ends({_pair(driver, text)}, {_pair(driver, part)}, {bounds}, {last})"
    driver.set_scalar(instruction.results[0], call)


def _replace(driver: Driver, instruction: Instruction) -> None:
    text, old, new, count = instruction.operands
    use(driver, "text_replace")
    limit = "-1" if count is None else driver.scalar(count)
    strings = ", ".join(_pair(driver, v) for v in (text, old, new))
    _made(driver, instruction.results[0], f"text_replace(arena, {strings}, {limit})")


def _strip(driver: Driver, instruction: Instruction) -> None:
    text, characters = instruction.operands
    use(driver, "text_strip")
    method = instruction.attributes["method"]
    sides = f"{method != 'rstrip'}, {method != 'lstrip'}"
    call = f"text_strip({_pair(driver, text)}, {_optional_text(driver, characters)}, {sides})"
    _made(driver, instruction.results[0], call)


def _case(driver: Driver, instruction: Instruction) -> None:
    use(driver, "text_case")
    method = _METHODS[instruction.attributes["method"]]
    call = f"text_case(arena, {_pair(driver, instruction.inputs[0])}, {method})"
    _made(driver, instruction.results[0], call, asks=True)


def _test(driver: Driver, instruction: Instruction) -> None:
    text, method = instruction.inputs[0], instruction.attributes["method"]
    if method == "isspace":
        use(driver, "text_spaces")
        driver.set_scalar(instruction.results[0], f"text_spaces({_pair(driver, text)})")
        return
    use(driver, "text_test")
    if method == "isascii":
        driver.set_scalar(instruction.results[0], f"text_test({_pair(driver, text)}, 8) != -2")
        return
    answer = driver.fresh("e")
    driver.line(f"{answer} = text_test({_pair(driver, text)}, {_TESTS[method]})")
    _ask_interpreter(driver, f"{answer} == -2")
    driver.set_scalar(instruction.results[0], f"{answer} == 1")


def _list(driver: Driver, result: Value, call: str) -> None:
    driver.uses_arena = True
    name = driver.fresh("l")
    driver.line(f"{name} = {call}")
    with driver.block(f"if {name} == 0:"):
        driver.line(f"return {STATUS_OUT_OF_MEMORY}")
    driver.locals[result] = name


def _split(driver: Driver, instruction: Instruction) -> None:
    text, separator, limit = instruction.operands
    function = "text_split_last" if instruction.attributes["method"] == "rsplit" else "text_split"
    use(driver, function)
    if separator is not None:
        driver.fail_if(f"{driver.text(separator)[1]} == 0", "ValueError", "empty separator", instruction.location)
    most = "-1" if limit is None else driver.scalar(limit)
    call = f"{function}(arena, {_pair(driver, text)}, {_optional_text(driver, separator)}, {most})"
    _list(driver, instruction.results[0], call)


def _lines(driver: Driver, instruction: Instruction) -> None:
    use(driver, "text_lines")
    keep = instruction.attributes["keepends"]
    _list(driver, instruction.results[0], f"text_lines(arena, {_pair(driver, instruction.inputs[0])}, {keep})")


def _partition(driver: Driver, instruction: Instruction) -> None:
    text, separator = instruction.inputs
    (a, n), (b, m) = driver.text(text), driver.text(separator)
    driver.fail_if(f"{m} == 0", "ValueError", "empty separator", instruction.location)
    last = instruction.attributes["method"] == "rpartition"
    function = "text_find_last" if last else "text_find"
    use(driver, function)
    at = driver.fresh("e")
    driver.line(f"{at} = {function}({a}, {n}, {b}, {m}, 0, {n})")
    found = [Value(StrType()) for _ in range(3)]
    names = [(driver.fresh("m"), driver.fresh("k")) for _ in found]
    with driver.block(f"if {at} >= 0:"):
        rows = [(a, at), (b, m), (f"{a} + 4 * ({at} + {m})", f"{n} - {at} - {m}")]
        for (address, length), (where, size) in zip(names, rows, strict=True):
            driver.line(f"{address}, {length} = {where}, {size}")
    with driver.block("else:"):
        whole = 2 if last else 0
        for index, (address, length) in enumerate(names):
            driver.line(f"{address}, {length} = {a}, {n if index == whole else '0'}")
    for value, pair in zip(found, names, strict=True):
        driver.texts[value] = pair
    driver.tuples[instruction.results[0]] = found


def _join(driver: Driver, instruction: Instruction) -> None:
    separator, items = instruction.inputs
    use(driver, "text_join")
    _made(driver, instruction.results[0], f"text_join(arena, {_pair(driver, separator)}, {driver.scalar(items)})")


def _pad(driver: Driver, instruction: Instruction) -> None:
    text, width, fill = instruction.operands
    assert text is not None and width is not None and fill is not None
    method, pair = instruction.attributes["method"], _pair(driver, text)
    if method == "zfill":
        use(driver, "text_zfill")
        _made(driver, instruction.results[0], f"text_zfill(arena, {pair}, {driver.scalar(width)})")
        return
    use(driver, "text_pad")
    message = "The fill character must be exactly one character long"
    character = driver.text(fill)
    driver.fail_if(f"{character[1]} != 1", "TypeError", message, instruction.location)
    missing = driver.fresh("e")
    driver.line(f"{missing} = max({driver.scalar(width)} - {driver.text(text)[1]}, 0)")
    before = {"ljust": "0", "rjust": missing}.get(method, "")
    if method == "center":
        # CPython puts the odd character on the left where the width is odd (Objects/unicodeobject.c, `center`).
        before = driver.fresh("e")
        driver.line(f"{before} = {missing} // 2 + ({missing} & {driver.scalar(width)} & 1)")
    call = f"text_pad(arena, {pair}, {before}, {missing} - {before}, char({character[0]}, 0))"
    _made(driver, instruction.results[0], call)


def _remove(driver: Driver, instruction: Instruction) -> None:
    text, part = instruction.inputs
    (a, n), (b, m) = driver.text(text), driver.text(part)
    last = instruction.attributes["method"] == "removesuffix"
    use(driver, "text_ends")
    cut = driver.fresh("e")
    driver.line(f"{cut} = {m} if text_ends({a}, {n}, {b}, {m}, 0, {n}, {last}) else 0")
    address, length = driver.fresh("m"), driver.fresh("k")
    driver.line(f"{address} = {a}" if last else f"{address} = {a} + 4 * {cut}")
    driver.line(f"{length} = {n} - {cut}")
    driver.texts[instruction.results[0]] = (address, length)


def _ord(driver: Driver, instruction: Instruction) -> None:
    address, length = driver.text(instruction.inputs[0])
    if length != "1":
        with driver.block(f"if {length} != 1:"):
            driver.line(f"set_slot_i64(frame, 4, {length})")
            message = "ord() expected a character, but string of length {0} found"
            driver.line(f"return {driver.error('TypeError', message, instruction.location)}")
    driver.set_scalar(instruction.results[0], f"char({address}, 0)")


def _chr(driver: Driver, instruction: Instruction) -> None:
    code = driver.scalar(instruction.inputs[0])
    message = "chr() arg not in range(0x110000)"
    driver.fail_if(f"{code} < 0 or {code} > 0x10FFFF", "ValueError", message, instruction.location)
    use(driver, "text_new")
    driver.uses_arena = True
    address = driver.fresh("m")
    driver.line(f"{address} = text_new(arena, 1)")
    _check_memory(driver, address)
    driver.line(f"set_char({address}, 0, {code})")
    driver.texts[instruction.results[0]] = (address, "1")


TEXTS: dict[str, Callable[[Driver, Instruction], None]] = {
    "str.length": _length,
    "str.get": _get,
    "str.slice": _slice,
    "str.repeat": _repeat,
    "str.contains": _contains,
    "str.find": _find,
    "str.ends": _ends,
    "str.replace": _replace,
    "str.strip": _strip,
    "str.case": _case,
    "str.test": _test,
    "str.split": _split,
    "str.splitlines": _lines,
    "str.partition": _partition,
    "str.pad": _pad,
    "str.remove": _remove,
    "str.join": _join,
    "str.ord": _ord,
    "str.chr": _chr,
}
