"""What is known about sizes while shapes are inferred: example values, equalities found, and what must be checked."""

from collections.abc import Iterable, Mapping
from typing import Any

from .core import Guard
from .dims import Dim, DimExpr, bcast, contains_term, dim_hint, is_term, replace_terms, substitute, symbol, symbols

__all__ = ["STATIC", "Sizes"]


class Sizes:
    """Solves and records equalities between dimensions.

    Argument sizes are symbols with an example value (a *hint*). Where an operation needs two of them equal and their
    examples are, they become one symbol: that is the condition under which the graph holds, and repeated symbols in
    the argument types state it. What cannot be solved that way becomes a guard. Symbols that get their value inside
    the program have no hint: conditions on them are *requirements*, checked where the program runs.

    With `known`, the conditions of a finished graph, nothing more is assumed: whatever does not follow from them is a
    requirement.
    """

    def __init__(
        self, hints: Mapping[str, int] | None = None, taken: Iterable[str] = (), known: Iterable[Guard] | None = None
    ) -> None:
        self.is_finished = known is not None
        # Equalities that hold where inference is now, as a finished graph's guards and `require_equal` state them.
        self.known: set[frozenset[Dim]] = {frozenset((guard.left, guard.right)) for guard in known or ()}
        self.relies_on_known = False
        self.hints: dict[str, int] = dict(hints or {})
        self.solved: dict[str, Dim] = {}
        self.guards: list[Guard] = []
        self.requirements: list[Guard] = []
        self.unvalued: list[str] = []  # new symbols without an example, in order
        self._taken = set(taken) | set(self.hints)
        self._counter = 0

    def fresh(self, hint: int | None = None, prefix: str = "s") -> DimExpr:
        """A new symbol, with an example value if it is an argument's size."""
        while (name := f"{prefix}{self._counter}") in self._taken:
            self._counter += 1
        self._taken.add(name)
        if hint is not None:
            self.hints[name] = hint
        else:
            self.unvalued.append(name)
        return symbol(name)

    def names(self) -> frozenset[str]:
        """Every symbol name in use."""
        return frozenset(self._taken)

    def save(self) -> tuple[Any, ...]:
        """What is known now, for `load` to come back to: a front end tries a region before it knows its types."""
        return (
            dict(self.hints), dict(self.solved), list(self.guards), list(self.requirements), set(self._taken),
            self._counter,
        )  # fmt: skip

    def load(self, saved: tuple[Any, ...]) -> None:
        """Forget everything learnt since `save`."""
        hints, solved, guards, requirements, taken, self._counter = saved
        self.hints, self.solved, self._taken = dict(hints), dict(solved), set(taken)
        self.guards, self.requirements = list(guards), list(requirements)

    def resolve(self, dim: Dim) -> Dim:
        """The dimension with everything solved so far put in."""
        while isinstance(dim, DimExpr) and not self.solved.keys().isdisjoint(dim.symbols()):
            dim = dim.evaluate(self.solved)
        return dim

    def are_known_equal(self, a: Dim, b: Dim) -> bool:
        """Whether two dimensions are equal by what is in `known`; `relies_on_known` notes that it mattered."""
        if a == b or not self.known:
            return a == b
        if frozenset((a, b)) in self.known or self._follows_from_known(a, b):
            self.relies_on_known = True
            return True
        return False

    def _follows_from_known(self, a: Dim, b: Dim) -> bool:
        # A symbol that is known to equal something else is replaced by it, so that expressions can be compared.
        values: dict[str, Dim] = {}
        for pair in self.known:
            for one, other in (tuple(pair), tuple(reversed(tuple(pair)))) if len(pair) == 2 else ():
                if isinstance(one, DimExpr) and one.is_symbol() and one.symbols().isdisjoint(symbols(other)):
                    (name,) = one.symbols()
                    if name not in values and not _depends(other, name, values):
                        values[name] = other
                        break
        # Likewise a term such as min(n, 1), which no polynomial expresses, that is known to equal something simpler.
        terms: dict[Dim, Dim] = {}
        for pair in self.known:
            for one, other in (tuple(pair), tuple(reversed(tuple(pair)))) if len(pair) == 2 else ():
                if is_term(one) and not contains_term(other, one):
                    terms[one] = other
                    break
        for _ in range(len(values) + len(terms)):
            a, b = (replace_terms(substitute(d, values), terms) for d in (a, b))
        return a == b or frozenset((a, b)) in self.known

    def take_requirements(self, since: int) -> list[Guard]:
        """The requirements found, which are then forgotten, but for those that only the op itself can check.

        Those are about symbols made since `unvalued` had `since` elements: how many elements of a mask are true has
        no value before the op runs.
        """
        inner = set(self.unvalued[since:])
        found, self.requirements = self.requirements, []
        return [r for r in found if inner.isdisjoint(symbols(r.left) | symbols(r.right))]

    def hint(self, dim: Dim) -> int | None:
        """The example value of a dimension, or None where it has none."""
        return dim if isinstance(dim, int) else dim_hint(self.resolve(dim), self.hints)

    def equal(self, a: Dim, b: Dim, message: str) -> Dim:
        """Require two dimensions equal and return the common one; RuntimeError(message) where they are not."""
        if isinstance(a, int) and isinstance(b, int):
            if a != b:
                raise RuntimeError(message)
            return a
        a, b = self.resolve(a), self.resolve(b)
        if a == b or self.are_known_equal(a, b):
            return a
        if isinstance(a, int) and isinstance(b, int):
            raise RuntimeError(message)
        hint_a, hint_b = self.hint(a), self.hint(b)
        if hint_a is None or hint_b is None:
            self.requirements.append(Guard(a, b, message))
            return a if isinstance(a, int) or hint_a is not None else b
        if hint_a != hint_b:
            raise RuntimeError(message)
        if self.is_finished:
            self.requirements.append(Guard(a, b, message))
            return a
        for one, other in ((a, b), (b, a)):
            if isinstance(one, DimExpr) and one.is_symbol() and not one.symbols() <= symbols(other):
                (name,) = one.symbols()
                self.solved[name] = other
                return other
        self.guards.append(Guard(a, b, message))
        return a

    def broadcast(self, a: Dim, b: Dim, message: str) -> Dim:
        """The dimension that two broadcast to; RuntimeError(message) where they do not."""
        if isinstance(a, int) and isinstance(b, int):
            if a == b or b == 1:
                return a
            if a == 1:
                return b
            raise RuntimeError(message)
        a, b = self.resolve(a), self.resolve(b)
        if a == b or (isinstance(b, int) and b == 1) or self.are_known_equal(a, b):
            return a
        if isinstance(a, int) and a == 1:
            return b
        hint_a, hint_b = self.hint(a), self.hint(b)
        if hint_a is None or hint_b is None:
            if isinstance(a, int) or isinstance(b, int):
                # A known size other than 1 is the result; the unknown one must be it or 1.
                known, other = (a, b) if isinstance(a, int) else (b, a)
                self.requirements.append(Guard(bcast(other, known), known, message))
                return known
            return bcast(a, b)
        if hint_a != hint_b and hint_b == 1:
            self.equal(b, 1, message)
            return self.resolve(a)
        if hint_a != hint_b and hint_a == 1:
            self.equal(a, 1, message)
            return self.resolve(b)
        return self.equal(a, b, message)

    def broadcast_shapes(self, *shapes: tuple[Dim, ...], name: str) -> tuple[Dim, ...]:
        """The shape that all broadcast to, aligned at the right, by the rules of numpy and PyTorch."""
        result: tuple[Dim, ...] = shapes[0] if shapes else ()
        for shape in shapes[1:]:
            if shape == result:
                continue
            longer, shorter = (result, shape) if len(result) >= len(shape) else (shape, result)
            offset = len(longer) - len(shorter)
            dims = list(longer)
            for axis, size in enumerate(shorter, offset):
                dims[axis] = self.broadcast(
                    longer[axis],
                    size,
                    f"{name}: shapes {_show(result)} and {_show(shape)} do not broadcast: at dimension {axis} of "
                    f"{len(longer)} the sizes are {longer[axis]} and {size}, expected equal or one of them 1",
                )
            result = tuple(dims)
        return result

    def substitution(self) -> dict[str, Dim]:
        """Every solved symbol with its final value."""
        return {name: self.resolve(symbol(name)) for name in self.solved}

    def remaining_guards(self) -> list[Guard]:
        """Guards that substitution does not make trivially true."""
        kept: list[Guard] = []
        for guard in self.guards:
            left, right = self.resolve(guard.left), self.resolve(guard.right)
            if left != right and Guard(left, right, guard.reason) not in kept:
                kept.append(Guard(left, right, guard.reason))
        return kept


def _depends(dim: Dim, name: str, values: Mapping[str, Dim]) -> bool:
    """Whether the dimension, with `values` put in, has the symbol `name`."""
    pending, seen = set(symbols(dim)), set[str]()
    while pending:
        current = pending.pop()
        if current == name:
            return True
        seen.add(current)
        pending |= symbols(values.get(current, 0)) - seen
    return False


def _show(shape: tuple[Dim, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


STATIC = Sizes()
"""For shapes that are all plain integers, as in eager execution: nothing is ever recorded in it."""
