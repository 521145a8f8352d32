"""Statements: branches, loops, the ways out of them, match, with, del and assignments."""

# The programs are as people write them, odd ones included.
# ruff: noqa

import contextlib
from dataclasses import dataclass
from typing import Any

import ingot
from conformance_table import accept
from ingot import nn

v = ingot.tensor([1.0, 2.0, 3.0])
m = ingot.arange(12.0).reshape(3, 4)
LIMIT = 10
NAMES = ("a", "b")


@accept("if, elif, else", (5,), (0,), (-5,))
def sign_of(n: int) -> int:
    if n > 0:
        return 1
    elif n == 0:
        return 0
    else:
        return -1


@accept("if, elif, else", (v,), (-v,))
def branch_on_a_tensor(x):
    if x.sum() > 0:
        y = x * 2
    else:
        y = x - 1
    return y


@accept("if, elif, else", (v, True), (v, False), shown=False)
def types_that_differ_by_branch(x, flag: bool):
    if flag:
        y = x.sum()
    else:
        y = x
    return y * 2


@accept("while", (100,), (1,), (0,))
def halvings(n: int):
    count = 0
    while n > 1:
        n //= 2
        count += 1
    return count


@accept("while", (v,))
def until_large(x):
    steps = 0
    while x.norm() < 50:
        x = x * 1.5 + 1
        steps += 1
    return x, steps


@accept("for", (10, 3), (3, 10), (0, 0))
def ranges(n: int, k: int):
    total = 0
    for i in range(n):
        total += i
    for i in range(k, n):
        total = total * 2 + i
    for i in range(n, k, -2):
        total -= i * i
    for _ in range(n, n):
        total = 0
    return total


@accept("for", (2,), (-3,), (0,), shown=False)
def range_with_a_runtime_step(step: int):
    found = 0
    for i in range(0, 10 * step, step):
        found = found * 3 + i
    return found


@accept("for", ([3, 1, 2],), ([],))
def enumerate_zip_reversed(xs: list[int]):
    out = 0
    for i, x in enumerate(xs, start=1):
        out += i * x
    for a, b in zip(xs, reversed(xs)):
        out = out * 2 + a - b
    for i, (a, b) in enumerate(zip(xs, xs[1:])):
        out += a * b * i
    return out


@accept("for", (m,), (m[:1],))
def over_the_rows_of_a_tensor(x):
    total = ingot.zeros(4)
    for row in x:
        total = total * 0.5 + row
    return total


@accept("for", ("hello",), ("",))
def over_a_string(text: str):
    n = 0
    for i, c in enumerate(text):
        if c == "l":
            n += i
    return n


@accept("for", ({"a": 1, "b": 2},))
def over_a_dict(d: dict[str, int]):
    total = 0
    for key in d:
        total += d[key]
    for key, value in d.items():
        if key == "b":
            total += 10 * value
    for value in d.values():
        total *= value
    return total, list(d.keys())


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        ingot.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])
        self.heads = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Tanh()})
        self.tail = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))

    def forward(self, x):
        for i, layer in enumerate(self.layers[1:]):
            x = layer(x) * (i + 1)
        for layer in reversed(self.layers):
            x = layer(x)
        out = x.sum()
        for name, head in self.heads.items():
            out = out + head(x).sum() * len(name)
        for layer in self.tail[:2]:
            x = layer(x)
        return self.tail(x), out + self.layers[-1](x).sum()


@accept("for", (m[:, :3],), make=Stack, slow=True)
def over_modules(x):
    """See `Stack.forward`."""


@accept("break, continue", (20,), (3,))
def nested_break_and_continue(n: int):
    found = 0
    for i in range(n):
        if i % 4 == 1:
            continue
        for j in range(i):
            if j == 5:
                break
            if (i + j) % 3 == 0:
                continue
            found += i * j
        while True:
            found += 1
            if found % 7 == 0:
                break
        if found > 200:
            break
    return found


@accept("for/else, while/else", (7,), (9,), (2,))
def prime(n: int):
    for d in range(2, n):
        if n % d == 0:
            break
    else:
        return True
    k = n
    while k > 2:
        if k == 3:
            break
        k -= 1
    else:
        k = -1
    return False


@accept("early and nested return", ([3, 8, 12, 5],), ([],), ([1],))
def first_above(xs: list[int]):
    for i, x in enumerate(xs):
        if x > LIMIT:
            return i
        for _ in range(3):
            if x == 8:
                while x:
                    x -= 1
                    if x == 100:
                        return -5
    return None


@accept("assert", (3,), (-3,), (0,))
def asserts(n: int):
    assert n != 0
    assert n > 0, f"n must be positive, got {n}"
    return n


@accept("raise", (1,), (2,), (3,), (4,))
def raises(n: int):
    if n == 1:
        raise ValueError("one")
    if n == 2:
        raise IndexError
    if n == 3:
        raise RuntimeError(f"{n} is {n * 0.5:.2f} too large")
    return n


@accept("del", (4,))
def deletes(n: int):
    xs = [n, n + 1, n + 2]
    y = xs[0]
    del xs[0]
    d = {"a": n, "b": 2}
    del d["a"]
    del y
    y = len(d)
    return xs, y, d


@accept("del", (4,), shown=False)
def use_after_del(n: int):
    x = n
    if n > 3:
        del x
    return x


@accept("with", (v,))
def without_gradients(x):
    with ingot.no_grad():
        y = x * 2
    return x * y


class Counted:
    def __init__(self, start: int) -> None:
        self.n = start

    def __enter__(self):
        self.n += 1
        return self

    def __exit__(self, kind, value, trace):
        self.n *= 2
        return False


class Swallow:
    def __init__(self) -> None:
        self.caught = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.caught += 1
        return True


@accept("with", (3,), (0,))
def user_context_managers(n: int):
    with Counted(n) as c:
        c.n += 10
    with Swallow() as s, Counted(1) as d:
        d.n = 7 // n
    return c.n, s.caught, d.n


@accept("with", (v,), shown=False)
def nothing_contexts(x):
    with contextlib.nullcontext(), ingot.enable_grad():
        x = x + 1
    with contextlib.nullcontext(2.0) as k:
        return x * k


@accept("assignments", (1, 2))
def chained_and_nested(a: int, b: int):
    x = y = [a, b]
    x.append(3)
    (p, q), r = (a, b), y
    p, q = q, p
    [s, (t, u)] = [p, (q, len(r))]
    return p, q, s, t, u, r, x is y


@accept("assignments", ([1, 2, 3, 4],))
def starred(xs: list[int]):
    first, *rest = (10, 20, 30)
    *init, last = (1, 2)
    a, *b, c = xs[0], xs[1], xs[2], xs[3]
    h, *t = [*rest, *xs[:0], *(7, 8)] if False else [1, *b]
    return first, rest, init, last, a, b, c, h, t


@dataclass
class Box:
    value: int
    items: list[int]


@accept("assignments", (3,))
def augmented_everywhere(n: int):
    box = Box(n, [1, 2, 3])
    box.value += 4
    box.value **= 2
    box.items[1] *= 10
    box.items[-1] -= n
    box.items += [n]
    d = {"k": 1.5}
    d["k"] /= 2
    n <<= 3
    n |= 1
    n ^= 5
    n %= 1000
    n >>= 1
    n &= 0xFF
    n //= 2
    return box.value, box.items, d["k"], n


@accept("assignments", (1, 2), shown=False)
def order_of_targets(a: int, b: int):
    xs = [0, 0, 0]
    i = 0
    i, xs[i] = 1, 5
    xs[i] = i = 2
    return i, xs


@accept("assignments", (2,), shown=False)
def annotated_assignments(n: int):
    x: float = 1.5
    y: int
    y = n
    z: list[int] = []
    z.append(y)
    return x, y, z


@accept("pass, global constants", (1,))
def passes(n: int):
    if n:
        pass
    for _ in range(n):
        pass
    return LIMIT + n, NAMES[0], len(NAMES)


@accept("import in a function", (4.0,))
def imports_inside(x: float):
    import math
    from math import sqrt as root

    import ingot.nn.functional as F

    return math.floor(x), root(x), F.relu(ingot.tensor([x, -x]))


# -- match -------------------------------------------------------------------------------------------------------------


@accept("match", (0,), (2,), (3,), (7,), (-1,))
def match_literals(n: int):
    match n:
        case 0:
            return "zero"
        case 1 | 2 | 3 as small if small != 3:
            return "small"
        case -1:
            return "minus one"
        case _ if n > 5:
            return "large"
        case other:
            return "other"


@accept("match", ("go",), ("stop",), ("x",))
def match_strings(command: str):
    match command:
        case "go":
            speed = 1
        case "stop" | "halt":
            speed = 0
        case _:
            speed = -1
    return speed


@accept("match", ((1, 2, 3),), ((1, 5),), ((2,),), ((),))
def match_sequences(xs):
    match xs:
        case ():
            return 0
        case (1, y):
            return y * 100
        case [x]:
            return x
        case [x, *rest]:
            return x + len(rest)


@dataclass
class Point:
    x: int
    y: int


@dataclass
class Circle:
    center: Point
    radius: float


@accept("match", (0,), (1,), (2,), (3,))
def match_classes(kind: int):
    shape: Any = Point(0, kind)
    if kind == 1:
        shape = Point(5, 6)
    elif kind > 1:
        shape = Circle(Point(kind, 2), 0.5)
    match shape:
        case Point(0, y):
            return y * 1.0
        case Point(x=x, y=y):
            return x + y * 1.0
        case Circle(Point(x=2), radius=r):
            return r
        case Circle():
            return -1.0
    return 0.0


@accept("match", (None,), (3,), (2.5,), (True,), ("s",), shown=False)
def match_types(value):
    match value:
        case None:
            return 0
        case bool():
            return 1
        case int(n):
            return n + 10
        case float(f):
            return f
        case str():
            return 5
    return -1


@accept("match", ({"op": "add", "n": 3},), ({"op": "neg", "n": 1},), shown=False)
def match_mappings(d):
    match d:
        case {"op": "add", "n": n}:
            return n + 1
        case {"op": "neg", **rest}:
            return -len(rest)
    return 0


@accept("match", (v,), shown=False)
def match_without_a_case_that_fits(x):
    y = x
    match x.shape[0]:
        case 5:
            y = x * 5
        case 4:
            y = x * 4
    return y
