"""Kernels of sort and topk: elements become integers in their order, with their places beside them.

Rows are sorted by digits from the last to the first (Knuth, The Art of Computer Programming, volume 3, 5.2.5), which
keeps equal elements in their order; short rows by insertion. The few largest of a row are kept in order while it is
read once; blocks that hold nothing large enough are passed over at the speed of a maximum.
"""

from ...ir import dtypes
from ...ir.core import Instruction
from ...ir.dims import Dim
from ...ir.dtypes import DType
from .driver import Driver
from .reads import axis_of
from .template import LoopText, along, tensor_type

__all__ = ["run_sort", "run_topk"]

_INSERTION = 64
# Up to this many, topk keeps a list in order; more are taken from the sorted row.
_FEW = 128
_DIGIT = 11


def _key(dtype: DType, *, descending: bool) -> tuple[str, list[str]]:
    """An element `v` as an int64 in ascending order (NaN last, both zeros equal), and the primitives that it needs."""
    text, bits = "np.int64(v)", []
    if dtype.kind == "f":
        short = dtype.short
        low = (1 << (8 * dtype.itemsize - 1)) - 1
        zero = f"np.{dtype.name}(0)"
        code = f"float_to_bits_{short}(v + {zero})"
        text, bits = f"({low} if v != v else {code} if {code} >= 0 else {code} ^ {low})", [f"float_to_bits_{short}"]
    return (f"~({text})" if descending else text), bits


def _passes(bits: int, first: int) -> str:
    """The passes over digits of `bits` bits from bit `first` on; `{digit}` of the last one has the sign."""
    lines = []
    for shift in range(first, first + bits, _DIGIT):
        width = min(_DIGIT, first + bits - shift)
        mask, flip = (1 << width) - 1, 1 << (width - 1) if shift + width == first + bits else 0
        digit = f"((keys[old + k] >> {shift}) & {mask}) ^ {flip}"
        lines.append(_PASS.format(counters=mask + 1, digit=digit))
    return "".join(lines)


_PASS = """
        for d in range({counters}):
            counts[d] = 0
        for k in range(n):
            counts[{digit}] += 1
        total = 0
        for d in range({counters}):
            count = counts[d]
            counts[d] = total
            total += count
        for k in range(n):
            d = {digit}
            keys[new + counts[d]] = keys[old + k]
            MOVE
            counts[d] += 1
        old, new = new, old
"""

_SORT = """
counts = stack_i64(2048)
for item in range(lo, hi):
    start = item // inner * n * inner + item % inner
    out = item // inner * taken * inner + item % inner
    old = item * 2 * n
    new = old + n
    for k in range(n):
        v = x[start + k * inner]
        FIRST
    if n <= INSERTION:
        for k in range(1, n):
            key = keys[old + k]
            HELD
            p = k
            while p > 0 and keys[old + p - 1] > key:
                keys[old + p] = keys[old + p - 1]
                SHIFT
                p -= 1
            keys[old + p] = key
            DROP
    else:
        PASSES
    for k in range(taken):
        place = PLACE
        y[out + k * inner] = x[start + place * inner]
        z[out + k * inner] = place
"""


def _sort(driver: Driver, instruction: Instruction, descending: bool) -> None:
    """The row sorted, as much of it as the result takes."""
    source, (value, place) = instruction.inputs[0], instruction.results
    dtype = tensor_type(source).dtype
    around: dict[str, Dim] = {"outer": 1, "n": 1, "inner": 1}
    taken: Dim = 1
    if tensor_type(source).shape:
        axis = axis_of(instruction, source)
        around, taken = along(source, axis), tensor_type(value).shape[axis]
    rows = around["outer"] * around["inner"]
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.write("y", value)
    loops.write("z", place)
    loops.temporary("keys", rows * around["n"] * 2, dtypes.int64)
    loops.sizes(n=around["n"], inner=around["inner"], taken=taken)
    loops.requirements.helpers.add("stack_i64")
    key, bits = _key(dtype, descending=descending)
    loops.requirements.bits.update(bits)
    if dtype.itemsize <= 4:
        # Key and place in one integer.
        parts = {
            "FIRST": f"keys[old + k] = (({key}) << 32) | k",
            "PASSES": _passes(32, 32).strip("\n").strip(),
            "PLACE": "keys[old + k] & 4294967295",
            **dict.fromkeys(("MOVE", "HELD", "SHIFT", "DROP"), "pass"),
        }
    else:
        loops.temporary("places", rows * around["n"] * 2, dtypes.int64)
        parts = {
            "FIRST": f"keys[old + k] = {key}\n        places[old + k] = k",
            "PASSES": _passes(64, 0).strip("\n").strip(),
            "PLACE": "places[old + k]",
            "MOVE": "places[new + counts[d]] = places[old + k]",
            "HELD": "held = places[old + k]",
            "SHIFT": "places[old + p] = places[old + p - 1]",
            "DROP": "places[old + p] = held",
        }
    text = _SORT.replace("PASSES", parts.pop("PASSES")).replace("INSERTION", str(_INSERTION))
    for name, part in parts.items():
        text = text.replace(name, part)
    loops.run(text, rows, around["n"] * 24)


def run_sort(driver: Driver, instruction: Instruction) -> None:
    _sort(driver, instruction, instruction.attributes["descending"])


_SELECT = """
for item in range(lo, hi):
    start = item // inner * n * inner + item % inner
    base = item * COUNT
    filled = 0
    worst = np.int64(0)
    limit = x[start]
    for first in range(0, n, 64):
        last = min(first + 64, n)
        wanted = True
        if filled == COUNT:
            best = x[start + first * inner]
            for k in range(first + 1, last):
                best = STEP(best, x[start + k * inner])
            wanted = not (best COMPARE limit)
        if wanted:
            for k in range(first, last):
                v = x[start + k * inner]
                key = KEY
                if filled < COUNT or key < worst:
                    p = min(filled, COUNT - 1)
                    while p > 0 and keys[base + p - 1] > key:
                        keys[base + p] = keys[base + p - 1]
                        places[base + p] = places[base + p - 1]
                        p -= 1
                    keys[base + p] = key
                    places[base + p] = k
                    filled = min(filled + 1, COUNT)
                    worst = keys[base + filled - 1]
                    limit = x[start + places[base + filled - 1] * inner]
    out = item // inner * COUNT * inner + item % inner
    for k in range(COUNT):
        place = places[base + k]
        y[out + k * inner] = x[start + place * inner]
        z[out + k * inner] = place
"""


def run_topk(driver: Driver, instruction: Instruction) -> None:
    source, (value, place) = instruction.inputs[0], instruction.results
    largest = instruction.attributes["largest"]
    shape = tensor_type(source).shape
    count = tensor_type(value).shape[axis_of(instruction, source)] if shape else 1
    dtype = tensor_type(source).dtype
    if not isinstance(count, int) or not 0 < count <= _FEW or not shape or dtype is dtypes.bool_:
        _sort(driver, instruction, largest)
        return
    around = along(source, axis_of(instruction, source))
    rows = around["outer"] * around["inner"]
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.write("y", value)
    loops.write("z", place)
    loops.temporary("keys", rows * count, dtypes.int64)
    loops.temporary("places", rows * count, dtypes.int64)
    loops.sizes(n=around["n"], inner=around["inner"])
    key, bits = _key(dtype, descending=largest)
    step = "maximum_step" if largest else "minimum_step"
    loops.requirements.bits.update(bits)
    loops.requirements.helpers.add(step)
    text = _SELECT
    parts = {"COUNT": str(count), "STEP": step, "COMPARE": "<=" if largest else ">=", "KEY": key}
    for name, part in parts.items():
        text = text.replace(name, part)
    loops.run(text, rows, around["n"] * 2)
