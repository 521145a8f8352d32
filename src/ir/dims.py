"""Symbolic dimensions: integers known only at run time, as polynomials in canonical form.

A dimension (`Dim`) is an `int` or a `DimExpr`. Two expressions that are equal as polynomials are equal as objects, so
shape inference compares them with `==`. The text form is Python, so a driver can paste it: `n*4 + (h - 3)//2`.
"""

import keyword
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from .budget import spend
from .records import record

__all__ = [
    "Dim",
    "DimExpr",
    "Guard",
    "bcast",
    "broadcasts",
    "dim_hint",
    "dim_max",
    "dim_min",
    "is_nonnegative",
    "parse_dim",
    "parse_dim_tokens",
    "product",
    "solve",
    "substitute",
    "symbol",
    "symbols",
]

# Bounds on an expression: far above what programs need, low enough that no text makes the algebra slow.
_MAX_DEPTH = 40
_MAX_TERMS = 1000
_MAX_DEGREE = 64


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


@record
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

    __slots__ = ("_hash", "_symbols", "_terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        ordered = sorted(terms.items(), key=lambda item: (-len(item[0]), [a.sort_key() for a in item[0]]))
        self._terms: tuple[tuple[Monomial, int], ...] = tuple(ordered)
        self._hash = hash(self._terms)
        self._symbols: frozenset[str] | None = None

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
        factors = _terms(other)
        if len(self._terms) * len(factors) > _MAX_TERMS or self.degree() + _degree(other) > _MAX_DEGREE:
            raise ValueError("a size expression is too complex: its product has too many terms or factors")
        spend()
        for left, a in self._terms:
            for right, b in factors:
                monomial = tuple(sorted(left + right, key=_Atom.sort_key))
                terms[monomial] = terms.get(monomial, 0) + a * b
        return _make(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: "Dim") -> "Dim":
        return _floordiv(self, other)

    def __rfloordiv__(self, other: int) -> "Dim":
        return _floordiv(other, self)

    def __mod__(self, other: "Dim") -> "Dim":
        return _mod(self, other)

    def __rmod__(self, other: int) -> "Dim":
        return _mod(other, self)

    def __bool__(self) -> bool:
        raise TypeError(f"the size {self} is not known here, so it cannot decide a branch")

    def __index__(self) -> int:
        raise TypeError(f"the size {self} is not known here, so it cannot be used as a plain int")

    def degree(self) -> int:
        """The largest number of factors in a term."""
        return len(self._terms[0][0])

    def atoms(self) -> Iterator[_Atom]:
        """Symbols and functions in the terms, as often as they occur, without those inside functions."""
        for monomial, _ in self._terms:
            yield from monomial

    def symbols(self) -> frozenset[str]:
        """Names of the symbols that occur anywhere in the expression."""
        if self._symbols is None:
            names: set[str] = set()
            for atom in self.atoms():
                if atom.arguments:
                    for argument in atom.arguments:
                        names |= symbols(argument)
                else:
                    names.add(atom.name)
            self._symbols = frozenset(names)
        return self._symbols

    def evaluate(self, values: Mapping[str, "Dim"]) -> "Dim":
        """The expression with symbols replaced by `values`; symbols that are missing there stay."""
        total: Dim = 0
        for monomial, coefficient in self._terms:
            term: Dim = coefficient
            for atom in monomial:
                if atom.arguments:
                    left, right = (substitute(a, values) for a in atom.arguments)
                    factor = _apply(atom.name, left, right)
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


def _degree(dim: Dim) -> int:
    return dim.degree() if isinstance(dim, DimExpr) else 0


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
    if not (name.isascii() and name.isidentifier()) or name in _FUNCTIONS or keyword.iskeyword(name):
        raise ValueError(f"a dimension symbol must be an ASCII identifier and no Python keyword, given {name!r}")
    return DimExpr({(_Atom(name),): 1})


OPEN = symbol("_")
"""In the type of a container's elements: a size that differs from one tensor to the next."""


def _call(name: str, left: Dim, right: Dim) -> Dim:
    if isinstance(left, int) and isinstance(right, int):
        if name in ("floordiv", "mod") and right == 0:
            raise ZeroDivisionError("a size is divided by zero")
        return _FUNCTIONS[name](left, right)
    if name in ("max", "min", "bcast"):
        if left == right:
            return left
        if name != "bcast" and isinstance(difference := left - right, int):
            return left if (difference > 0) == (name == "max") else right
        left, right = sorted((left, right), key=lambda d: (isinstance(d, int), str(d)))
        if name == "bcast" and right == 1:
            return left
        if name == "max" and right == 0 and is_nonnegative(left):
            return left
    return DimExpr({(_Atom(name, (left, right)),): 1})


def _apply(name: str, left: Dim, right: Dim) -> Dim:
    if name == "floordiv":
        return _floordiv(left, right)
    return _mod(left, right) if name == "mod" else _call(name, left, right)


def is_nonnegative(dim: Dim) -> bool:
    """Whether the dimension is seen not to be negative, given that symbols stand for sizes (>= 0)."""
    return all(
        coefficient >= 0 and all(is_nonnegative(x) for atom in monomial for x in atom.arguments)
        for monomial, coefficient in _terms(dim)
    )


def _divide(left: Dim, right: Dim) -> tuple[Dim, Dim]:
    """Quotient and remainder with `left == quotient * right + remainder`, as much in the quotient as is seen to be.

    By a number, each coefficient is divided. By a polynomial, it is division by leading terms (Cox, Little, O'Shea:
    Ideals, Varieties, and Algorithms, chapter 2, section 3, in graded lexicographic order), kept only where it is
    exact in the integers.
    """
    divisors = _terms(right)
    if isinstance(right, int):
        parts = [(monomial, divmod(coefficient, right)) for monomial, coefficient in _terms(left)]
        return _make({m: q for m, (q, _) in parts}), _make({m: r for m, (_, r) in parts})
    if len(divisors) == 1:
        quotient: dict[Monomial, int] = {}
        rest: dict[Monomial, int] = {}
        for monomial, coefficient in _terms(left):
            ratio = _monomial_ratio(monomial, divisors[0][0])
            if ratio is None or coefficient % divisors[0][1]:
                rest[monomial] = coefficient
            else:
                quotient[ratio] = coefficient // divisors[0][1]
        return _make(quotient), _make(rest)
    total: Dim = 0
    remaining = left
    for _ in range(_MAX_TERMS):
        spend()
        if remaining == 0:
            return total, 0
        monomial, coefficient = _terms(remaining)[0]
        ratio = _monomial_ratio(monomial, divisors[0][0])
        if ratio is None or coefficient % divisors[0][1]:
            break
        factor = _make({ratio: coefficient // divisors[0][1]})
        total = total + factor
        remaining = remaining - factor * right
    return 0, left


def _monomial_ratio(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    remaining = list(monomial)
    for atom in divisor:
        if atom not in remaining:
            return None
        remaining.remove(atom)
    return tuple(remaining)


def _floordiv(left: Dim, right: Dim) -> Dim:
    """left // right, with every multiple of `right` that is seen taken out."""
    if isinstance(left, int) and isinstance(right, int):
        return _call("floordiv", left, right)
    if right == 0:
        raise ZeroDivisionError("a size is divided by zero")
    left, right = _cancel(left, right)
    if right == 1:
        return left
    quotient, remainder = _divide(left, right)
    if remainder == 0:
        return quotient
    if isinstance(remainder, int) and isinstance(right, int):
        return quotient + remainder // right
    if isinstance(right, int) and right > 0 and isinstance(remainder, DimExpr):
        # (a // b + c) // d == (a + c*b) // (b*d) for positive b and d
        (monomial, coefficient), *others = remainder._terms
        constant = others[0][1] if others else 0
        if (
            coefficient == 1
            and len(monomial) == 1
            and monomial[0].name == "floordiv"
            and others in ([], [((), constant)])
        ):
            inner, divisor = monomial[0].arguments
            if isinstance(divisor, int) and divisor > 0:
                return quotient + _floordiv(inner + constant * divisor, divisor * right)
    return quotient + _call("floordiv", remainder, right)


def _cancel(left: Dim, right: Dim) -> tuple[Dim, Dim]:
    """Both without the factors that every term of both has: (n*m)//(n*2) is m//2 wherever it is defined."""
    if not isinstance(left, DimExpr) or not isinstance(right, DimExpr):
        return left, right
    first, *others = [monomial for dim in (left, right) for monomial, _ in dim._terms]
    common: list[_Atom] = []
    for atom in first:
        if all(monomial.count(atom) > common.count(atom) for monomial in others):
            common.append(atom)
    if not common:
        return left, right
    divisor = DimExpr({tuple(common): 1})
    return _divide(left, divisor)[0], _divide(right, divisor)[0]


def _mod(left: Dim, right: Dim) -> Dim:
    """left % right, without the multiples of `right` that are seen in `left`."""
    if isinstance(left, int) and isinstance(right, int):
        return _call("mod", left, right)
    if right == 0:
        raise ZeroDivisionError("a size is divided by zero")
    _, remainder = _divide(left, right)
    return 0 if remainder == 0 else _call("mod", remainder, right)


def bcast(left: Dim, right: Dim) -> Dim:
    """The size that two dimensions broadcast to; where that is not known, an expression checked at run time."""
    return _call("bcast", left, right)


def broadcasts(dim: Dim) -> "list[tuple[Dim, Dim]]":
    """The pairs of dimensions in `bcast` expressions in a dimension, inner ones first: they need not be compatible."""
    found: list[tuple[Dim, Dim]] = []
    for atom in dim.atoms() if isinstance(dim, DimExpr) else ():
        for argument in atom.arguments:
            found += [pair for pair in broadcasts(argument) if pair not in found]
        if atom.name == "bcast" and (pair := (atom.arguments[0], atom.arguments[1])) not in found:
            found.append(pair)
    return found


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


def solve(dim: Dim, value: int) -> tuple[str, int] | None:
    """The only symbol of a linear dimension and what it is where the dimension is `value`; None where that is not so.

    >>> solve(symbol("n") * 2 + 1, 7), solve(symbol("n") * 2, 7)
    (('n', 3), None)
    """
    if not isinstance(dim, DimExpr) or len(dim.symbols()) != 1:
        return None
    (name,) = dim.symbols()
    constant = sum(c for monomial, c in dim._terms if not monomial)
    rest = [(monomial, c) for monomial, c in dim._terms if monomial]
    if len(rest) != 1 or [str(atom) for atom in rest[0][0]] != [name]:
        return None
    quotient, remainder = divmod(value - constant, rest[0][1])
    return (name, quotient) if remainder == 0 and quotient >= 0 else None


def is_term(dim: Dim) -> bool:
    """Whether the dimension is one function of others, as `min(n, 4)`, and nothing more."""
    if not isinstance(dim, DimExpr) or len(dim._terms) != 1:
        return False
    monomial, coefficient = dim._terms[0]
    return coefficient == 1 and len(monomial) == 1 and bool(monomial[0].arguments)


def contains_term(dim: Dim, term: Dim) -> bool:
    """Whether the term (see `is_term`) occurs in the dimension."""
    return isinstance(dim, DimExpr) and any(
        DimExpr({(atom,): 1}) == term or any(contains_term(a, term) for a in atom.arguments) for atom in dim.atoms()
    )


def replace_terms(dim: Dim, values: Mapping[Dim, Dim]) -> Dim:
    """The dimension with whole terms (see `is_term`) replaced, inner ones first."""
    if not values or not isinstance(dim, DimExpr):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim._terms:
        product_: Dim = coefficient
        for atom in monomial:
            factor: Dim = DimExpr({(atom,): 1})
            if atom.arguments:
                left, right = (replace_terms(a, values) for a in atom.arguments)
                factor = _apply(atom.name, left, right)
            product_ = product_ * values.get(factor, factor)
        total = total + product_
    return total


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


_TOKEN = re.compile(r"\s*(//|[-+*%(),]|[A-Za-z_]\w*|\d+)", re.ASCII)


def parse_dim(text: str) -> Dim:
    """A dimension from its text form; ValueError where it is not one.

    >>> parse_dim("n*4 + 2") == symbol("n") * 4 + 2
    True
    """
    if len(text) > 1000:
        raise ValueError("a dimension expression is longer than 1000 characters")
    stripped, tokens, position = text.strip(), [], 0
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise ValueError(f"not a dimension: {text!r}: unexpected {stripped[position]!r}")
        tokens.append(match[1])
        position = match.end()
    dim, end = parse_dim_tokens(tokens, 0)
    if end != len(tokens):
        raise ValueError(f"not a dimension: {text!r}: unexpected {tokens[end]!r}")
    return dim


def parse_dim_tokens(tokens: Sequence[str], start: int) -> tuple[Dim, int]:
    """A dimension from the tokens at `start`, and the position after it; ValueError where there is none."""
    reader = _DimReader(tokens, start)
    try:
        dim = reader.sum(0)
    except ZeroDivisionError as error:
        raise ValueError(str(error)) from None
    if isinstance(dim, int) and not -(1 << 63) <= dim < 1 << 63:
        raise ValueError("a size does not fit in 64 bits")
    return dim, reader.position


class _DimReader:
    """Recursive descent over tokens, with Python's precedence."""

    def __init__(self, tokens: Sequence[str], start: int) -> None:
        self.tokens = tokens
        self.position = start

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def expect(self, token: str) -> None:
        if self.peek() != token:
            raise ValueError(f"expected {token!r} in a size, found {self.peek() or 'the end'!r}")
        self.position += 1

    def sum(self, depth: int) -> Dim:
        if depth > _MAX_DEPTH:
            raise ValueError(f"a dimension expression is nested deeper than {_MAX_DEPTH}")
        value = self.term(depth)
        while (operator := self.peek()) in ("+", "-"):
            self.position += 1
            other = self.term(depth)
            value = value + other if operator == "+" else value - other
            if len(_terms(value)) > _MAX_TERMS:
                raise ValueError("a size expression is too complex: its sum has too many terms")
        return value

    def term(self, depth: int) -> Dim:
        value = self.factor(depth)
        while (operator := self.peek()) in ("*", "//", "%"):
            self.position += 1
            other = self.factor(depth)
            if operator == "*":
                value = value * other
                if isinstance(value, int) and abs(value) >= 1 << 126:
                    raise ValueError("a size does not fit in 64 bits")
            else:
                value = _apply("floordiv" if operator == "//" else "mod", value, other)
        return value

    def factor(self, depth: int) -> Dim:
        token = self.peek()
        self.position += 1
        if token == "-":
            if depth >= _MAX_DEPTH:
                raise ValueError(f"a dimension expression is nested deeper than {_MAX_DEPTH}")
            return -self.factor(depth + 1)
        if token == "(":
            value = self.sum(depth + 1)
            self.expect(")")
            return value
        if token.isascii() and token.isdigit():
            if len(token) > 19 or int(token) > 1 << 63:  # the lowest integer is written as its negation
                raise ValueError("a size does not fit in 64 bits")
            return int(token)
        if token in ("max", "min", "bcast"):
            self.expect("(")
            left = self.sum(depth + 1)
            self.expect(",")
            right = self.sum(depth + 1)
            self.expect(")")
            return _call(token, left, right)
        if not token.isidentifier():
            raise ValueError(f"expected a size, found {token or 'the end'!r}")
        return symbol(token)


@record
class Guard:
    """A condition on argument sizes under which a graph is right: `left == right`."""

    left: Dim
    right: Dim
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.left} == {self.right}"
