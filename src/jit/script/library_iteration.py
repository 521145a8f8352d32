"""What programs use of `itertools` and `functools`, written in the language itself, as lists."""

import functools
import itertools
from typing import Any

from .library import stands_in

__all__: list[str] = []

# mypy: disable-error-code="no-untyped-def"


@stands_in(functools.reduce)
def reduce(function, items, *initial):
    if len(initial) == 0 and len(items) == 0:
        raise TypeError("reduce() of empty iterable with no initial value")
    result = items[0] if len(initial) == 0 else initial[0]
    for item in items[1:] if len(initial) == 0 else items:
        result = function(result, item)
    return result


@stands_in(itertools.chain.from_iterable)
def chain_from_iterable(iterables):
    return [item for items in iterables for item in items]


@stands_in(itertools.product)
def product(*iterables, repeat=1):
    pools = iterables * repeat
    if len(pools) == 0:
        return [()]
    if len(pools) == 1:
        return [(a,) for a in pools[0]]
    if len(pools) == 2:
        return [(a, b) for a in pools[0] for b in pools[1]]
    if len(pools) == 3:
        return [(a, b, c) for a in pools[0] for b in pools[1] for c in pools[2]]
    raise NotImplementedError("itertools.product of more than 3 iterables in a compiled program")


@stands_in(itertools.accumulate)
def accumulate(items, func=None, *, initial=None):
    sums = []
    if initial is not None:
        sums.append(initial)
    for item in items:
        if len(sums) == 0:
            sums.append(item)
        else:
            sums.append(sums[-1] + item if func is None else func(sums[-1], item))
    return sums


@stands_in(itertools.combinations)
def combinations(items, r):
    pool = list(items)
    n = len(pool)
    if r == 0:
        return [()]
    if r == 1:
        return [(a,) for a in pool]
    if r == 2:
        return [(pool[i], pool[j]) for i in range(n) for j in range(i + 1, n)]
    if r == 3:
        return [(pool[i], pool[j], pool[k]) for i in range(n) for j in range(i + 1, n) for k in range(j + 1, n)]
    raise NotImplementedError("itertools.combinations of more than 3 elements in a compiled program")


@stands_in(itertools.permutations)
def permutations(items, r=None):
    pool = list(items)
    n = len(pool)
    size = n if r is None else r
    if size == 0:
        return [()]
    if size == 1:
        return [(a,) for a in pool]
    if size == 2:
        return [(pool[i], pool[j]) for i in range(n) for j in range(n) if i != j]
    if size == 3:
        return [
            (pool[i], pool[j], pool[k])
            for i in range(n)
            for j in range(n)
            if i != j
            for k in range(n)
            if k != i and k != j
        ]
    raise NotImplementedError("itertools.permutations of more than 3 elements in a compiled program")


@stands_in(itertools.zip_longest)
def zip_longest(first, second, *, fillvalue=None):
    a, b = list(first), list(second)
    size = max(len(a), len(b))
    return [(a[i] if i < len(a) else fillvalue, b[i] if i < len(b) else fillvalue) for i in range(size)]


@stands_in(itertools.islice)
def islice(items, *bounds):
    if len(bounds) == 1:
        return list(items)[: bounds[0]]
    if len(bounds) == 2:
        return list(items)[bounds[0] : bounds[1]]
    return list(items)[bounds[0] : bounds[1] : bounds[2]]


@stands_in(itertools.repeat)
def repeat(item, times):
    return [item for _ in range(times)]


@stands_in(itertools.takewhile)
def takewhile(predicate, items):
    taken = []
    for item in items:
        if not predicate(item):
            break
        taken.append(item)
    return taken


@stands_in(itertools.dropwhile)
def dropwhile(predicate, items):
    kept = []
    dropping = True
    for item in items:
        if dropping and predicate(item):
            continue
        dropping = False
        kept.append(item)
    return kept


@stands_in(itertools.filterfalse)
def filterfalse(predicate, items):
    if predicate is None:
        return [item for item in items if not item]
    return [item for item in items if not predicate(item)]


@stands_in(itertools.pairwise)
def pairwise(items):
    pool = list(items)
    return list(zip(pool, pool[1:]))  # noqa: B905, RUF007


@stands_in(itertools.starmap)
def starmap(function, items):
    return [function(*item) for item in items]


def list_index(items: Any, value: Any, start: Any, stop: Any = None) -> Any:
    """`items.index(value, start, stop)`."""
    size = len(items)
    first = max(start + size, 0) if start < 0 else start
    last = size if stop is None else max(stop + size, 0) if stop < 0 else min(stop, size)
    for i in range(first, last):
        if items[i] == value:
            return i
    raise ValueError(f"{value!r} is not in list")


def list_remove(items: Any, value: Any) -> None:
    """`items.remove(value)`."""
    if value not in items:
        raise ValueError("list.remove(x): x not in list")
    items.pop(items.index(value))


def range_item(start: Any, stop: Any, step: Any, index: Any) -> Any:
    """`range(start, stop, step)[index]`."""
    size = len(range(start, stop, step))
    place = index + size if index < 0 else index
    if not 0 <= place < size:
        raise IndexError("range object index out of range")
    return start + place * step


def range_contains(start: Any, stop: Any, step: Any, item: Any) -> Any:
    """`item in range(start, stop, step)`."""
    inside = start <= item < stop if step > 0 else stop < item <= start
    return inside and (item - start) % step == 0
