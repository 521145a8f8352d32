"""Update formulas as machine code: one call updates all parameters of a group.

A formula runs once over symbolic operands, each of whose operations writes a line of LLVM IR, once for vectors and once
for the elements that are left. The code is compiled when a formula is first used (some 30 ms) and kept in the kernel
cache. It is for all sizes and any number of parameters: it walks a table with a row for each. Operations are neither
contracted nor reordered: every one rounds as numpy's does.
"""

import functools
import struct
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..jit.runtime.cache import cache_key, default_cache
from ..jit.runtime.loader import emit_object, load_object
from ..jit.runtime.memory import address_of
from ..jit.runtime.pool import parallel_for
from ..jit.runtime.targets import feature_string, host_cpu_name, host_features, host_triple, llvm_version

__all__ = ["Update", "run"]

# The numbers of a parameter, and its arrays: the parameter, its gradient, and the fields of its state.
Update = tuple[Sequence[float], list[np.ndarray[Any, Any]]]

# Below so many elements per parameter and parameters in a call, numpy is as fast and compiles nothing.
_FEW_ELEMENTS = 1 << 12
_FEW_PARAMETERS = 4
# Elements that are worth waking a thread for.
_GRAIN = 1 << 15
_LANES = 16
_NAME = "ingot_update"
_READABLE = 0x0001 | 0x0100  # NPY_ARRAY_C_CONTIGUOUS and NPY_ARRAY_ALIGNED (numpy's ndarraytypes.h)
_WRITABLE = _READABLE | 0x0400  # and NPY_ARRAY_WRITEABLE


def run(formula: Callable[..., Any], flags: tuple[bool, ...], dtype: Any, updates: list[Update]) -> list[Update]:
    """Apply the formula natively where that pays and the arrays allow it; returns the updates that are left to do."""
    total = sum(arrays[0].size for _, arrays in updates)
    if total < _FEW_ELEMENTS and len(updates) < _FEW_PARAMETERS:
        return updates
    rest: list[Update] = []
    rows: list[bytes] = []
    numbers, arrays = updates[0]
    layout = struct.Struct(f"<{2 + len(arrays)}q{len(numbers)}d")
    start = 0
    for update in updates:
        numbers, arrays = update
        size = arrays[0].size
        written = [arrays[0], *arrays[2:]]
        on_gpu = not isinstance(arrays[0], np.ndarray)
        if on_gpu or not _is_plain(arrays[1], _READABLE) or not all(_is_plain(a, _WRITABLE) for a in written):
            rest.append(update)
        elif size:
            rows.append(layout.pack(start, start + size, *map(address_of, arrays), *numbers))
            start += size
    if rows:
        table = struct.pack("<q", len(rows)) + b"".join(rows)
        held = np.frombuffer(table, np.uint8)
        parallel_for(_kernel(formula, flags, dtype.char, len(arrays), len(numbers)), address_of(held), start, _GRAIN)
    return rest


def _is_plain(array: np.ndarray[Any, Any], flags: int) -> bool:
    """Whether an array lies in memory as native code takes it."""
    return array.flags.num & flags == flags


@functools.cache
def _kernel(formula: Callable[..., Any], flags: tuple[bool, ...], char: str, arrays: int, numbers: int) -> int:
    text = kernel_text(formula, flags, char, arrays, numbers)
    cpu, features = host_cpu_name(), feature_string(host_features())
    key = cache_key("update", text, llvm_version(), host_triple(), cpu, features)
    blob = default_cache().get(key)
    if blob is None:
        blob = emit_object(text, cpu=cpu, features=features, opt=2, keep=[_NAME])
        default_cache().put(key, blob)
    return load_object(blob, [_NAME])[_NAME]


class _Lines:
    """The instructions of one element, or of a vector of elements."""

    def __init__(self, element: str, lanes: int, prefix: str) -> None:
        self.element = element
        self.lanes = lanes
        self.type = element if lanes == 1 else f"<{lanes} x {element}>"
        self.text: list[str] = []
        self._prefix = prefix
        self._constants: dict[float, str] = {}

    def add(self, instruction: str) -> str:
        """Write an instruction, and return the name of what it computes."""
        name = f"%{self._prefix}{len(self.text)}"
        self.text.append(f"  {name} = {instruction}")
        return name

    def name_of(self, value: Any) -> str:
        """The name of an operand; a Python number becomes a constant of the elements' type."""
        if isinstance(value, _Value):
            return value.name
        number = float(np.float32(value)) if self.element == "float" else float(value)
        bits = f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
        return bits if self.lanes == 1 else f"splat ({self.element} {bits})"


class _Value:
    """An operand of a formula: what is done with it is written down."""

    def __init__(self, lines: _Lines, name: str) -> None:
        self.lines = lines
        self.name = name

    def _binary(self, instruction: str, left: Any, right: Any) -> "_Value":
        lines = self.lines
        return _Value(lines, lines.add(f"{instruction} {lines.type} {lines.name_of(left)}, {lines.name_of(right)}"))

    def __add__(self, other: Any) -> "_Value":
        return self._binary("fadd", self, other)

    def __radd__(self, other: Any) -> "_Value":
        return self._binary("fadd", other, self)

    def __sub__(self, other: Any) -> "_Value":
        return self._binary("fsub", self, other)

    def __rsub__(self, other: Any) -> "_Value":
        return self._binary("fsub", other, self)

    def __mul__(self, other: Any) -> "_Value":
        return self._binary("fmul", self, other)

    def __rmul__(self, other: Any) -> "_Value":
        return self._binary("fmul", other, self)

    def __truediv__(self, other: Any) -> "_Value":
        return self._binary("fdiv", self, other)

    def __rtruediv__(self, other: Any) -> "_Value":
        return self._binary("fdiv", other, self)

    def __neg__(self) -> "_Value":
        return _Value(self.lines, self.lines.add(f"fneg {self.lines.type} {self.name}"))

    def __gt__(self, other: Any) -> "_Value":
        return self._binary("fcmp ogt", self, other)

    def __lt__(self, other: Any) -> "_Value":
        return self._binary("fcmp olt", self, other)


def _intrinsic(name: str, x: _Value) -> _Value:
    kind = "f32" if x.lines.element == "float" else "f64"
    kind = kind if x.lines.lanes == 1 else f"v{x.lines.lanes}{kind}"
    return _Value(x.lines, x.lines.add(f"call {x.lines.type} @llvm.{name}.{kind}({x.lines.type} {x.name})"))


def _select(condition: _Value, a: Any, b: Any, like: _Value) -> _Value:
    lines = condition.lines
    mask = "i1" if lines.lanes == 1 else f"<{lines.lanes} x i1>"
    chosen = f"{lines.type} {lines.name_of(a)}, {lines.type} {lines.name_of(b)}"
    return _Value(lines, lines.add(f"select {mask} {condition.name}, {chosen}"))


def _maximum(a: _Value, b: Any) -> _Value:
    """The larger one; NaN where either is NaN, as numpy has it."""
    first = _select(a._binary("fcmp oge", a, b), a, b, a)
    return _select(a._binary("fcmp uno", a, a), a, first, a)


def _minimum(a: _Value, b: Any) -> _Value:
    first = _select(a._binary("fcmp ole", a, b), a, b, a)
    return _select(a._binary("fcmp uno", a, a), a, first, a)


_MATHEMATICS = SimpleNamespace(
    sqrt=functools.partial(_intrinsic, "sqrt"),
    abs=functools.partial(_intrinsic, "fabs"),
    maximum=_maximum,
    clip=lambda x, low, high: _minimum(_maximum(x, low), high),
    where=_select,
)


def kernel_text(formula: Callable[..., Any], flags: tuple[bool, ...], char: str, arrays: int, numbers: int) -> str:
    """The LLVM IR of a formula: `void(i64 table, i64 lo, i64 hi)` over all elements of all rows of the table."""
    element = {"f": "float", "d": "double"}[char]
    row = 2 + arrays + numbers
    header: list[str] = []
    for i in range(2 + arrays + numbers):
        kind = "i64" if i < 2 else "ptr" if i < 2 + arrays else "double"
        header.append(f"  %slot{i}_at = getelementptr i64, ptr %row, i64 {i}")
        header.append(f"  %slot{i} = load {kind}, ptr %slot{i}_at, align 8")
    for i in range(numbers):
        wide = f"%slot{2 + arrays + i}"
        name = wide if element == "double" else f"%number{i}"
        if element == "float":
            header.append(f"  {name} = fptrunc double {wide} to float")
        header.append(f"  %first{i} = insertelement <{_LANES} x {element}> poison, {element} {name}, i64 0")
        header.append(f"  %splat{i} = shufflevector <{_LANES} x {element}> %first{i}, <{_LANES} x {element}> poison, "
                      f"<{_LANES} x i32> zeroinitializer")  # fmt: skip
    bodies = []
    for lanes, prefix, index in ((_LANES, "v", "%i"), (1, "s", "%j")):
        lines = _Lines(element, lanes, prefix)
        places = [lines.add(f"getelementptr {element}, ptr %slot{2 + a}, i64 {index}") for a in range(arrays)]
        align = 4 if element == "float" else 8
        operands = [_Value(lines, lines.add(f"load {lines.type}, ptr {place}, align {align}")) for place in places]
        splats = [f"%splat{i}" for i in range(numbers)]
        singles = [f"%slot{2 + arrays + i}" if element == "double" else f"%number{i}" for i in range(numbers)]
        given = [_Value(lines, name) for name in (splats if lanes > 1 else singles)]
        results = formula(_MATHEMATICS, flags, given, *operands)
        written = [0, *range(2, arrays)]
        for at, operand, result in zip(written, [operands[w] for w in written], results, strict=True):
            if result is not operand:
                value = lines.name_of(result)
                lines.text.append(f"  store {lines.type} {value}, ptr {places[at]}, align {align}")
        bodies.append("\n".join(lines.text))
    return _TEMPLATE.format(
        name=_NAME, row=row, header="\n".join(header), lanes=_LANES, vector=bodies[0], single=bodies[1],
        declarations="\n".join(
            f"declare {t} @llvm.{f}.{k}({t})"
            for f in ("sqrt", "fabs")
            for t, k in (
                (element, "f32" if element == "float" else "f64"),
                (f"<{_LANES} x {element}>", f"v{_LANES}" + ("f32" if element == "float" else "f64")),
            )
        ),
    )  # fmt: skip


# Row by row: the part of the row's range within [lo, hi), as vectors first.
_TEMPLATE = """
{declarations}
define void @{name}(i64 %table_address, i64 %lo, i64 %hi) {{
entry:
  %table = inttoptr i64 %table_address to ptr
  %count = load i64, ptr %table, align 8
  %rows = getelementptr i64, ptr %table, i64 1
  br label %next_row
next_row:
  %r = phi i64 [ 0, %entry ], [ %r_next, %row_done ]
  %more = icmp slt i64 %r, %count
  br i1 %more, label %one_row, label %done
one_row:
  %offset = mul i64 %r, {row}
  %row = getelementptr i64, ptr %rows, i64 %offset
{header}
  %starts_later = icmp sgt i64 %slot0, %lo
  %from_flat = select i1 %starts_later, i64 %slot0, i64 %lo
  %ends_earlier = icmp slt i64 %slot1, %hi
  %to_flat = select i1 %ends_earlier, i64 %slot1, i64 %hi
  %from = sub i64 %from_flat, %slot0
  %to = sub i64 %to_flat, %slot0
  %last = sub i64 %to, {lanes}
  br label %next_vector
next_vector:
  %i = phi i64 [ %from, %one_row ], [ %i_next, %one_vector ]
  %whole = icmp sle i64 %i, %last
  br i1 %whole, label %one_vector, label %next_single
one_vector:
{vector}
  %i_next = add i64 %i, {lanes}
  br label %next_vector
next_single:
  %j = phi i64 [ %i, %next_vector ], [ %j_next, %one_single ]
  %left = icmp slt i64 %j, %to
  br i1 %left, label %one_single, label %row_done
one_single:
{single}
  %j_next = add i64 %j, 1
  br label %next_single
row_done:
  %r_next = add i64 %r, 1
  br label %next_row
done:
  ret void
}}
"""
