"""Lists, tuples and dicts: of known length, grown in loops, mutated, compared, shared by two names."""

# The programs are as people write them, odd ones included.
# ruff: noqa: B007, B905, RUF005

from typing import Any, NamedTuple

import ingot
import pytest

v = ingot.tensor([1.0, -2.0, 3.0])


def known(a: int, b: int) -> Any:
    xs = [a, b, a + b]
    xs.append(4)
    ys = xs
    ys[0] = 10
    xs += [7, 8]
    return xs, ys is xs, len(xs), xs[1:3], xs[-1], xs[::2], sum(xs), max(xs), min(a, b), xs == ys, 7 in xs


def grown(n: int) -> Any:
    xs = []
    for i in range(n):
        xs.append(i * i)
    total = 0
    for value in xs:
        total += value
    if n > 2:
        xs[0] = 99
        xs[-1] += 1
    return xs, total, len(xs)


def grown_from_values(n: int) -> Any:
    xs = [1.5, 2.5]
    i = 0
    while len(xs) < n:
        xs.append(xs[i] + xs[i + 1])
        i += 1
    return xs, xs[-1], xs[1:], xs[:2]


def appended_in_branch(n: int) -> Any:
    xs = [n]
    if n > 2:
        xs.append(n + 1)
    return xs, len(xs)


def pops(n: int) -> Any:
    stack = [0]
    out = 0
    while stack:
        k = stack.pop()
        out += k
        if k < n:
            stack.append(k + 1)
            if k % 2:
                stack.append(k + 2)
    return out


def methods(n: int) -> Any:
    xs = [3, 1, 2]
    xs.insert(1, n)
    xs.reverse()
    ys = xs.copy()
    ys.extend([5, 6])
    a = ys.pop()
    b = ys.pop(0)
    del ys[0]
    return xs, ys, a, b, [1] * 3, [n] + [n + 1], sorted([3, 1, 2]), list(range(3)), tuple(xs)


def run_time_methods(n: int) -> Any:
    xs = []
    for i in range(n):
        xs.append((i * 7) % 5)
    ys = xs.copy()
    ys.sort()
    ys.reverse()
    ys.extend(xs)
    ys.insert(1, -1)
    zs = ys + xs
    return xs, ys, zs, zs.count(3), 4 in xs, ys[1:4], zs[::-1], xs * 2


def of_tensors(x: Any, n: int) -> Any:
    xs = [x, x + 1]
    for i in range(n):
        xs.append(xs[-1] + xs[-2])
    s = x * 0
    for t in xs:
        s = s + t
    return s, xs, len(xs)


def of_tuples(n: int) -> Any:
    xs = []
    for i in range(n):
        xs.append((i, i * 0.5))
    a = 0
    b = 0.0
    for i, half in xs:
        a += i
        b += half
    return a, b, xs


def comprehensions(n: int, x: Any) -> Any:
    squares = [i * i for i in range(n)]
    evens = [i for i in range(n) if i % 2 == 0]
    fixed = [k + n for k in (1, 2, 3) if k != 2]
    pairs = [(i, j) for i in range(3) for j in range(i)]
    rows = [row.sum() for row in x]
    return squares, evens, fixed, pairs, rows, [t * 2 for t in [x, x + 1]], sum(i for i in range(n)), n


def tuples(n: int, x: Any) -> Any:
    t = (n, x, "a", None)
    a, b, *rest = t
    u = t + (1,)
    return t[0], t[1:], len(t), u, rest, t[-1] is None, (1, n) > (1, 2), (n, 2) == (2, 2), n in (1, 2, 3), a, b


def indexed_by_run_time(n: int) -> Any:
    t = (1, 2.5, "c")
    return t[n]


def dicts(n: int, x: Any) -> Any:
    d = {"a": n, "b": x, 3: (n, 1)}
    d["c"] = n * 2
    d["a"] += 1
    total = 0
    for key in d:
        if key == "c":
            total += d[key]
    e = {k: i for i, k in enumerate(("p", "q"))}
    e.update({"r": n})
    d2 = dict(d, z=1)
    return d["a"], d, len(d), "b" in d, d.get("zz", 5), e, list(d.keys()), d2.pop("z"), [k for k, _ in e.items()], total


def zips(n: int, x: Any) -> Any:
    out = []
    for i, (a, b) in enumerate(zip((1, 2, 3), [n, n + 1, n + 2])):
        out.append(i * a + b)
    s = 0
    for i, j in zip(range(n), range(3, 100, 2)):
        s += i * j
    for i, row in enumerate(x, 1):
        s += i
    return out, s, list(zip((1, 2), (3, 4))), list(reversed([1, n])), any([n > 2, False]), all([n > 2, n < 5])


def nested(n: int) -> Any:
    grid = [[0, 1], [2, 3]]
    grid[0][1] = n
    rows = []
    for i in range(n):
        rows.append(i)
    first = grid[0]
    first.append(5)
    return grid, rows


def shared(n: int) -> Any:
    a = [n]
    b = a
    for i in range(n):
        b.append(i)
    a.append(-1)
    return a, b


def list_argument(xs: Any, t: Any) -> Any:
    total = 0
    for x in xs:
        total = total + x
    a, b = t
    return total, len(xs), xs[0], a + b


class Point(NamedTuple):
    x: Any
    y: Any = 2

    def norm(self) -> Any:
        return self.x * self.x + self.y * self.y


def named(n: int, x: Any) -> Any:
    p = Point(n, x)
    q = Point(y=n, x=3)
    a, b = q
    return p, p.x, p.y, q.norm(), Point(1), q._replace(x=7) if False else a + b


def strings(n: int) -> Any:
    name = "left" if n > 0 else "right"
    if name == "left":
        n += 1
    text = ["a", "b"]
    return (
        name,
        n,
        f"{'x'}-{3}",
        text,
        "ab".upper(),
        "a" in "abc",
        "x" * 3,
        "{}:{}".format("k", 2),
        len("four"),
        "abc"[1],
    )


CASES: list[Any] = [
    (known, [(1, 2), (5, 5)]),
    (grown, [(0,), (1,), (5,)]),
    (grown_from_values, [(0,), (6,)]),
    (appended_in_branch, [(1,), (3,)]),
    (pops, [(0,), (6,)]),
    (methods, [(9,)]),
    (run_time_methods, [(1,), (5,)]),
    (of_tensors, [(v, 0), (v, 3)]),
    (of_tuples, [(0,), (3,)]),
    (comprehensions, [(0, v), (5, ingot.ones(2, 3))]),
    (tuples, [(2, v)]),
    (indexed_by_run_time, [(0,), (1,), (2,), (-1,), (3,)]),
    (dicts, [(2, v)]),
    (zips, [(2, v), (4, v)]),
    (nested, [(3,)]),
    (shared, [(0,), (2,)]),
    (list_argument, [([1, 2], (v, v)), ([v, v + 1, v], (1, 2)), ([0.5], (1.0, 2))]),
    (named, [(2, 3)]),
    (strings, [(1,), (0,)]),
]


@pytest.mark.parametrize(("function", "calls"), CASES, ids=[f.__name__ for f, _ in CASES])
def test_same_as_python(compare: Any, function: Any, calls: Any) -> None:
    assert compare(function, *calls).specialisations
