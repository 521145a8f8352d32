"""Running extremes and running logarithms of sums on a device: a block for each row, as `indexed` scans sums.

What is carried from step to step is a pair: an extreme with its place, or a factor with a sum. Threads past the end of
the row hold the pair that changes nothing.
"""

from collections.abc import Callable

from ....ir import dtypes
from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ....ir.dtypes import DType
from ....ir.types import TensorType
from ..indexing import element_count
from ..nest import Temporary
from ..reads import axis_of
from ..scalar_code import Code, cast, working
from ..template import along
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid

__all__ = ["RUNNING"]

Storage = Callable[[Value], Value]
Lowered = tuple[list[DeviceKernel], dict[Value, Value], list[Temporary]]

_SCAN = """
base = item // INNER * COUNT * INNER + item % INNER
thread = cuda.threadIdx.x
carried = FIRST_A
besides = FIRST_B
for begin in range(0, COUNT, THREADS):
    k = begin + thread
    a = FIRST_A
    b = FIRST_B
    if k < COUNT:
        LOAD
    firsts[thread] = a
    seconds[thread] = b
    cuda.syncthreads()
    distance = 1
    while distance < THREADS:
        before = FIRST_A
        with_it = FIRST_B
        if thread >= distance:
            before = firsts[thread - distance]
            with_it = seconds[thread - distance]
        cuda.syncthreads()
        a = firsts[thread]
        b = seconds[thread]
        JOIN
        firsts[thread] = a
        seconds[thread] = b
        cuda.syncthreads()
        distance = distance * 2
    a = firsts[thread]
    b = seconds[thread]
    before = carried
    with_it = besides
    JOIN
    if k < COUNT:
        STORE
    cuda.syncthreads()
    if thread == THREADS - 1:
        firsts[thread] = a
        seconds[thread] = b
    cuda.syncthreads()
    carried = firsts[THREADS - 1]
    besides = seconds[THREADS - 1]
    cuda.syncthreads()
"""


def _tensor(value: Value) -> TensorType:
    assert isinstance(value.type, TensorType)
    return value.type


def _shared(dtype: DType) -> DType:
    """What elements of a dtype are while they are shared: halves are float32, and small integers and bools 32 bits."""
    wide = working(dtype)
    return wide if wide.itemsize >= 4 else dtypes.int32


class _Row:
    """A scan along a dimension, being written."""

    def __init__(self, instruction: Instruction, like: Value, target: DeviceTarget, kinds: tuple[DType, DType]) -> None:
        self.instruction = instruction
        self.target = target
        self.kinds = kinds
        self.text = DeviceText()
        self.around: dict[str, Dim] = {"outer": 1, "n": 1, "inner": 1}
        if _tensor(like).shape:
            self.around = along(like, axis_of(instruction, like))
        self.count, self.inner = self.text.size(self.around["n"]), self.text.size(self.around["inner"])

    def place(self, k: str = "k") -> str:
        return f"base + {k} * {self.inner}"

    def load(self, value: Value, storage: Storage) -> str:
        """An element of a tensor, as it is shared."""
        dtype = _tensor(value).dtype
        code = Code(self.text.load(self.text.pointer(storage(value), dtype), self.place(), dtype), working(dtype))
        return cast(code, _shared(dtype), self.text.requirements).text

    def store(self, value: Value, storage: Storage, code: str) -> str:
        """The statement that stores what is shared as an element of a tensor."""
        dtype = _tensor(value).dtype
        pointer = self.text.pointer(storage(value), dtype, written=True)
        done = Code(f"({code} != 0)", dtype) if dtype is dtypes.bool_ else Code(code, _shared(dtype))
        self.text.store(pointer, self.place(), cast(done, dtype, self.text.requirements))
        return self.text.scope.lines.pop()

    def kernel(self, parts: dict[str, str], note: str = "") -> DeviceKernel:
        text, threads = self.text, self.target.threads
        a, b = self.kinds
        text.line(f"firsts = cuda.shared.array({threads}, types.{a.name})")
        text.line(f"seconds = cuda.shared.array({threads}, types.{b.name})")
        n = self.around["outer"] * self.around["inner"]
        numbers = {"INNER": self.inner, "COUNT": self.count, "THREADS": str(threads)}
        with text.block(f"for item in range(cuda.blockIdx.x, {text.size(n)}, cuda.gridDim.x):"):
            for line in _SCAN.strip("\n").splitlines():
                indent = line[: len(line) - len(line.lstrip())]
                for written in parts.get(line.strip(), line.strip()).splitlines():
                    for name, number in (*numbers.items(), *parts.items()):
                        written = written.replace(name, number)
                    text.line(indent + written)
        name, location = self.instruction.op.name, self.instruction.location
        title = name if location is None else f"{name} ({location})"
        grid = Grid("blocks", n, threads=(threads, 1))
        return text.finish_kernel(f"k_{name}{note}", title, {"bytes_moved": None, "flops": None}, grid)


def _extreme(symbol: str) -> Callable[[Instruction, Storage, DeviceTarget], Lowered]:
    """The last place of a maximum (">=") or minimum ("<=") so far; NaN is beyond all. A place below 0 is none."""

    def lower(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
        source, (value, places) = instruction.inputs[0], instruction.results
        kind = _shared(_tensor(source).dtype)
        row = _Row(instruction, source, target, (kind, dtypes.int64))
        better = f"(a {symbol} before or a != a)" if kind.kind == "f" else f"a {symbol} before"
        parts = {
            "FIRST_A": f"np.{kind.name}(0)",
            "FIRST_B": "np.int64(-1)",
            "LOAD": f"a = {row.load(source, storage)}\nb = np.int64(k)",
            "JOIN": f"if with_it >= 0 and (b < 0 or not {better}):\n    a = before\n    b = with_it",
            "STORE": f"{row.store(value, storage, 'a')}\n{row.store(places, storage, 'b')}",
        }
        return [row.kernel(parts)], {}, []

    return lower


def _logarithm(row: _Row, load: str, store: str, note: str = "") -> DeviceKernel:
    """The running logarithm of the sum of exponentials; the second of the pair is not used."""
    kind = row.kinds[0]
    row.text.requirements.helpers.add("log_add")
    parts = {
        "FIRST_A": f"np.{kind.name}(-np.inf)",
        "FIRST_B": "np.int32(0)",
        "LOAD": f"a = {load}",
        "JOIN": f"a = np.{kind.name}(log_add(before, a))",
        "STORE": store,
    }
    return row.kernel(parts, note)


def _logcumsumexp(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    source, result = instruction.inputs[0], instruction.results[0]
    row = _Row(instruction, source, target, (working(_tensor(source).dtype), dtypes.int32))
    return [_logarithm(row, row.load(source, storage), row.store(result, storage, "a"))], {}, []


def _logcumsumexp_grad(instruction: Instruction, storage: Storage, target: DeviceTarget) -> Lowered:
    """exp(x - out) times the sums from the end: total[k] = g[k] + exp(out[k] - out[k + 1]) * total[k + 1].

    The steps of such a recurrence join as pairs of a factor and a sum do (Blelloch, "Prefix sums and their
    applications", 1990).
    """
    gradient, source = instruction.inputs
    (result,) = instruction.results
    kind = working(_tensor(source).dtype)
    outputs = Temporary(element_count(_tensor(source).shape), kind)
    first = _Row(instruction, source, target, (kind, dtypes.int32))
    out = first.text.temporary(0, kind)
    forward = _logarithm(first, first.load(source, storage), f"{out}[{first.place()}] = a", "_sums")
    row = _Row(instruction, source, target, (kind, kind))
    out = row.text.temporary(0, kind)
    # The row is read from its end.
    last = f"({row.count} - 1 - k)"

    def at(text: str, back: str = last) -> str:
        return text.replace(row.place(), row.place(back))

    here, after = at(f"{out}[{row.place()}]"), at(f"{out}[{row.place()}]", f"({row.count} - k)")
    x, g = at(row.load(source, storage)), at(row.load(gradient, storage))
    store = at(row.store(result, storage, f"np.{kind.name}(math.exp({x} - {here}) * b)"))
    parts = {
        "FIRST_A": f"np.{kind.name}(1)",
        "FIRST_B": f"np.{kind.name}(0)",
        "LOAD": f"b = np.{kind.name}({g})\nif k > 0:\n    a = np.{kind.name}(math.exp({here} - {after}))",
        "JOIN": f"b = np.{kind.name}(b + a * with_it)\na = np.{kind.name}(a * before)",
        "STORE": store,
    }
    return [forward, row.kernel(parts)], {}, [outputs]


RUNNING: dict[str, Callable[[Instruction, Storage, DeviceTarget], Lowered]] = {
    "cummax": _extreme(">="),
    "cummin": _extreme("<="),
    "logcumsumexp": _logcumsumexp,
    "logcumsumexp_grad": _logcumsumexp_grad,
}
