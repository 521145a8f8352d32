"""Index algebra of loop nests: indices and addresses are polynomials (`DimExpr`) over loop variables and sizes.

Loop variables are symbols whose names start with `LOOP_PREFIX`. Views are applied by substituting indices, and the
canonical form of polynomials makes an address linear again where the view allows it, so that no separate analysis of
strides is needed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ...ir.core import Guard
from ...ir.dims import Dim, DimExpr, dim_min, product, symbol, symbols

__all__ = [
    "LOOP_PREFIX", "Loop", "assuming", "broadcast_indices", "coefficient", "depends_on", "divide_index", "flat_index",
    "is_loop_variable", "loop_symbols", "loop_variable", "reshape_indices", "row_major_strides", "terms",
]  # fmt: skip

LOOP_PREFIX = "loop_index_"
Indices = tuple[Dim, ...]
_equal: ContextVar[frozenset[frozenset[Dim]]] = ContextVar(
    "sizes that a graph's guards say are equal", default=frozenset()
)


@contextmanager
def assuming(guards: Iterable[Guard]) -> Iterator[None]:
    """Let reshapes rely on what guards say: that (h // 7) * 7 is h."""
    token = _equal.set(frozenset(frozenset((guard.left, guard.right)) for guard in guards))
    try:
        yield
    finally:
        _equal.reset(token)


def _are_equal(a: Dim, b: Dim) -> bool:
    return a == b or frozenset((a, b)) in _equal.get()


def loop_variable(name: str) -> DimExpr:
    """The loop variable `name` as an index."""
    return symbol(LOOP_PREFIX + name)


@dataclass
class Loop:
    """A dimension of a fused group's iteration space; `name` is its loop variable."""

    name: str
    extent: Dim
    reduced: bool = False

    @property
    def variable(self) -> Dim:
        return loop_variable(self.name.removeprefix(LOOP_PREFIX))


def is_loop_variable(name: str) -> bool:
    """Whether a symbol is a loop variable (or an index loaded from memory), and not a size."""
    return name.startswith(LOOP_PREFIX)


def loop_symbols(dim: Dim) -> frozenset[str]:
    """The loop variables in an index."""
    return frozenset(s for s in symbols(dim) if s.startswith(LOOP_PREFIX))


def depends_on(indices: Sequence[Dim]) -> frozenset[str]:
    """The loop variables in several indices."""
    return frozenset().union(*(loop_symbols(i) for i in indices))


def terms(dim: Dim) -> list[tuple[DimExpr | int, Dim]]:
    """An index as a sum of products (part over loop variables, coefficient over sizes), each part once.

    The part of the constant term is 1.
    """
    if isinstance(dim, int):
        return [(1, dim)] if dim else []
    result: dict[DimExpr | int, Dim] = {}
    for monomial, factor in dim._terms:
        part: Dim = 1
        rest: Dim = factor
        for atom in monomial:
            single = DimExpr({(atom,): 1})
            if loop_symbols(single):
                part = part * single
            else:
                rest = rest * single
        result[part] = result.get(part, 0) + rest
    return [(part, rest) for part, rest in result.items() if rest != 0]


def coefficient(dim: Dim, variable: str) -> Dim | None:
    """The factor of a loop variable in an index; None where the index is not linear in it."""
    result: Dim = 0
    for part, rest in terms(dim):
        if isinstance(part, int) or variable not in part.symbols():
            continue
        if not part.is_symbol():
            return None
        result = rest
    return result


def row_major_strides(shape: Sequence[Dim]) -> list[Dim]:
    """Strides in elements of a contiguous tensor."""
    strides: list[Dim] = []
    step: Dim = 1
    for size in reversed(shape):
        strides.append(step)
        step = step * size
    return strides[::-1]


def flat_index(indices: Sequence[Dim], shape: Sequence[Dim]) -> Dim:
    """The position of an element in a contiguous tensor."""
    position: Dim = 0
    for index, stride in zip(indices, row_major_strides(shape), strict=True):
        position = position + index * stride
    return _rejoined(position)


def _rejoined(position: Dim) -> Dim:
    """The index with quotients and remainders put together again: a // m * m + a % m is a.

    Reshapes that split and join dimensions leave such pairs; without them an address is linear again.
    """
    changed = True
    while changed and isinstance(position, DimExpr):
        changed = False
        for part, factor in terms(position):
            if isinstance(part, int) or len(part._terms) != 1:
                continue
            ((monomial, _),) = part._terms
            if len(monomial) != 1 or monomial[0].name != "mod":
                continue
            value, size = monomial[0].arguments
            whole = value // size * (size * factor)
            held = dict(terms(position))
            ((quotient, count), *others) = terms(whole) or [(1, 0)]
            if not others and held.get(quotient) == count:
                position = position - factor * part - whole + factor * value
                changed = True
                break
    return position


def _largest(dim: Dim, extents: Mapping[str, Dim]) -> Dim | None:
    """An upper bound of an index over the loop ranges; None where none is seen."""
    total: Dim = 0
    for part, rest in terms(dim):
        if isinstance(part, int):
            total = total + rest
        elif part.is_symbol() and _is_nonnegative(rest):
            (name,) = part.symbols()
            if name not in extents:
                return None
            total = total + rest * (extents[name] - 1)
        else:
            return None
    return total


def _is_nonnegative(dim: Dim) -> bool:
    if isinstance(dim, int):
        return dim >= 0
    return all(
        factor >= 0 and all(_is_nonnegative(a) for atom in monomial for a in atom.arguments)
        for monomial, factor in dim._terms
    )


def divide_index(index: Dim, size: Dim, extents: Mapping[str, Dim]) -> tuple[Dim, Dim]:
    """(index // size, index % size), without a division where the loop ranges show what they are."""
    if size == 1:
        return index, 0
    if isinstance(index, int) and isinstance(size, int):
        return (0, 0) if size == 0 else divmod(index, size)
    quotient: Dim = 0
    rest: Dim = 0
    for part, factor in terms(index):
        if isinstance(factor, int) and isinstance(size, int) and size and factor % size:
            # A constant term may hold whole sizes beside a remainder; a loop variable's factor does not.
            whole = factor // size if isinstance(part, int) else 0
            quotient = quotient + whole
            rest = rest + (factor - whole * size) * part
            continue
        divided = factor // size if size != 0 else 0
        if divided * size == factor:
            quotient = quotient + divided * part
        else:
            rest = rest + factor * part
    bound = _largest(rest, extents)
    if bound is not None and _is_nonnegative(size - 1 - bound) and _is_nonnegative(_constant_part(rest)):
        return quotient, rest
    return quotient + rest // size, rest % size


def _constant_part(dim: Dim) -> Dim:
    return next((rest for part, rest in terms(dim) if isinstance(part, int)), 0)


def _groups(result_shape: Sequence[Dim], input_shape: Sequence[Dim]) -> list[tuple[range, range]]:
    """Shortest runs of dimensions of both shapes that have equal products, from the left."""
    groups: list[tuple[range, range]] = []
    i = j = start_i = start_j = 0
    left: Dim = 1
    right: Dim = 1
    while i < len(result_shape) or j < len(input_shape):
        if _are_equal(left, right) and (i > start_i or j > start_j):
            groups.append((range(start_i, i), range(start_j, j)))
            start_i, start_j, left, right = i, j, 1, 1
            continue
        # Extend the side whose next product is an equal one, else the smaller, else the shorter in dimensions.
        take_left = j == len(input_shape)
        if i < len(result_shape) and j < len(input_shape):
            next_left, next_right = left * result_shape[i], right * input_shape[j]
            if _are_equal(next_left, right):
                take_left = True
            elif _are_equal(next_right, left):
                take_left = False
            elif isinstance(left, int) and isinstance(right, int) and left != right:
                take_left = left < right
            else:
                take_left = i - start_i <= j - start_j
        if take_left:
            left, i = left * result_shape[i], i + 1
        else:
            right, j = right * input_shape[j], j + 1
    if start_i < i or start_j < j:
        groups.append((range(start_i, i), range(start_j, j)))
    return groups


def reshape_indices(
    indices: Sequence[Dim], result_shape: Sequence[Dim], input_shape: Sequence[Dim], extents: Mapping[str, Dim]
) -> Indices:
    """The input's indices of an element of a reshaped tensor."""
    if 0 in input_shape:
        return tuple(0 for _ in input_shape)  # no element exists
    result: list[Dim] = []
    for result_range, input_range in _groups(result_shape, input_shape):
        position = flat_index([indices[i] for i in result_range], [result_shape[i] for i in result_range])
        unravelled: list[Dim] = []
        for j in reversed(input_range[1:]):
            position, rest = divide_index(position, input_shape[j], extents)
            unravelled.append(rest)
        if input_range:
            unravelled.append(position)
        result.extend(reversed(unravelled))
    return tuple(result)


def broadcast_indices(indices: Sequence[Dim], shape: Sequence[Dim], result_shape: Sequence[Dim]) -> Indices:
    """Indices into an operand of `shape` that is broadcast to `result_shape`.

    A size that may or may not be 1 (it differs from the result's, which is known at run time only) is handled by the
    product with min(size - 1, 1): 0 where it is 1.
    """
    offset = len(indices) - len(shape)
    result: list[Dim] = []
    for axis, size in enumerate(shape):
        index = indices[offset + axis]
        if size == 1:
            result.append(0)
        elif size == result_shape[offset + axis] or isinstance(size, int):
            result.append(index)
        else:
            result.append(index * dim_min(size - 1, 1))
    return tuple(result)


def element_count(shape: Sequence[Dim]) -> Dim:
    """The number of elements of a shape."""
    return product(list(shape))
