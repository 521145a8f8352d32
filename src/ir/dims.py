"""Symbolic dimensions: integers known only at run time, as polynomials in canonical form.

A dimension (`Dim`) is an `int` or a `DimExpr`. Two expressions that are equal as polynomials are equal as objects, so
shape inference compares them with `==`. The text form is Python, so a driver can paste it: `n*4 + (h - 3)//2`.
"""

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

__all__ = [
    "Dim",
    "DimExpr",
    "bcast",
    "dim_hint",
    "dim_max",
    "dim_min",
    "parse_dim",
    "product",
    "substitute",
    "symbol",
    "symbols",
]

_MAX_DEPTH = 40


def _bcast_value(a: int, b: int) -> int:
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    raise ValueError(f"sizes {a} and {b} do not broadcast: they must be equal, or one of them 1")


_FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "max": max,
    "min": min,
    "bcast": _bcast_value,
}


@dataclass(frozen=True)
class _Atom:
    """A symbol (`arguments` empty) or a function of two dimensions that no polynomial expresses."""

    name: str
    arguments: tuple["Dim", ...] = ()

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        left, right = (f"({a})" if isinstance(a, DimExpr) and not a.is_symbol() else str(a) for a in self.arguments)
        if self.name == "floordiv":
            return f"({left}//{right})"
        if self.name == "mod":
            return f"({left} % {right})"
        return f"{self.name}({self.arguments[0]}, {self.arguments[1]})"

    def sort_key(self) -> tuple[int, str]:
        return (len(self.arguments), str(self))


Monomial = tuple[_Atom, ...]


class DimExpr:
    """A polynomial with integer coefficients over symbols and integer functions of them, in canonical form.

    >>> n = symbol("n")
    >>> str((n + 1) * 4 - 4), (n * 12) // 4 == n * 3
    ('n*4', True)
    """

    __slots__ = ("_hash", "_terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        ordered = sorted(terms.items(), key=lambda item: (-len(item[0]), [a.sort_key() for a in item[0]]))
        self._terms: tuple[tuple[Monomial, int], ...] = tuple(ordered)
        self._hash = hash(self._terms)

    # Canonical form makes equality structural.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, DimExpr) and self._terms == other._terms

    def __hash__(self) -> int:
        return self._hash

    def is_symbol(self) -> bool:
        """Whether this is a bare symbol."""
        if len(self._terms) != 1:
            return False
        monomial, coefficient = self._terms[0]
        return coefficient == 1 and len(monomial) == 1 and not monomial[0].arguments

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self._terms:
            factors = "*".join(str(a) for a in monomial)
            magnitude = abs(coefficient)
            if not monomial:
                term = str(magnitude)
            elif magnitude == 1:
                term = factors
            else:
                term = f"{factors}*{magnitude}"
            if text:
                text += f" {'-' if coefficient < 0 else '+'} {term}"
            else:
                text = f"-{term}" if coefficient < 0 else term
        return text

    __repr__ = __str__

    def __add__(self, other: "Dim") -> "Dim":
        if not isinstance(other, (int, DimExpr)):
            return NotImplemented
        terms = dict(self._terms)
        for monomial, coefficient in _terms(other):
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return _make(terms)

    __radd__ = __add__

    def __neg__(self) -> "Dim":
        return self * -1

    def __sub__(self, other: "Dim") -> "Dim":
        return self + (-other)

    def __rsub__(self, other: int) -> "Dim":
        return -self + other

    def __mul__(self, other: "Dim") -> "Dim":
        if not isinstance(other, (int, DimExpr)):
            return NotImplemented
        terms: dict[Monomial, int] = {}
        for left, a in self._terms:
            for right, b in _terms(other):
                monomial = tuple(sorted(left + right, key=_Atom.sort_key))
                terms[monomial] = terms.get(monomial, 0) + a * b
        return _make(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: "Dim") -> "Dim":
        return _floordiv(self, other)

    def __rfloordiv__(self, other: int) -> "Dim":
        return _floordiv(other, self)

    def __mod__(self, other: "Dim") -> "Dim":
        quotient = _floordiv(self, other)
        if not isinstance(quotient, DimExpr) or all(atom.name != "floordiv" for atom in quotient.atoms()):
            return self - quotient * other
        return _call("mod", self, other)

    def __rmod__(self, other: int) -> "Dim":
        return _call("mod", other, self)

    def __bool__(self) -> bool:
        raise TypeError(f"the size {self} is not known here, so it cannot decide a branch")

    def __index__(self) -> int:
        raise TypeError(f"the size {self} is not known here, so it cannot be used as a plain int")

    def atoms(self) -> Iterator[_Atom]:
        for monomial, _ in self._terms:
            yield from monomial

    def symbols(self) -> frozenset[str]:
        """Names of the symbols that occur anywhere in the expression."""
        names: set[str] = set()
        for atom in self.atoms():
            if atom.arguments:
                for argument in atom.arguments:
                    names |= symbols(argument)
            else:
                names.add(atom.name)
        return frozenset(names)

    def evaluate(self, values: Mapping[str, "Dim"]) -> "Dim":
        """The expression with symbols replaced by `values`; symbols that are missing there stay."""
        total: Dim = 0
        for monomial, coefficient in self._terms:
            term: Dim = coefficient
            for atom in monomial:
                if atom.arguments:
                    left, right = (substitute(a, values) for a in atom.arguments)
                    factor = _call(atom.name, left, right) if atom.name != "floordiv" else _floordiv(left, right)
                else:
                    factor = values.get(atom.name, symbol(atom.name))
                term = term * factor
            total = total + term
        return total


Dim = int | DimExpr


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(dim, DimExpr):
        return dim._terms
    return (((), int(dim)),) if dim else ()


def _make(terms: Mapping[Monomial, int]) -> Dim:
    kept = {m: c for m, c in terms.items() if c}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return DimExpr(kept)


@lru_cache(maxsize=4096)
def symbol(name: str) -> DimExpr:
    """The symbol `name` (an identifier) as a dimension."""
    if not name.isidentifier() or name in _FUNCTIONS:
        raise ValueError(f"a dimension symbol must be an identifier, given {name!r}")
    return DimExpr({(_Atom(name),): 1})


def _call(name: str, left: Dim, right: Dim) -> Dim:
    if isinstance(left, int) and isinstance(right, int):
        if name in ("floordiv", "mod") and right == 0:
            raise ZeroDivisionError("a size is divided by zero")
        return _FUNCTIONS[name](left, right)
    if name in ("max", "min", "bcast"):
        if left == right:
            return left
        left, right = sorted((left, right), key=lambda d: (isinstance(d, int), str(d)))
        if name == "bcast" and right == 1:
            return left
        if name == "max" and right == 0 and _is_nonnegative(left):
            return left
    return DimExpr({(_Atom(name, (left, right)),): 1})


def _is_nonnegative(dim: Dim) -> bool:
    """Whether the dimension is seen not to be negative, given that symbols stand for sizes (>= 0)."""
    return all(
        coefficient >= 0 and all(_is_nonnegative(x) for atom in monomial for x in atom.arguments)
        for monomial, coefficient in _terms(dim)
    )


def _floordiv(left: Dim, right: Dim) -> Dim:
    """left // right, taking out of the quotient every term that `right` divides."""
    if isinstance(left, int) and isinstance(right, int):
        return _call("floordiv", left, right)
    if right == 1:
        return left
    divisors = _terms(right)
    if len(divisors) != 1:
        return 1 if left == right else _call("floordiv", left, right)
    divisor_monomial, divisor = divisors[0]
    quotient: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(left):
        remaining = list(monomial)
        try:
            for atom in divisor_monomial:
                remaining.remove(atom)
        except ValueError:
            rest[monomial] = coefficient
            continue
        if coefficient % divisor:
            rest[monomial] = coefficient
        else:
            quotient[tuple(remaining)] = quotient.get(tuple(remaining), 0) + coefficient // divisor
    remainder = _make(rest)
    if remainder == 0:
        return _make(quotient)
    if isinstance(remainder, int) and isinstance(right, int):
        return _make(quotient) + remainder // right
    return _make(quotient) + _call("floordiv", remainder, right)


def bcast(left: Dim, right: Dim) -> Dim:
    """The size that two dimensions broadcast to; where that is not known, an expression checked at run time."""
    return _call("bcast", left, right)


def dim_max(left: Dim, right: Dim) -> Dim:
    """The larger of two dimensions."""
    return _call("max", left, right)


def dim_min(left: Dim, right: Dim) -> Dim:
    """The smaller of two dimensions."""
    return _call("min", left, right)


def product(dims: "tuple[Dim, ...] | list[Dim]") -> Dim:
    """The product of dimensions: the number of elements of a shape."""
    return math.prod(dims, start=1)


def symbols(dim: Dim) -> frozenset[str]:
    """Names of the symbols in a dimension; none for an int."""
    return dim.symbols() if isinstance(dim, DimExpr) else frozenset()


def substitute(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    """The dimension with the given symbols replaced."""
    return dim.evaluate(values) if isinstance(dim, DimExpr) else dim


def dim_hint(dim: Dim, hints: Mapping[str, int]) -> int | None:
    """The value of the dimension at the example sizes `hints`, or None where a symbol has none."""
    if isinstance(dim, int):
        return dim
    if not dim.symbols() <= hints.keys():
        return None
    try:
        value = dim.evaluate(hints)
    except (ValueError, ZeroDivisionError):
        return None
    return value if isinstance(value, int) else None


def parse_dim(text: str) -> Dim:
    """A dimension from its text form; ValueError where it is not one.

    >>> parse_dim("n*4 + 2") == symbol("n") * 4 + 2
    True
    """
    if len(text) > 1000:
        raise ValueError("a dimension expression is longer than 1000 characters")
    try:
        return _from_ast(ast.parse(text.strip(), mode="eval").body, 0)
    except (SyntaxError, RecursionError, MemoryError, ZeroDivisionError) as error:
        raise ValueError(f"not a dimension: {text!r}") from error


def _from_ast(node: ast.expr, depth: int) -> Dim:
    if depth > _MAX_DEPTH:
        raise ValueError(f"a dimension expression is nested deeper than {_MAX_DEPTH}")
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool) and abs(value) < 1 << 63:
            return value
        case ast.Name(id=name):
            return symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_from_ast(operand, depth + 1)
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = _from_ast(left, depth + 1), _from_ast(right, depth + 1)
            match operator:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.FloorDiv():
                    return _floordiv(a, b)
                case ast.Mod():
                    return a % b
        case ast.Call(func=ast.Name(id=name), args=[first, second], keywords=[]) if name in ("max", "min", "bcast"):
            return _call(name, _from_ast(first, depth + 1), _from_ast(second, depth + 1))
    raise ValueError(f"not a dimension: {ast.unparse(node)}")
