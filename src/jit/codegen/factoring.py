"""Kernels of linear algebra on small matrices: Cholesky and LU factors, linear systems, inverses, determinants.

An item is one matrix of a batch. Elimination goes row by row through memory, eight pivots at once: their rows are
copied beside the matrix, and the rest takes one pass for all eight (Golub and Van Loan, "Matrix Computations", 3.2,
4.2).
Larger matrices, and those where elimination meets what it cannot divide by, go to numpy, which says what is wrong.
"""

from collections.abc import Callable

from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.dtypes import DType
from ..errors import Unsupported
from .driver import Driver
from .host_ops import run_on_host
from .indexing import element_count
from .template import LoopText, tensor_type

__all__ = ["FACTORING"]

# Up to so many rows; LAPACK's products of blocks are faster from there on.
_LARGEST = 256
# What a kernel says of a matrix that it cannot divide by.
_FAILED = 99
# So many right-hand sides are eliminated as rows; fewer as columns, by dot products.
_AS_ROWS = 8

_UPDATE = """
for i in {rows}:
    row = w0 + i * ld
    {factors}
    for j in range({first}, ld):
        w[row + j] -= {sum}
"""


def _update(rows: str, first: str, factor: str) -> str:
    """Rows less eight rows of `u`, each times its factor."""
    factors = "; ".join(f"f{p} = {factor.format(p=p)}" for p in range(8))
    total = " + ".join(f"f{p} * u[u0 + {p} * ld + j]" for p in range(8))
    return _UPDATE.format(rows=rows, first=first, factors=factors, sum=total)


_COPY_ROWS = """
for k in range(k0, k0 + kb):
    for j in range({first}, ld):
        u[u0 + (k - k0) * ld + j] = w[w0 + k * ld + j]
"""

# Rows [U | inv(L) P B] of [A | B]; `negative` counts exchanges of rows.
_ELIMINATE = """
negative = 0
for k0 in range(0, n, 8):
    kb = min(8, n - k0)
    k1 = k0 + kb
    for k in range(k0, k1):
        pivot = w0 + k * ld
        best = absolute(w[pivot + k])
        place = k
        for i in range(k + 1, n):
            size = absolute(w[w0 + i * ld + k])
            if size > best:
                best = size
                place = i
        if place != k:
            negative = 1 - negative
            other = w0 + place * ld
            for j in range(ld):
                held = w[other + j]
                w[other + j] = w[pivot + j]
                w[pivot + j] = held
        d = w[pivot + k]
        if d == 0:
            failed = True
        else:
            for i in range(k + 1, n):
                row = w0 + i * ld
                f = w[row + k] / d
                w[row + k] = f
                for j in range(k + 1, k1):
                    w[row + j] -= f * w[pivot + j]
    for k in range(k0 + 1, k1):
        row = w0 + k * ld
        for p in range(k0, k):
            f = w[row + p]
            above = w0 + p * ld
            for j in range(k1, ld):
                w[row + j] -= f * w[above + j]
    if k1 < n:
        COPY
        UPDATE
"""

# U X = Y for the rows of X beside U, from the last one up.
_SUBSTITUTE_ROWS = """
k1 = n
while k1 > 0:
    kb = k1 % 8 if k1 % 8 != 0 else 8
    k0 = k1 - kb
    for k in range(k1 - 1, k0 - 1, -1):
        pivot = w0 + k * ld
        DIVIDE
        for i in range(k0, k):
            row = w0 + i * ld
            f = w[row + k]
            for j in range(n, ld):
                w[row + j] -= f * w[pivot + j]
    if kb == 8 and k0 > 0:
        COPY
        UPDATE
    else:
        for k in range(k0, k1):
            pivot = w0 + k * ld
            for i in range(k0):
                row = w0 + i * ld
                f = w[row + k]
                for j in range(n, ld):
                    w[row + j] -= f * w[pivot + j]
    k1 = k0
"""

_SUBSTITUTE_COLUMNS = """
for c in range(ld - n):
    x0 = u0 + c * n
    for k in range(n - 1, -1, -1):
        row = w0 + k * ld
        total = zero
        for j in range(k + 1, n):
            total = sum_step(total, w[row + j] * u[x0 + j])
        value = w[row + n + c] - total
        u[x0 + k] = value DIVIDED
    for k in range(n):
        w[w0 + k * ld + n + c] = u[x0 + k]
"""

# The upper factor of the upper triangle in w.
_CHOLESKY = """
for k0 in range(0, n, 8):
    kb = min(8, n - k0)
    k1 = k0 + kb
    for k in range(k0, k1):
        pivot = w0 + k * ld
        d = w[pivot + k]
        if not d > 0:
            failed = True
        root = square_root_of(d)
        for j in range(k, n):
            w[pivot + j] = w[pivot + j] / root
        w[pivot + k] = root
        for i in range(k + 1, k1):
            row = w0 + i * ld
            f = w[pivot + i]
            for j in range(i, n):
                w[row + j] -= f * w[pivot + j]
    if k1 < n:
        COPY
        UPDATE
"""


def _indented(text: str, depth: int) -> str:
    return "\n".join(" " * depth + line if line else "" for line in text.strip("\n").splitlines())


def _filled(text: str, **parts: str) -> str:
    """A text with its placeholders, which stand alone on their lines, replaced."""
    lines = []
    for line in text.strip("\n").splitlines():
        name = line.strip()
        lines.append(_indented(parts[name], len(line) - len(name)) if name in parts else line)
    return "\n".join(lines)


_ELIMINATION = _filled(
    _ELIMINATE, COPY=_COPY_ROWS.format(first="k1"), UPDATE=_update("range(k1, n)", "k1", "w[row + k0 + {p}]")
)
_FACTOR = _filled(
    _CHOLESKY, COPY=_COPY_ROWS.format(first="k1"), UPDATE=_update("range(k1, n)", "i", "u[u0 + {p} * ld + i]")
)


def _substitution(*, unit: bool) -> str:
    """The solution for an upper triangle, whose diagonal is taken for ones if `unit`."""
    divide = "for j in range(n, ld):\n    w[pivot + j] = w[pivot + j] / w[pivot + k]"
    rows = _filled(
        _SUBSTITUTE_ROWS,
        DIVIDE="pass" if unit else divide,
        COPY=_COPY_ROWS.format(first="n"),
        UPDATE=_update("range(k0)", "n", "w[row + k0 + {p}]"),
    )
    columns = _SUBSTITUTE_COLUMNS.replace(" DIVIDED", "" if unit else " / w[row + k]")
    return f"if ld - n >= {_AS_ROWS}:\n{_indented(rows, 4)}\nelse:\n{_indented(columns, 4)}"


_FEW_COLUMNS = """
for c0 in range(0, m, {count}):
    x0 = u0 + c0 * n
    for p in range({count}):
        c = min(c0 + p, m - 1)
        for i in range(n):
            u[x0 + p * n + i] = {b}
    for step in range(n):
        k = {order}
        {start}
        for j in range({others}):
            {sums}
        {finish}
    for p in range(min({count}, m - c0)):
        c = c0 + p
        for i in range(n):
            {y} = u[x0 + p * n + i]
"""


def _few_columns(a: str, b: str, y: str, count: int, *, upper: bool, unit: bool) -> str:
    """Substitution for `count` right-hand sides at a time, which lie beside each other in `u`."""
    divided = "" if unit else f" / {a.format(i='k', j='k')}"
    element = a.format(i="k", j="j")
    return _FEW_COLUMNS.format(
        count=count,
        b=b.format(i="i"),
        y=y.format(i="i"),
        order="n - 1 - step" if upper else "step",
        others="k + 1, n" if upper else "k",
        start="; ".join(f"t{p} = zero" for p in range(count)),
        sums="; ".join(f"t{p} = sum_step(t{p}, {element} * u[x0 + {p} * n + j])" for p in range(count)),
        finish="; ".join(f"u[x0 + {p} * n + k] = (u[x0 + {p} * n + k] - t{p}){divided}" for p in range(count)),
    )


class _Matrices:
    """A kernel over the matrices of a batch, each with memory of its own: `w` with `ld` columns, and eight rows `u`."""

    def __init__(self, driver: Driver, instruction: Instruction, n: Dim, batch: Dim, more: Dim, dtype: DType) -> None:
        self.loops = LoopText(driver, instruction)
        self.driver, self.instruction = driver, instruction
        self.n, self.batch, self.more, self.dtype = n, batch, more, dtype
        self.loops.requirements.helpers.update(("absolute", "sum_step", "square_root_of"))
        width = n + more
        self.loops.sizes(n=n, ld=width)
        self.loops.temporary("w", batch * n * width, dtype)
        self.loops.temporary("u", batch * width * 8, dtype)

    def finished(self, body: str) -> str:
        """The text for all items."""
        start = "w0 = item * n * ld\nu0 = item * 8 * ld\nfailed = False"
        zeros = f"zero, one = np.{self.dtype.name}(0), np.{self.dtype.name}(1)"
        return f"{zeros}\nfor item in range(lo, hi):\n{_indented(start, 4)}\n{_indented(body, 4)}\n"

    def run_all(self, body: str) -> None:
        """Run it for matrices of any size; it cannot fail."""
        self.loops.run(self.finished(body), self.batch, self.n * self.n * self.more)

    def run(self, body: str) -> None:
        """Run it where the matrices are small enough, and let Python compute the rest."""
        driver, instruction = self.driver, self.instruction
        for result in instruction.results:
            driver.store(result)
        self.loops.status()
        text = self.finished(body)
        text += f"    if failed:\n        status[0] = {_FAILED}\n"
        done = driver.fresh("s")
        driver.line(f"{done} = False")
        with driver.block(f"if {driver.size(self.n)} <= {_LARGEST}:"):
            self.loops.run(text, self.batch, self.n * self.n * (self.n + self.more))
            driver.line(f"{done} = slot_i64(p, {len(self.loops.parameters)}) == 0")
        with driver.block(f"if not {done}:"):
            note = f"is computed by numpy above {_LARGEST} rows, and where the kernel would divide by zero"
            run_on_host(driver, instruction, note)


def _square(value: Value) -> tuple[Dim, Dim, DType]:
    """(rows, number of matrices, dtype) of square matrices."""
    type = tensor_type(value)
    return type.shape[-1], element_count(type.shape[:-2]), type.dtype


def _step(value: Value, batch: tuple[Dim, ...], instruction: Instruction) -> str:
    """The number of the matrix of an item: its own, or the only one."""
    own = tensor_type(value).shape[:-2]
    if own == batch:
        return "item"
    if all(size == 1 for size in own):
        return "0"
    raise Unsupported(f"{instruction.op.name} of batches that broadcast has no native kernel", instruction.location)


def run_cholesky(driver: Driver, instruction: Instruction) -> None:
    source, result = instruction.inputs[0], instruction.results[0]
    n, batch, dtype = _square(source)
    upper = instruction.attributes["upper"]
    kernel = _Matrices(driver, instruction, n, batch, 0, dtype)
    kernel.loops.read("x", source)
    kernel.loops.write("y", result)
    # Rows of the lower triangle, as they lie, are the columns of the upper one.
    read = "x[item * n * n + i * n + j]" if upper else "x[item * n * n + j * n + i]"
    write = "w[w0 + i * ld + j] if j >= i else zero"
    if not upper:
        write = "w[w0 + j * ld + i] if j <= i else zero"
    load = f"for i in range(n):\n    for j in range(i, n):\n        w[w0 + i * ld + j] = {read}"
    store = f"for i in range(n):\n    for j in range(n):\n        y[item * n * n + i * n + j] = {write}"
    kernel.run(f"{load}\n{_FACTOR}\n{store}")


def _determinant(driver: Driver, instruction: Instruction) -> None:
    source = instruction.inputs[0]
    n, batch, dtype = _square(source)
    kernel = _Matrices(driver, instruction, n, batch, 0, dtype)
    kernel.loops.read("x", source)
    kernel.loops.write("y", instruction.results[0])
    load = "for i in range(n * n):\n    w[w0 + i] = x[item * n * n + i]"
    product = "for i in range(n):\n    product = product * w[w0 + i * ld + i]"
    if instruction.op.name == "det":
        finish = f"product = one if negative == 0 else -one\n{product}\ny[item] = product"
    else:
        kernel.loops.write("z", instruction.results[1])
        kernel.loops.requirements.vector.add(("log", dtype.short))
        kernel.loops.requirements.bits.add(f"float_to_bits_{dtype.short}")
        finish = f"""
sign = one if negative == 0 else -one
total = zero
for i in range(n):
    d = w[w0 + i * ld + i]
    sign = sign if d > 0 else -sign
    total += log_{dtype.short}(absolute(d))
y[item] = sign
z[item] = total
"""
    kernel.run(f"{load}\n{_ELIMINATION}\n{finish}")


def run_inverse(driver: Driver, instruction: Instruction) -> None:
    source, result = instruction.inputs[0], instruction.results[0]
    n, batch, dtype = _square(source)
    kernel = _Matrices(driver, instruction, n, batch, n, dtype)
    kernel.loops.read("x", source)
    kernel.loops.write("y", result)
    load = """
for i in range(n):
    for j in range(n):
        w[w0 + i * ld + j] = x[item * n * n + i * n + j]
        w[w0 + i * ld + n + j] = one if i == j else zero
"""
    store = "for i in range(n):\n    for j in range(n):\n        y[item * n * n + i * n + j] = w[w0 + i * ld + n + j]"
    kernel.run(f"{load}\n{_ELIMINATION}\n{_substitution(unit=False)}\n{store}")


def _system(driver: Driver, instruction: Instruction, *, left: bool) -> tuple[_Matrices, str, str, str]:
    """The kernel of a system, the place of A's element (i, j), of B's element (i, c), and of the result's."""
    a, b = instruction.inputs
    result = instruction.results[0]
    n, _, dtype = _square(a)
    shape, vector = tensor_type(result).shape, tensor_type(result).rank < tensor_type(a).rank
    if vector and tensor_type(a).shape[:-2] != tensor_type(b).shape[:-1]:
        raise Unsupported(f"{instruction.op.name} of vectors has no native kernel for batches", instruction.location)
    batch = shape[:-1] if vector else shape[:-2]
    more: Dim = 1 if vector else shape[-1] if left else shape[-2]
    kernel = _Matrices(driver, instruction, n, element_count(batch), more, dtype)
    kernel.loops.sizes(m=more)
    kernel.loops.read("x", a)
    kernel.loops.read("b", b)
    kernel.loops.write("y", result)
    of_a = _step(a, batch, instruction)
    of_b = "item" if vector else _step(b, batch, instruction)
    inside_a, inside_b = ("{i} * n + {j}", "{i} * m + c") if left else ("{j} * n + {i}", "c * n + {i}")
    return (
        kernel,
        f"x[{of_a} * n * n + {inside_a}]",
        f"b[{of_b} * n * m + {inside_b}]",
        f"y[item * n * m + {inside_b}]",
    )


_LOAD_SYSTEM = """
for i in range(n):
    for j in range(n):
        w[w0 + i * ld + j] = {a}
    for c in range(m):
        w[w0 + i * ld + n + c] = {b}
"""
_STORE_SYSTEM = """
for i in range(n):
    for c in range(m):
        {y} = w[w0 + i * ld + n + c]
"""


def run_solve(driver: Driver, instruction: Instruction) -> None:
    kernel, a, b, y = _system(driver, instruction, left=instruction.attributes["left"])
    load = _LOAD_SYSTEM.format(a=a.format(i="i", j="j"), b=b.format(i="i"))
    store = _STORE_SYSTEM.format(y=y.format(i="i"))
    kernel.run(f"{load}\n{_ELIMINATION}\n{_substitution(unit=False)}\n{store}")


def run_solve_triangular(driver: Driver, instruction: Instruction) -> None:
    attributes = instruction.attributes
    kernel, a, b, y = _system(driver, instruction, left=attributes["left"])
    # A lower triangle is an upper one from the other end; a transposed one changes sides.
    upper = attributes["upper"] == attributes["left"]
    i, j = ("i", "j") if upper else ("(n - 1 - i)", "(n - 1 - j)")
    load = _LOAD_SYSTEM.format(a=a.format(i=i, j=j), b=b.format(i=i)).replace(
        "for j in range(n)", "for j in range(i, n)"
    )
    store = _STORE_SYSTEM.format(y=y.format(i=i))
    unit = attributes["unitriangular"]
    body = f"{load}\n{_substitution(unit=unit)}\n{store}"
    if attributes["left"]:
        # Few right-hand sides: rows of the matrix as they lie, once for four of them.
        forms = [_few_columns(a, b, y, n, upper=attributes["upper"], unit=unit) for n in (1, 4)]
        body = (
            f"if m == 1:\n{_indented(forms[0], 4)}\nelif m < {_AS_ROWS}:\n{_indented(forms[1], 4)}\n"
            f"else:\n{_indented(body, 4)}"
        )
    kernel.run_all(body)


FACTORING: dict[str, Callable[[Driver, Instruction], None]] = {
    "cholesky": run_cholesky,
    "det": _determinant,
    "slogdet": _determinant,
    "inv": run_inverse,
    "solve": run_solve,
    "solve_triangular": run_solve_triangular,
}
