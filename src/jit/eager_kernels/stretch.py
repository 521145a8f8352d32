"""Consecutive elements that a kernel walks vector by vector: loops, sums and maxima."""

from collections.abc import Callable, Sequence

from .code import Code, Number, Pointer, Variable

__all__ = ["Stretch", "Terms", "lowest", "read", "write", "zero"]

# Of a vector's first index, and of how many elements it has where these are fewer than its lanes.
Terms = Callable[[Number, Number | None], Sequence[Number]]


def read(source: Pointer, index: Number, count: Number | None) -> Number:
    """A vector, with zeros after its elements."""
    return source.vector(index) if count is None else source.part(index, count)


def write(target: Pointer, index: Number, count: Number | None, value: Number) -> None:
    """Store a vector's elements."""
    if count is None:
        target.set_vector(index, value)
    else:
        target.set_part(index, value, count)


def zero(code: Code, place: Pointer, count: Number) -> None:
    """Fill memory with zeros."""
    with code.vectors(count) as (i, n):
        place.set_part(i, code.splat(0.0), n)


class Stretch:
    """The elements [start, start + size) of arrays."""

    def __init__(self, code: Code, start: Number, size: Number) -> None:
        self.code, self.start, self.size = code, start, size
        self.whole = size - size % code.lanes

    def vectors(self, body: Callable[[Number, Number | None], None]) -> None:
        """`body(index, count)` for every vector; `count` is None for those that are full."""
        code = self.code
        with code.loop(0, self.whole, code.lanes) as i:
            body(self.start + i, None)
        with code.when(self.whole < self.size):
            body(self.start + self.whole, self.size - self.whole)

    def sums(self, terms: Terms, number: int) -> list[Number]:
        """The sums of what `terms` gives for each vector; what is past the end does not count."""
        code = self.code
        totals: list[Variable] = [code.variable(code.splat(0.0)) for _ in range(number)]

        def add(index: Number, count: Number | None) -> None:
            for total, term in zip(totals, terms(index, count), strict=True):
                total.add(term if count is None else code.select(code.first(count), term, 0.0))

        self.vectors(add)
        return [code.total(total.get()) for total in totals]

    def largest(self, source: Pointer) -> Number:
        """The largest element; NaN where there is one."""
        code = self.code
        found = code.variable(code.splat(float("-inf")))

        def look(index: Number, count: Number | None) -> None:
            value, so_far = read(source, index, count), found.get()
            better = (value > so_far) | value.differs(value)
            if count is not None:
                better = better & code.first(count)
            found.set(code.select(better, value, so_far))

        self.vectors(look)
        return code.combined(found.get(), lambda a, b: code.select((a > b) | a.differs(a), a, b))


def lowest(code: Code) -> Number:
    """Minus infinity."""
    return Number(code, code.like(float("-inf"), code.element))
