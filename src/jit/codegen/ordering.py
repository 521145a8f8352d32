"""Kernels of sort and topk: elements become integers in their order, with their places beside them.

Rows are sorted by digits from the last to the first (Knuth, The Art of Computer Programming, volume 3, 5.2.5), which
keeps equal elements in their order; where only a part of the order is read, its first digit says which elements can be
in it. Short rows are sorted beside each other by a network. The few largest of a row are kept in order while it is read
once; blocks that hold nothing large enough are passed over at the speed of a maximum.
"""

import re
from textwrap import indent

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.dtypes import DType
from ...ir.types import IntType
from .driver import Driver
from .indexing import element_count
from .kernel_text import Parameter
from .ordering_text import EXCHANGE, EXCHANGE_WITH_PLACES, INSERTION, LIST, NETWORK, SELECTION, SORT
from .reads import axis_of, slice_start
from .scans import extreme_and_place
from .template import LoopText, along, tensor_type
from .turning import LANES, LONGEST, are_turned, turning_statements

__all__ = ["run_sort", "run_topk", "sort_all"]

# Up to this many, topk keeps a list in order; more are selected by digits.
_FEW = 128


def _key(dtype: DType, *, descending: bool) -> tuple[str, list[str]]:
    """An element `v` as an int64 in ascending order (NaN last, both zeros equal), and the primitives that it needs."""
    text, bits = "np.int64(v)", []
    if dtype.kind == "f":
        short = dtype.short
        low = (1 << (8 * dtype.itemsize - 1)) - 1
        zero = f"np.{dtype.name}(0)"
        code = f"float_to_bits_{short}(v + {zero})"
        text, bits = f"({low} if v != v else {code} if {code} >= 0 else {code} ^ {low})", [f"float_to_bits_{short}"]
    return (f"~({text})" if descending else f"({text})"), bits


def _filled(text: str, parts: dict[str, str]) -> str:
    """A text with the parts in the places of their names: whole lines become as many as they have."""
    for name, part in parts.items():
        lines = part.strip("\n")

        def block(match: re.Match[str], lines: str = lines) -> str:
            return indent(lines, match[1])

        def word(match: re.Match[str], part: str = part) -> str:
            return part

        text = re.sub(rf"^( *){name}$", block, text, flags=re.MULTILINE)
        text = re.sub(rf"\b{name}\b", word, text)
    return text


def _sort_parts(dtype: DType, key: str) -> dict[str, str]:
    """What sorting by digits does with keys: elements of up to four bytes share an integer with their place."""
    if dtype.itemsize <= 4:
        return {
            "KEEP": f"keys[old + count] = ({key} << 32) | k",
            "PLACE": "keys[at] & 4294967295",
            "FROM": "32",
            "TOP": "21",
            **dict.fromkeys(("MOVE", "HELD", "SHIFT", "DROP"), "pass"),
        }
    return {
        "KEEP": f"keys[old + count] = {key}\nplaces[old + count] = k",
        "PLACE": "places[at]",
        "FROM": "0",
        "TOP": "53",
        "MOVE": "places[new + counts[d]] = places[old + k]",
        "HELD": "held = places[old + k]",
        "SHIFT": "places[old + p] = places[old + p - 1]",
        "DROP": "places[old + p] = held",
    }


def _network(dtype: DType, key: str, general: str) -> str:
    """A text that sorts short rows by a network, and others as the given one does."""
    area = LONGEST * LANES * 8
    parts = {
        "GENERAL": indent(general.strip("\n"), "    "),
        "KIND": dtype.short,
        "SIZE": str(dtype.itemsize),
        "LONGEST": str(LONGEST),
        "LANES": str(LANES),
        "AREA": str(area),
    }
    count = f"min(p, n - distance - k) * {LANES}"
    text = NETWORK.replace("turn_rows_KIND", f"turn_rows_{dtype.short}")
    if dtype.itemsize == 4:
        parts |= {
            "OFFSET": str(area),
            "PLACES": "0",
            "SET": f"v = other[c]\nnet[c] = ({key} << 32) | number",
            "EXCHANGE": f"exchange(pointer_i64(a), pointer_i64(b), {count})",
            "FINISH": f"for c in range(n * {LANES}):\n    net[c] &= 4294967295",
        }
        return _filled(text.replace("pointer_OTHER", f"pointer_{dtype.short}"), parts)
    parts |= {
        "OFFSET": "0",
        "PLACES": str(area),
        "SET": f"v = raw[c]\nnet[c] = {key}\nother[c] = number",
        "EXCHANGE": "exchange(pointer_i64(a), pointer_i64(b), "
        f"pointer_i64(a + {area}), pointer_i64(b + {area}), {count})",
        "FINISH": "pass",
    }
    text = text.replace("other = pointer_OTHER", f"raw = pointer_{dtype.short}(tile)\n    other = pointer_i64")
    return _filled(text, parts)


def _part_of_order(driver: Driver, values: tuple[Value, ...], n: Dim) -> tuple[Dim, Dim] | None:
    """The places of the order that are read, where all that reads it are slices of the same few; None if it is all."""
    instruction = values[0].instruction
    assert instruction is not None and instruction.block is not None
    found: set[tuple[Dim, Dim]] = set()
    for other in instruction.block.walk():
        used = [v for v in values if v in other.operands]
        if not used:
            continue
        source, *bounds = other.operands
        if other.op.name != "slice" or source is None or axis_of(other, source) != tensor_type(source).rank - 1:
            return None
        types = [bound.type for bound in bounds if bound is not None]
        places = [kind.value for kind in types if isinstance(kind, IntType)]
        if len(places) != 2 or other.attributes["step"] != 1 or any(place is None for place in places):
            return None
        first, stop = (slice_start(place, n) for place in places)
        found.add((first, stop))
    return found.pop() if len(found) == 1 else None


def _by_digits(
    loops: LoopText, dtype: DType, key: str, rows: Dim, n: Dim, part: tuple[Dim, Dim], *, selects: bool
) -> str:
    """The text that sorts rows by digits, and what it needs; `part` are the places of the order that are stored."""
    loops.temporary("keys", rows * n * 2, dtypes.int64)
    if dtype.itemsize > 4:
        loops.temporary("places", rows * n * 2, dtypes.int64)
    loops.sizes(first=part[0], stop=part[1])
    loops.requirements.helpers.add("stack_i64")
    parts = {"SELECTION": SELECTION if selects else "    if True:"}
    parts |= _sort_parts(dtype, key) | {"KEY": key, "INSERTION": str(INSERTION)}
    return _filled(SORT, parts)


def sort_all(driver: Driver, instruction: Instruction, source: Value, value: Value, place: Value) -> None:
    """The kernel that sorts all elements of a tensor, and says where they were."""
    dtype, n = tensor_type(source).dtype, element_count(tensor_type(source).shape)
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.write("y", value)
    loops.write("z", place)
    loops.sizes(n=n, inner=1, taken=n)
    key, bits = _key(dtype, descending=False)
    loops.requirements.bits.update(bits)
    loops.run(_by_digits(loops, dtype, key, 1, n, (0, n), selects=False), 1, n * 24)


def _run(driver: Driver, instruction: Instruction, *, descending: bool) -> None:
    """The row sorted, as much of it as the result takes."""
    source, (value, place) = instruction.inputs[0], instruction.results
    dtype, shape = tensor_type(source).dtype, tensor_type(source).shape
    around: dict[str, Dim] = {"outer": 1, "n": 1, "inner": 1}
    taken: Dim = 1
    last = False
    if shape:
        axis = axis_of(instruction, source)
        around, taken, last = along(source, axis), tensor_type(value).shape[axis], axis == len(shape) - 1
    n, rows = around["n"], around["outer"] * around["inner"]
    part = _part_of_order(driver, (value, place), n) if instruction.op.name == "sort" and last else None
    loops = LoopText(driver, instruction)
    network = last and are_turned(n, dtype, shortest=1)
    loops.read("x", source)
    loops.write("y", value)
    if network:
        driver.store(place)
        loops.parameters.append(Parameter("rows", "i64", ("address", source)))
        loops.parameters.append(Parameter("results", "i64", ("address", place)))
    else:
        loops.write("z", place)
    loops.sizes(n=n, inner=around["inner"], taken=taken)
    key, bits = _key(dtype, descending=descending)
    loops.requirements.bits.update(bits)
    few = instruction.op.name == "topk" and isinstance(taken, int) and 0 < taken <= _FEW and dtype is not dtypes.bool_
    if few:
        loops.temporary("keys", rows * taken, dtypes.int64)
        loops.temporary("places", rows * taken, dtypes.int64)
        step = "maximum_step" if descending else "minimum_step"
        loops.requirements.helpers.add(step)
        text = _filled(LIST, {"COUNT": str(taken), "STEP": step, "COMPARE": "<=" if descending else ">=", "KEY": key})
        work = n * 2
    else:
        selects = part is not None or instruction.op.name == "topk"
        text, work = _by_digits(loops, dtype, key, rows, n, part or (0, taken), selects=selects), n * 24
    if network:
        loops.requirements.statements.extend(turning_statements(dtype))
        if dtype is not dtypes.int64:
            loops.requirements.statements.append(turning_statements(dtypes.int64)[-1])
            loops.requirements.statements.append(turning_statements(dtypes.int64)[1])
        loops.requirements.statements.append(EXCHANGE if dtype.itemsize == 4 else EXCHANGE_WITH_PLACES)
        loops.requirements.bits.add("select")
        text = _network(dtype, key, text)
    loops.run(text, rows, work)


def run_sort(driver: Driver, instruction: Instruction) -> None:
    _run(driver, instruction, descending=instruction.attributes["descending"])


def run_topk(driver: Driver, instruction: Instruction) -> None:
    shape = tensor_type(instruction.results[0]).shape
    if instruction.attributes["largest"] and shape and shape[instruction.attributes["dim"]] == 1:
        extreme_and_place(">")(driver, instruction)  # the first of equal ones, too, and NaN above all
        return
    _run(driver, instruction, descending=instruction.attributes["largest"])
