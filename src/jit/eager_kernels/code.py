"""A notation for loops over memory: Python statements that write LLVM instructions, which llvmlite assembles.

Generated kernels go through Numba; these do not, since eager execution must not wait seconds for its first convolution.
A `Number` is an int64, a float or a vector of floats that the kernel computes: its operators append instructions.

    with code.loop(0, count) as i:
        y[i] = x[i] * 2
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from llvmlite import ir

__all__ = ["ELEMENTS", "Code", "Number", "Pointer"]

_I64, _I32, _I1 = ir.IntType(64), ir.IntType(32), ir.IntType(1)
_POINTER = ir.IntType(8).as_pointer()
ELEMENTS = {"f32": ir.FloatType(), "f64": ir.DoubleType()}
_SIZES = {"float": 4, "double": 8, "i64": 8}


class Number:
    """A value of the kernel: an int64, a truth value, a float, or a vector of floats or truth values."""

    __slots__ = ("code", "value")

    def __init__(self, code: "Code", value: Any) -> None:
        self.code = code
        self.value = value

    def _binary(self, other: Any, integer: str, floating: str, swapped: bool = False) -> "Number":
        builder = self.code.builder
        pair = [self.value, self.code.like(other, self.value.type)]
        if swapped:
            pair.reverse()
        name = integer if isinstance(self.value.type, ir.IntType) else floating
        return Number(self.code, getattr(builder, name)(*pair))

    def __add__(self, other: Any) -> "Number":
        return self._binary(other, "add", "fadd")

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Number":
        return self._binary(other, "sub", "fsub")

    def __rsub__(self, other: Any) -> "Number":
        return self._binary(other, "sub", "fsub", swapped=True)

    def __mul__(self, other: Any) -> "Number":
        return self._binary(other, "mul", "fmul")

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Number":
        return self._binary(other, "sdiv", "fdiv")

    def __floordiv__(self, other: Any) -> "Number":
        """Of non-negative integers: the CPU's division rounds towards zero."""
        return self._binary(other, "sdiv", "fdiv")

    def __mod__(self, other: Any) -> "Number":
        return self._binary(other, "srem", "frem")

    def __neg__(self) -> "Number":
        """Of floats."""
        return Number(self.code, self.code.builder.fneg(self.value))

    def __and__(self, other: Any) -> "Number":
        return self._binary(other, "and_", "and_")

    def __or__(self, other: Any) -> "Number":
        return self._binary(other, "or_", "or_")

    def _compare(self, relation: str, other: Any) -> "Number":
        """Ordered: False where one is NaN, but for `!=`."""
        builder, right = self.code.builder, self.code.like(other, self.value.type)
        if isinstance(self.value.type, ir.IntType):
            return Number(self.code, builder.icmp_signed(relation, self.value, right))
        compare = builder.fcmp_unordered if relation == "!=" else builder.fcmp_ordered
        return Number(self.code, compare(relation, self.value, right))

    def __lt__(self, other: Any) -> "Number":
        return self._compare("<", other)

    def __le__(self, other: Any) -> "Number":
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> "Number":
        return self._compare(">", other)

    def __ge__(self, other: Any) -> "Number":
        return self._compare(">=", other)

    def equals(self, other: Any) -> "Number":
        """Whether both are equal."""
        return self._compare("==", other)

    def differs(self, other: Any) -> "Number":
        """Whether they differ, or one is NaN."""
        return self._compare("!=", other)


class Variable:
    """A number that changes, as a loop's total: `get()` and `set(value)`."""

    def __init__(self, code: "Code", first: Any) -> None:
        self._code = code
        start = first.value if isinstance(first, Number) else _I64(first)
        with code.builder.goto_entry_block():
            self._place = code.builder.alloca(start.type)
        code.builder.store(start, self._place)

    def get(self) -> Number:
        """The value now."""
        return Number(self._code, self._code.builder.load(self._place))

    def set(self, value: Any) -> None:
        """Change it."""
        self._code.builder.store(self._code.like(value, self.get().value.type), self._place)

    def add(self, value: Any) -> None:
        """Add to it."""
        self.set(self.get() + value)


class Pointer:
    """Where elements of a type lie, as an array without a length."""

    def __init__(self, code: "Code", base: Any, element: Any) -> None:
        self.code = code
        self.base = base
        self.element = element
        self._size = _SIZES[str(element)]

    @property
    def address(self) -> Number:
        """The address as an int."""
        return Number(self.code, self.code.builder.ptrtoint(self.base, _I64))

    def _at(self, index: Any, kind: Any) -> Any:
        builder = self.code.builder
        offset = builder.mul(self.code.like(index, _I64), _I64(self._size))
        return builder.bitcast(builder.gep(self.base, [offset]), kind.as_pointer())

    def __getitem__(self, index: Any) -> Number:
        return Number(self.code, self.code.builder.load(self._at(index, self.element), align=self._size))

    def __setitem__(self, index: Any, value: Any) -> None:
        self.code.builder.store(self.code.like(value, self.element), self._at(index, self.element), align=self._size)

    def __add__(self, count: Any) -> "Pointer":
        """The pointer `count` elements further."""
        builder = self.code.builder
        offset = builder.mul(self.code.like(count, _I64), _I64(self._size))
        return Pointer(self.code, builder.gep(self.base, [offset]), self.element)

    def vector(self, index: Any) -> Number:
        """A vector of the elements from an index on."""
        place = self._at(index, self.code.vector)
        return Number(self.code, self.code.builder.load(place, align=self._size))

    def set_vector(self, index: Any, value: Number) -> None:
        """Store a vector from an index on."""
        self.code.builder.store(value.value, self._at(index, self.code.vector), align=self._size)

    def set_part(self, index: Any, value: Number, count: Any) -> None:
        """Store the first `count` elements of a vector."""
        # A store under a mask takes AMD's CPUs some 15 cycles; vectors that are full, or half full, are what is common.
        code = self.code
        builder, count = code.builder, Number(code, code.like(count, _I64))
        with code.either(count.equals(code.lanes)) as (whole, less):
            with whole:
                self.set_vector(index, value)
            with less, code.either(count.equals(code.lanes // 2)) as (half, other):
                with half:
                    kind = ir.VectorType(self.element, code.lanes // 2)
                    lower = ir.Constant(ir.VectorType(_I32, kind.count), list(range(kind.count)))
                    part = builder.shuffle_vector(value.value, ir.Constant(code.vector, ir.Undefined), lower)
                    builder.store(part, self._at(index, kind), align=self._size)
                with other:
                    parameters = [code.vector, _POINTER, _I32, code.mask]
                    function = code.intrinsic("llvm.masked.store", ir.VoidType(), parameters)
                    place = builder.bitcast(self._at(index, code.vector), _POINTER)
                    builder.call(function, [value.value, place, _I32(self._size), code.first(count).value])

    def part(self, index: Any, count: Any) -> Number:
        """A vector of the `count` elements from an index on, zeros after them; nothing else is read."""
        code = self.code
        function = code.intrinsic("llvm.masked.load", code.vector, [_POINTER, _I32, code.mask, code.vector])
        place = code.builder.bitcast(self._at(index, code.vector), _POINTER)
        arguments = [place, _I32(self._size), code.first(count).value, code.splat(0.0).value]
        return Number(code, code.builder.call(function, arguments))


class Code:
    """One range kernel, `void(int64 table, int64 lo, int64 hi)`, as it is written."""

    def __init__(self, module: Any, name: str, dtype: str, lanes: int, slots: Sequence[str]) -> None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_I64] * 3), name)
        self.module, self.function = module, function
        self.dtype, self.lanes = dtype, lanes
        self.element = ELEMENTS[dtype]
        self.size = _SIZES[str(self.element)]
        self.vector = ir.VectorType(self.element, lanes)
        self.mask = ir.VectorType(_I1, lanes)
        # A block for variables alone, before everything else.
        entry, start = function.append_basic_block("entry"), function.append_basic_block("start")
        self.builder = ir.IRBuilder(entry)
        self.builder.branch(start)
        self.builder.position_at_end(start)
        table = self.pointer(Number(self, function.args[0]), _I64)
        self.lo, self.hi = Number(self, function.args[1]), Number(self, function.args[2])
        self.slots = SimpleNamespace(**{slot: table[i] for i, slot in enumerate(slots)})

    def finish(self) -> None:
        """End the kernel."""
        self.builder.ret_void()

    # -- values -------------------------------------------------------------------------------------------------------

    def like(self, value: Any, kind: Any) -> Any:
        """The instruction value of a number or a Python constant of a type."""
        if isinstance(value, Number):
            if isinstance(kind, ir.VectorType) and not isinstance(value.value.type, ir.VectorType):
                return self.splat(value).value
            return value.value
        if isinstance(kind, ir.VectorType):
            return ir.Constant(kind, [value] * kind.count)
        return ir.Constant(kind, value)

    def splat(self, value: Any) -> Number:
        """A vector of one number."""
        if not isinstance(value, Number):
            return Number(self, ir.Constant(self.vector, [float(value)] * self.lanes))
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, value.value, _I32(0))
        first = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return Number(self, self.builder.shuffle_vector(one, undefined, first))

    def first(self, count: Any) -> Number:
        """The truth values of a vector's lanes: whether there are so many."""
        lanes = ir.Constant(ir.VectorType(_I32, self.lanes), list(range(self.lanes)))
        small = self.builder.trunc(self.like(count, _I64), _I32)
        undefined = ir.Constant(lanes.type, ir.Undefined)
        one = self.builder.insert_element(undefined, small, _I32(0))
        zeros = ir.Constant(lanes.type, [0] * self.lanes)
        return Number(self, self.builder.icmp_signed("<", lanes, self.builder.shuffle_vector(one, undefined, zeros)))

    def select(self, condition: Number, a: Any, b: Any) -> Number:
        """`a` where the condition holds, else `b`; one of them is a Number."""
        kind = (a if isinstance(a, Number) else b).value.type
        return Number(self, self.builder.select(condition.value, self.like(a, kind), self.like(b, kind)))

    def smaller(self, a: Any, b: Any) -> Number:
        """The smaller of two integers."""
        left = a if isinstance(a, Number) else Number(self, _I64(a))
        return self.select(left < b, left, b)

    def larger(self, a: Any, b: Any) -> Number:
        """The larger of two integers."""
        left = a if isinstance(a, Number) else Number(self, _I64(a))
        return self.select(left > b, left, b)

    def total(self, vector: Number) -> Number:
        """The sum of a vector's elements, added in halves."""
        return self.combined(vector, lambda a, b: a + b)

    def combined(self, vector: Number, function: Callable[[Number, Number], Number]) -> Number:
        """All elements of a vector by a function of two, in halves."""
        found, count = vector, self.lanes
        while count > 1:
            count //= 2
            undefined = ir.Constant(found.value.type, ir.Undefined)
            low, high = (
                self.builder.shuffle_vector(found.value, undefined, ir.Constant(ir.VectorType(_I32, count), indices))
                for indices in (list(range(count)), list(range(count, 2 * count)))
            )
            found = function(Number(self, low), Number(self, high))
        return Number(self, self.builder.extract_element(found.value, _I32(0)))

    def fused(self, a: Number, b: Number, c: Number) -> Number:
        """a * b + c, which may round once."""
        product = self.builder.fmul(a.value, b.value, flags=("contract",))
        return Number(self, self.builder.fadd(product, c.value, flags=("contract",)))

    def _function(self, name: str, value: Number) -> Number:
        function = self.intrinsic(f"llvm.{name}", value.value.type, [value.value.type])
        return Number(self, self.builder.call(function, [value.value]))

    def root(self, value: Number) -> Number:
        """The square root."""
        return self._function("sqrt", value)

    def logarithm(self, value: Number) -> Number:
        """The natural logarithm of one number, by the mathematics library."""
        return self._function("log", value)

    def nearest(self, value: Number) -> Number:
        """The nearest whole number."""
        return self._function("rint", value)

    def power_of_two(self, exponent: Number) -> Number:
        """2 to the power of a vector of whole numbers in the range of exponents."""
        kind, bits, bias = (_I32, 23, 127) if self.dtype == "f32" else (_I64, 52, 1023)
        kind = ir.VectorType(kind, self.lanes)
        whole = self.builder.fptosi(exponent.value, kind)
        biased = self.builder.add(whole, ir.Constant(kind, [bias] * self.lanes))
        shifted = self.builder.shl(biased, ir.Constant(kind, [bits] * self.lanes))
        return Number(self, self.builder.bitcast(shifted, self.vector))

    def number(self, value: Number) -> Number:
        """An int as a float."""
        return Number(self, self.builder.sitofp(value.value, self.element))

    def from_bits(self, value: Number) -> Number:
        """The float whose bits, of float64, an int has."""
        wide = self.builder.bitcast(value.value, ir.DoubleType())
        return Number(self, wide if self.dtype == "f64" else self.builder.fptrunc(wide, self.element))

    def wide(self, value: Number) -> Number:
        """A float as float64."""
        same = self.dtype == "f64"
        return value if same else Number(self, self.builder.fpext(value.value, ir.DoubleType()))

    def narrow(self, value: Number) -> Number:
        """A float64 as the elements' type."""
        return value if self.dtype == "f64" else Number(self, self.builder.fptrunc(value.value, self.element))

    def pointer(self, address: Number, kind: Any = None) -> Pointer:
        """What is at an address: elements, or int64."""
        base = self.builder.inttoptr(address.value, _POINTER)
        return Pointer(self, base, self.element if kind is None else kind)

    def integers(self, address: Number) -> Pointer:
        """The int64 numbers at an address."""
        return self.pointer(address, _I64)

    def variable(self, first: Any) -> Variable:
        """A number that changes."""
        return Variable(self, first)

    def intrinsic(self, name: str, result: Any, parameters: list[Any]) -> Any:
        """One of LLVM's own functions, by its name without types."""
        named = [t for t in (result, *parameters) if isinstance(t, (ir.VectorType, ir.FloatType, ir.DoubleType))]
        vector = named[0]
        kind = "f32" if "float" in str(vector) else "f64"
        full = f"{name}.v{self.lanes}{kind}" if isinstance(vector, ir.VectorType) else f"{name}.{kind}"
        if "masked" in name:
            full += ".p0"
        existing = self.module.globals.get(full)
        return existing or ir.Function(self.module, ir.FunctionType(result, parameters), full)

    def call(self, function: Any, *arguments: Any) -> None:
        """Call a function of int64 arguments."""
        self.builder.call(function, [self.like(a, _I64) for a in arguments])

    # -- control ------------------------------------------------------------------------------------------------------

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1) -> Iterator[Number]:
        """The body for start, start + step, ... below stop."""
        counter = self.variable(start if isinstance(start, Number) else Number(self, _I64(start)))
        with self.repeat(lambda: counter.get() < stop):
            yield counter.get()
            counter.add(step)

    @contextmanager
    def repeat(self, condition: Callable[[], Number]) -> Iterator[None]:
        """The body as long as the condition holds."""
        head, body, after = (self.function.append_basic_block(n) for n in ("head", "body", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(condition().value, body, after)
        self.builder.position_at_end(body)
        yield
        self.builder.branch(head)
        self.builder.position_at_end(after)

    @contextmanager
    def when(self, condition: Number) -> Iterator[None]:
        """The body where the condition holds."""
        with self.builder.if_then(condition.value):
            yield

    @contextmanager
    def either(self, condition: Number) -> Iterator[tuple[Any, Any]]:
        """Two bodies: one where the condition holds, one where it does not."""
        with self.builder.if_else(condition.value) as (then, otherwise):
            yield then, otherwise

    @contextmanager
    def vectors(self, count: Number) -> Iterator[tuple[Number, Number]]:
        """The body for every vector of `count` elements: its first index and how many elements it has."""
        with self.loop(0, count, self.lanes) as i:
            yield i, self.smaller(count - i, self.lanes)
