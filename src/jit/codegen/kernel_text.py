"""The text of one kernel: parameters, scopes of statements, and how indices and addresses are written.

A kernel never depends on the names or the concrete sizes of a program: sizes, strides and addresses are parameters
(small sizes are literals), numbered by first use. So equal layers of a model give equal kernels.
"""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import indent

from ...ir.core import Value
from ...ir.dims import Dim, DimExpr, substitute
from ...ir.dtypes import DType, bool_, int64
from . import halves, helpers
from .indexing import LOOP_PREFIX, depends_on, is_loop_variable, terms
from .module import KernelSource, without_comments
from .scalar_code import Code, Requirements, is_half, pointer_kind
from .vector_math import primitives as vector_primitives
from .vector_math import source as vector_source

__all__ = ["Parameter", "Scope", "Text", "call_of_body", "named_source", "source_digest"]

# Sizes and strides up to this are literals, so that LLVM can unroll and simplify.
_LITERAL = 32


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: its name, kind ("f32*", "i64", "f64") and where the driver takes it from.

    source: ("address", value), ("dim", dim), ("scalar", value), ("temporary", index), ("constant", array) or
    ("status",).
    """

    name: str
    kind: str
    source: tuple[object, ...]


@dataclass
class Scope:
    """Statements at one depth. `variables` are the loop variables defined here or outside."""

    variables: frozenset[str]
    lines: list[str] = field(default_factory=list)
    memo: dict[object, Code] = field(default_factory=dict)
    location: object = None


@dataclass
class Text:
    """A kernel being written."""

    requirements: Requirements = field(default_factory=Requirements)
    parameters: dict[tuple[object, ...], Parameter] = field(default_factory=dict)
    scopes: list[Scope] = field(default_factory=lambda: [Scope(frozenset())])
    renamed: dict[str, Dim] = field(default_factory=dict)  # loop variables that were merged into others
    names: dict[str, str] = field(default_factory=dict)  # loop variable -> how the text calls it
    counters: dict[str, int] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)  # variables that keep the last error, 0 without
    pieces: dict[DimExpr, str] = field(default_factory=dict)  # parts of indices that are written so (see `segments`)
    steps: dict[DimExpr, str] = field(default_factory=dict)  # and how fast they move
    barrier: int = 0  # statements stay inside this scope: those under a condition must not move in front of it

    # -- parameters --

    def fresh(self, prefix: str) -> str:
        """A name that is not used yet: `v0`, `v1`, ..."""
        number = self.counters.get(prefix, 0)
        self.counters[prefix] = number + 1
        return f"{prefix}{number}"

    def parameter(self, prefix: str, kind: str, *source: object) -> str:
        key = (kind, *source)
        if key not in self.parameters:
            self.parameters[key] = Parameter(self.fresh(prefix), kind, source)
        return self.parameters[key].name

    def pointer(self, value: Value, dtype: DType, written: bool = False) -> str:
        """The pointer to a stored tensor."""
        return self.parameter("y" if written else "x", f"{pointer_kind(dtype)}*", "address", value)

    def temporary(self, index: int, dtype: DType) -> str:
        return self.parameter("t", f"{pointer_kind(dtype)}*", "temporary", index)

    def status(self) -> str:
        """The pointer to the word that reports an error: the number of the kind of error."""
        return self.parameter("status", "i64*", "status")

    def flag(self) -> str:
        """A variable of the kernel that keeps an error's number, which is reported when the kernel is done."""
        self.status()
        if not self.flags:
            self.flags.append(self.fresh("f"))
        return self.flags[0]

    def size(self, dim: Dim) -> str:
        """A size or stride (without loop variables) as a literal or a parameter."""
        if isinstance(dim, int) and abs(dim) <= _LITERAL:
            return str(dim) if dim >= 0 else f"({dim})"
        return self.parameter("n", "i64", "dim", dim)

    def scalar(self, value: Value, dtype: DType) -> Code:
        """A Python number that the program computes."""
        kind = "f64" if dtype.kind == "f" else "i64"
        return Code(self.parameter("s", kind, "scalar", value), dtype)

    # -- indices --

    def resolve(self, dim: Dim) -> Dim:
        return substitute(dim, self.renamed) if self.renamed else dim

    def index(self, dim: Dim) -> str:
        """An index or address as text, outermost loop variable first."""
        positive: list[str] = []
        for part, factor in sorted(terms(self.resolve(dim)), key=self._order):
            coefficient = self.size(factor)
            if isinstance(part, int):
                positive.append(coefficient)
            elif factor == 1:
                positive.append(self._product(part))
            else:
                positive.append(f"{self._product(part)} * {coefficient}")
        return " + ".join(positive) if positive else "0"

    def _order(self, item: tuple[DimExpr | int, Dim]) -> tuple[int, str]:
        part, _ = item
        if isinstance(part, int):
            return (1, "")
        return (0, str(part))

    def _product(self, part: DimExpr) -> str:
        if part in self.pieces:
            return self.pieces[part]
        ((monomial, _),) = part._terms
        factors = []
        for atom in monomial:
            if not atom.arguments:
                factors.append(
                    self.variable(atom.name) if is_loop_variable(atom.name) else self.size(DimExpr({(atom,): 1}))
                )
                continue
            factors.append(self._atom(DimExpr({(atom,): 1}), atom.name, atom.arguments))
        return " * ".join(factors)

    def _atom(self, whole: DimExpr, name: str, arguments: tuple[Dim, ...]) -> str:
        """A quotient, a remainder or the like, computed in the outermost scope that has what it depends on.

        LLVM would leave it in the innermost loop: a remainder of what is mostly in range is a branch.
        """
        scope = self.place((whole,))
        key = ("fixed", whole)
        if key in scope.memo:
            return scope.memo[key].text
        left, right = (self.index(a) for a in arguments)
        operators = {"floordiv": "//", "mod": "%"}
        if name == "mod" and not right.isdigit():
            # Most indices that are wrapped are in range, and a division takes longer than all else.
            self.requirements.helpers.add("wrapped_index")
            text = f"wrapped_index({left}, {right})"
        elif name in operators:
            # Outside of its loop it is computed even where the loop has no element, and sizes may be zero.
            divisor = right if right.isdigit() else f"max({right}, 1)"
            text = f"(({left}) {operators[name]} ({divisor}))"
        else:
            assert name in ("max", "min")  # what sizes broadcast to does not depend on a loop's place
            text = f"{name}({left}, {right})"
        if scope is self.scope:
            return text
        code = scope.memo[key] = self.assign(scope, text, int64, prefix="fixed")
        return code.text

    def variable(self, name: str) -> str:
        """How the text calls a loop variable."""
        return self.names.get(name, name.removeprefix(LOOP_PREFIX))

    # -- statements --

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def line(self, text: str) -> None:
        """A statement in the innermost scope."""
        self.scope.lines.append(text)

    def place(self, indices: tuple[Dim, ...]) -> Scope:
        """The outermost scope that defines every loop variable in the indices."""
        used = depends_on([self.resolve(i) for i in indices])
        return next((s for s in self.scopes[self.barrier :] if used <= s.variables), self.scopes[-1])

    @contextmanager
    def block(self, header: str, variables: frozenset[str] | set[str] = frozenset()) -> Iterator[Scope]:
        """Statements under `header`, in which further loop variables are defined."""
        scope = Scope(self.scope.variables | variables)
        self.scopes.append(scope)
        try:
            yield scope
        finally:
            self.scopes.pop()
            self.line(header)
            self.scope.lines.extend("    " + text for text in scope.lines or ["pass"])

    @contextmanager
    def at(self, indices: tuple[Dim, ...]) -> Iterator[Scope]:
        """Statements in the scope of `place(indices)`, where what they assign is seen by all that reads it."""
        scope = self.place(indices)
        scopes, self.scopes = self.scopes, self.scopes[: self.scopes.index(scope) + 1]
        try:
            yield scope
        finally:
            self.scopes = scopes

    @contextmanager
    def condition(self, header: str) -> Iterator[Scope]:
        """Statements under an `if`."""
        previous, self.barrier = self.barrier, len(self.scopes)
        try:
            with self.block(header) as scope:
                yield scope
        finally:
            self.barrier = previous

    def assign(self, scope: Scope, text: str, dtype: DType, comment: str = "", prefix: str = "v") -> Code:
        """A new variable in a scope."""
        if comment and scope.location != comment:
            scope.lines.append(f"# {comment}")
            scope.location = comment
        name = self.fresh(prefix)
        scope.lines.append(f"{name} = {text}")
        return Code(name, dtype)

    def load(self, pointer: str, address: str, dtype: DType) -> str:
        """The text of a load; bools are stored as bytes."""
        if is_half(dtype):
            self.requirements.helpers.add(f"from_{dtype.short}")
            return f"from_{dtype.short}({pointer}[{address}])"
        return f"({pointer}[{address}] != 0)" if dtype is bool_ else f"{pointer}[{address}]"

    def store(self, pointer: str, address: str, code: Code) -> None:
        """Store a scalar, in the innermost scope."""
        text = code.text
        if code.dtype is bool_:
            self.requirements.helpers.add("as_u8")
            text = f"as_u8({text})"
        elif is_half(code.dtype):
            self.requirements.helpers.add(f"to_{code.dtype.short}")
            text = f"to_{code.dtype.short}({text})"
        self.line(f"{pointer}[{address}] = {text}")

    # -- the finished text --

    def finish(
        self,
        stem: str,
        title: str,
        cost: Mapping[str, Dim | None],
        short: Mapping[str, int] | None = None,
        *,
        unrolls: bool = False,
    ) -> "Kernel":
        """The kernel's source, with a name that ends in a hash of it.

        `short` are parameters with the values for which there is a second form: there they are constants; `unrolls`
        says that there are short loops in any case.
        """
        assert len(self.scopes) == 1
        parameters = list(self.parameters.values())
        arguments = "".join(f"{p.name}, " for p in parameters)
        lines = [f"def NAME_body({arguments}lo, hi):"]
        statements = [f"{flag} = 0" for flag in self.flags] + (self.scope.lines or ["pass"])
        for flag in self.flags:
            statements += [f"if {flag} != 0:", f"    {self.status()}[0] = {flag}"]
        lines.extend("    " + text for text in statements)
        body = "\n".join(["@body", *lines, "", "", "@kernel", "def NAME(p, lo, hi):"])
        text = f"{preamble(self.requirements)}{body}\n{call_of_body(parameters, short or {})}\n"
        name = f"{stem}_{source_digest(text)}"
        header = f"# {title}\n" if title else ""
        # LLVM's third level unrolls twice as much as the second: rows of eight elements with an exponential of each.
        level = 3 if short or unrolls else 2
        source = KernelSource(name, header + text.replace("NAME", name), title=title, level=level, **cost)  # type: ignore[arg-type]
        return Kernel(source, parameters)


@dataclass(frozen=True)
class Kernel:
    """A kernel's source and its parameters, which take one slot each, in order."""

    source: KernelSource
    parameters: list[Parameter]


def call_of_body(parameters: Sequence[Parameter], short: Mapping[str, int]) -> str:
    """The statements of a kernel, which call its body; where `short` parameters have these values, as constants."""
    unpack = [_unpack(p, slot) for slot, p in enumerate(parameters)]
    known = [(u, short[p.name]) for p, u in zip(parameters, unpack, strict=True) if p.name in short]
    if not known:
        return _call(unpack)
    constant = [str(short.get(p.name, u)) for p, u in zip(parameters, unpack, strict=True)]
    holds = " and ".join(f"{u} == {value}" for u, value in known)
    forms = [indent(_call(arguments), "    ") for arguments in (constant, unpack)]
    return f"    if {holds}:\n{forms[0]}\n    else:\n{forms[1]}"


def _call(arguments: list[str]) -> str:
    """The call of a kernel's body."""
    if not arguments:
        return "    NAME_body(lo, hi)"
    return "\n".join(["    NAME_body(", *(f"        {a}," for a in (*arguments, "lo", "hi")), "    )"])


def _unpack(parameter: Parameter, slot: int) -> str:
    if parameter.kind.endswith("*"):
        return f"pointer_{parameter.kind[:-1]}(slot_i64(p, {slot}))"
    return f"slot_{parameter.kind}(p, {slot})"


def plain_source(function: Callable[..., object]) -> str:
    """The text of a helper that is pasted into generated sources, without annotations."""
    text = inspect.getsource(function).rstrip()
    return re.sub(r"\) -> \w+:", "):", text.replace(": Any", ""))


def preamble(requirements: Requirements) -> str:
    """Imports, and the vector functions and helpers that are pasted in."""
    bits = set(requirements.bits)
    pasted: dict[str, str] = {}
    for name, dtype in sorted(requirements.vector):
        bits.update(vector_primitives(name, dtype))
        pasted.update(vector_source(name, dtype))
    names = set(requirements.helpers)
    if "integer_power" in names:
        names.remove("integer_power")
        bits.add("wrap_i64")
        pasted["integer_power"] = plain_source(helpers.integer_power)
    lines = ["import numpy as np", ""]
    if bits:
        lines.append(f"from ingot.jit.codegen.bits import {', '.join(sorted(bits))}")
    if narrow := names & set(halves.__all__):
        lines.append(f"from ingot.jit.codegen.halves import {', '.join(sorted(narrow))}")
        names -= narrow
    if names:
        lines.append(f"from ingot.jit.codegen.helpers import {', '.join(sorted(names))}")
    lines.append(
        "from ingot.jit.codegen.primitives import pointer_f32, pointer_f64, pointer_i8, pointer_i16, pointer_i32, "
        "pointer_i64, pointer_u8"
    )
    lines.append("from ingot.jit.codegen.primitives import slot_f64, slot_i64")
    lines += requirements.statements
    text = "\n".join(lines) + "\n\n"
    constants = [d for d in pasted.values() if not d.startswith("def ")]
    functions = [d for d in pasted.values() if d.startswith("def ")]
    text += "\n".join(constants) + "\n\n\n" + "\n\n\n".join(functions)
    return text.rstrip("\n") + "\n\n\n"


def named_source(stem: str, make: Callable[[str], str]) -> tuple[str, str]:
    """A kernel's source under a name that ends in a hash of it."""
    name = f"{stem}_{source_digest(make('NAME'))}"
    return name, make(name)


def source_digest(text: str) -> str:
    """The hash in a kernel's name: comments say where the user wrote it, which equal kernels may differ in."""
    return hashlib.sha256(without_comments(text).encode()).hexdigest()[:12]
