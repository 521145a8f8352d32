"""The op record: everything that Ingot knows about an operation, in one place.

`define(...)` makes a record and registers it. The rest of the system asks the record: eager dispatch and the
interpreter call `evaluate`, autograd and the differentiate pass call `vjp`, the builder and the verifier call `infer`,
the compiler reads `lower`, tests walk `samples`, and public functions, methods and documentation come from `schema`.
"""

import difflib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..sizes import Sizes
from ..types import Type
from ._reduced import BY_DTYPE, is_reduced, run_widened
from .schema import Schema, parse_schema

__all__ = [
    "Custom", "Decompose", "Elementwise", "ErrorSample", "F", "Lowering", "Op", "Reduce", "Sample", "ScalarExpression",
    "Trait", "VjpContext", "View", "all_ops", "define", "get_op", "recording", "set_builder_dispatcher",
    "set_dispatcher",
]  # fmt: skip


class Trait:
    """Names of the traits that an op can have."""

    PURE = "pure"  # same operands, same result, no effect: may be removed, merged, moved
    COMMUTATIVE = "commutative"  # the first two operands may be swapped
    IDEMPOTENT = "idempotent"  # f(f(x)) == f(x)
    RANDOM = "random"  # draws from the generator: an effect that keeps its order
    EFFECT = "effect"  # list append, print, raise: keeps its order and is never removed
    TERMINATOR = "terminator"  # ends a block
    VIEW = "view"  # eager: the result shares memory with the first operand


class Lowering:
    """Base of the ways in which an op becomes machine code."""


@dataclass(frozen=True)
class Elementwise(Lowering):
    """One scalar expression per element, over operands broadcast together.

    `expression` is Python with the operand parameters in braces: `"{input} + {alpha} * {other}"`. It may call the
    vector functions (`exp`, `tanh`, ...), the code generator's helpers and `select(c, a, b)`. Attributes are
    available in braces too. `compute` says in which dtype: "result" (operands are cast to the result's dtype first),
    "operands" (to the operands' promoted dtype, as comparisons do) or "input" (each keeps its own).
    """

    expression: str
    compute: str = "result"


@dataclass(frozen=True)
class Reduce(Lowering):
    """A reduction over the attribute `dim` (None: all) of the first operand.

    `map` is applied to each element {x}, `combine` joins it to the accumulator {acc} that starts as `init`, `finish`
    makes the result from {acc} and the number of elements {n}. Expressions are as in `Elementwise`.
    """

    init: str
    combine: str
    finish: str = "{acc}"
    map: str = "{x}"


@dataclass(frozen=True)
class View(Lowering):
    """The result's elements are elements of the first operand, at indices computed from the result's.

    `index_map(indices, input_shape, result_shape, **attributes)` maps a list of result indices (anything with integer
    arithmetic: ints, `DimExpr`) to input indices. `reinterpret` marks reshapes: the row-major order stays, so a
    contiguous operand needs no copy. `operands_in_map` passes the Dim values of INT/SIZE operands as `operands=`.
    """

    index_map: Callable[..., Sequence[Any]] | None = None
    reinterpret: bool = False
    operands_in_map: bool = False


@dataclass(frozen=True)
class Decompose(Lowering):
    """A function of the op's operands and attributes, written in public ops (`F`), that computes the same."""

    function: Callable[..., Any]


@dataclass(frozen=True)
class ScalarExpression(Lowering):
    """Python scalars in, Python scalar out: an expression over `{0}`, `{1}`, ... in driver code."""

    expression: str


@dataclass(frozen=True)
class Custom(Lowering):
    """Code by a named emitter of the code generator: `matmul`, `conv2d`, `concatenate`, `if`, `loop`, ..."""

    emitter: str


@dataclass(frozen=True)
class Sample:
    """Example arguments of an op: numpy arrays (made into tensors) and Python values; a thunk makes them afresh.

    `differentiable` False leaves the sample out of gradient tests (ties, integer inputs); `tolerance` overrides the
    relative tolerance in comparisons, with the reason beside it.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    differentiable: bool = True
    tolerance: float | None = None


@dataclass(frozen=True)
class ErrorSample:
    """Arguments that must be refused with this exception and a message that matches this regular expression."""

    args: tuple[Any, ...]
    exception: type[Exception]
    match: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class VjpContext:
    """What a `vjp` rule may use besides the operands: the outputs, and which operand gradients are wanted."""

    outputs: tuple[Any, ...]
    needs: tuple[Any, ...]  # one bool per operand parameter (a tuple of bools for a group)

    @property
    def output(self) -> Any:
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class Op:
    """An operation's record.

    schema: its signature. doc: one sentence, then whatever a user needs to know, with an example.
    traits: names from `Trait`.
    infer(sizes, *operand_types, **attributes) -> Type | tuple[Type, ...]: result types; raises what the user should
        see (RuntimeError, IndexError, TypeError, ValueError) on bad operands. Groups of operands come as tuples.
    evaluate(xp, *operands, **attributes) -> array | tuple: the reference, on arrays of the module `xp` and scalars.
    vjp(context, gradients, *operands, **attributes) -> one gradient (or None) per operand parameter, in public ops;
        `gradients` is the gradient of the only output, or a tuple of them (None where an output got none).
    lower: how it becomes machine code.
    samples() / errors(): example calls for tests and documentation.
    namespaces: where it is public: "" (ingot.name), "method", "functional" (nn.functional), "special", "linalg"...
    inplace: whether `name_` exists. aliases: other public names. dunders: operator methods, "__add__" with "__radd__".
    """

    name: str
    schema: Schema
    doc: str
    infer: Callable[..., Any]
    evaluate: Callable[..., Any] | None = None
    vjp: Callable[..., Any] | None = None
    lower: Lowering | None = None
    traits: frozenset[str] = frozenset()
    samples: Callable[[], Iterable[Sample]] = tuple
    errors: Callable[[], Iterable[ErrorSample]] = tuple
    namespaces: frozenset[str] = frozenset()
    inplace: bool = False
    aliases: tuple[str, ...] = ()
    dunders: tuple[str, ...] = ()
    numbers: tuple[str, ...] | None = None  # which "Tensor | Scalar" parameters take numbers from users; None: all
    ufunc: Any = None  # the numpy ufunc that computes it when dtypes agree: eager's short path
    outputs: int = 1

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    @property
    def is_pure(self) -> bool:
        return Trait.PURE in self.traits

    @property
    def has_effect(self) -> bool:
        """Whether the op must stay, in order, even where its results are unused."""
        return not self.is_pure

    def run(self, xp: Any, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """What `evaluate` gives, with operands of float16 and bfloat16 computed in float32 and rounded once."""
        assert self.evaluate is not None
        if is_reduced(operands) and Trait.VIEW not in self.traits and self.name not in BY_DTYPE:
            return run_widened(self, xp, operands, attributes)
        return self.evaluate(xp, *operands, **attributes)

    def infer_types(self, sizes: Sizes, operand_types: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Type, ...]:
        """Result types as a tuple; operand types come one per operand parameter."""
        types = self.infer(sizes, *operand_types, **attributes)
        return types if isinstance(types, tuple) else (types,)


_REGISTRY: dict[str, Op] = {}


def define(
    schema: str,
    doc: str,
    *,
    infer: Callable[..., Any],
    name: str | None = None,
    traits: Iterable[str] = (Trait.PURE,),
    public: Iterable[str] = (),
    **fields: Any,
) -> Op:
    """Make and register an op record; `name` (default: the schema's) may be dotted, as in `scalar.add`."""
    parsed = parse_schema(schema)
    name = name or parsed.name
    if name in _REGISTRY:
        raise ValueError(f"the op {name!r} is defined twice")
    op = Op(
        name=name,
        schema=parsed,
        doc=doc,
        infer=infer,
        traits=frozenset(traits),
        namespaces=frozenset(public),
        **fields,
    )
    _REGISTRY[name] = op
    return op


def get_op(name: str) -> Op:
    """The op of that name; KeyError with near names where there is none."""
    try:
        return _REGISTRY[name]
    except KeyError:
        near = difflib.get_close_matches(name, _REGISTRY, 3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise KeyError(f"there is no op named {name!r}{hint}") from None


def all_ops() -> Iterator[Op]:
    """Every op, in the order of definition."""
    return iter(list(_REGISTRY.values()))


Dispatcher = Callable[[Op, tuple[Any, ...], dict[str, Any]], Any]
_dispatcher: Dispatcher | None = None
_builder_dispatcher: Dispatcher | None = None
builders = 0  # how many threads build a graph now: only then `F` asks the builder's dispatcher
_builders_lock = threading.Lock()


@contextmanager
def counted_builder() -> Iterator[None]:
    """Let `F` ask the builder's dispatcher while this lasts."""
    global builders
    with _builders_lock:
        builders += 1
    try:
        yield
    finally:
        with _builders_lock:
            builders -= 1


def set_dispatcher(dispatcher: Dispatcher) -> None:
    """Install the function that runs an op for `F` (the eager package does this when it is imported)."""
    global _dispatcher
    _dispatcher = dispatcher


def set_builder_dispatcher(dispatcher: Dispatcher) -> None:
    """Install the function that records an op for `F` while a graph is built; it answers NotImplemented otherwise."""
    global _builder_dispatcher
    _builder_dispatcher = dispatcher


class _Recording(threading.local):
    calls: list[tuple[Op, tuple[Any, ...], dict[str, Any], Any]] | None = None


_local = _Recording()


@contextmanager
def recording() -> Iterator[list[tuple[Op, tuple[Any, ...], dict[str, Any], Any]]]:
    """Note every call of `F` by this thread: the op, its operands and attributes, and its result."""
    previous = _local.calls
    calls: list[tuple[Op, tuple[Any, ...], dict[str, Any], Any]] = []
    _local.calls = calls
    try:
        yield calls
    finally:
        _local.calls = previous
        if previous is not None:
            previous.extend(calls)


class _Functions:
    """Ops as functions, for rules written in public ops: `F.exp(x)` runs or records the op `exp`, by context."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        op = _REGISTRY.get(name)
        if op is None:
            raise AttributeError(f"there is no op named {name!r}")

        def call(*args: Any, **kwargs: Any) -> Any:
            operands, attributes = op.schema.bind(*args, **kwargs)
            result = NotImplemented
            if builders:
                assert _builder_dispatcher is not None
                result = _builder_dispatcher(op, operands, attributes)
            if result is NotImplemented:
                if _dispatcher is None:
                    raise RuntimeError("rules written in public ops need the eager package: import ingot.eager first")
                result = _dispatcher(op, operands, attributes)
            if _local.calls is not None:
                _local.calls.append((op, operands, attributes, result))
            return result

        call.__name__ = name
        setattr(self, name, call)
        return call


F = _Functions()
