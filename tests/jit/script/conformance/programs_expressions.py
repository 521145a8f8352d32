"""Expressions: operators, comprehensions, strings, subscripts, calls of builtins."""

# The programs are as people write them, odd ones included.
# ruff: noqa

import math

import ingot
from conformance_table import accept

v = ingot.tensor([1.0, 2.0, 3.0])
m = ingot.arange(12.0).reshape(3, 4)


@accept("chained comparison", (3,), (0,), (10,))
def between(n: int):
    return 0 < n <= 5, 1 < n < 4 != n, n == n < 5 > 2


@accept("short-circuit and, or", (0, 5), (3, 0), (2, 2))
def short_circuits(a: int, b: int):
    safe = b != 0 and a // b > 0
    either = a or b
    both = a and b
    return safe, either, both, not a, not (a and b)


@accept("ternary", (3,), (-3,))
def ternary(n: int):
    return n if n > 0 else -n, "neg" if n < 0 else "pos", (1.5 if n > 100 else 2.5) * n


@accept("is None, in, not in", (3,), (9,))
def membership(n: int):
    x = None if n > 5 else n
    return x is None, x is not None, n in (1, 2, 3), n not in [4, 9], n in {3: 1, 7: 2}, "b" in "abc"


@accept("is None, in, not in", ([1, 2], "ell"), ([], "xyz"), shown=False)
def membership_at_run_time(xs: list[int], s: str):
    return 2 in xs, 5 not in xs, s in "hello", s not in "hello", "" in s


@accept("f-strings", (3, 2.5), (-7, 1e20), (0, -0.0))
def formatted(n: int, x: float):
    return f"{n}|{x}|{n + 1:5d}|{n:<5}|{n:^7}|{n:>+6}|{n:05d}|{x:.3f}|{x:10.2e}|{x:g}|{x:+.1f}|{n:x}|{n:#b}|{n:,}|{x!r}"


@accept("f-strings", ("ab", 3), ("", 0))
def formatted_strings(s: str, n: int):
    return f"[{s:>6}] [{s:*^7}] [{s!r}] {n!s:>4} {{}} {'x' * 2}{s}", "{:d}-{}".format(n, s), "%d:%s" % (n, s)


@accept("f-strings", (0.1,), (1e16,), (1e-5,), (123456789.0,), (2.0,), (float("inf"),), (float("nan"),), shown=False)
def float_text(x: float):
    return str(x), repr(x), f"{x}", f"{x * 3}", f"{x:.0f}" if x == x and x < 1e17 else "", f"{x:%}"


@accept("comprehensions", (5,), (0,))
def comprehensions(n: int):
    squares = [i * i for i in range(n)]
    pairs = [(i, j) for i in range(3) for j in range(i) if i != j + 1 or i == 2]
    flat = [x for row in [[1, 2], [3], []] for x in row]
    odd = [i for i in squares if i % 2 if i > 2]
    return squares, pairs, flat, odd


@accept("comprehensions", ([1, 2, 3],), ([],), slow=True)
def dict_and_set_comprehensions(xs: list[int]):
    d = {x: x * x for x in xs if x != 2}
    s = {x % 2 for x in xs}
    e = {k: len(k) for k in ("a", "bb")}
    return d, len(s), 1 in s, e


@accept("comprehensions", (m,), slow=True)
def comprehensions_of_tensors(x):
    rows = [row * 2 for row in x]
    return ingot.stack([r + i for i, r in enumerate(rows) if i != 1]), sum([r.sum() for r in rows])


@accept("comprehensions", (4,), shown=False)
def scopes_of_comprehensions(n: int):
    i = 100
    xs = [i for i in range(n)]
    fs = [i + j for j in xs]
    return i, xs, fs, [[j * i for j in range(i)] for i in range(3)]


@accept("generator expressions", ([3, 1, 2],), ([5],), slow=True)
def generators(xs: list[int]):
    return (
        sum(x * x for x in xs),
        any(x > 2 for x in xs),
        all(x > 2 for x in xs),
        min(x + 1 for x in xs),
        max((-x for x in xs), default=0),
        list(x for x in xs if x != 1),
        tuple(x for x in (1, 2)),
        sorted(-x for x in xs),
        dict((k, 2 * k) for k in (1, 2)),
        sum((x * 0.5 for x in xs), 10.0),
    )


@accept("generator expressions", ([],), shown=False)
def generators_of_nothing(xs: list[int]):
    return sum(x for x in xs), any(x for x in xs), all(x for x in xs), max((x for x in xs), default=-1)


@accept("slicing", ([1, 2, 3, 4, 5], "abcdef"), ([], ""))
def slices(xs: list[int], s: str):
    t = (1, 2, 3, 4)
    return (
        xs[1:3], xs[::2], xs[::-1], xs[-2:], xs[:-1], xs[10:], xs[3:1], xs[4:0:-2],
        s[1:3], s[::-1], s[-2:], s[::2], s[5:1:-2], t[1:], t[::-1], t[:-2],
    )  # fmt: skip


@accept("slicing", ([1, 2, 3, 4, 5], 1, 4), ([1, 2], -1, 9), shown=False)
def slices_at_run_time(xs: list[int], a: int, b: int):
    return xs[a:b], xs[a:], xs[:b], xs[b:a:-1], xs[a::2]


@accept("slicing", ([1, 2, 3, 4],))
def slice_assignment(xs: list[int]):
    ys = xs[:]
    ys[1:3] = [7, 8, 9]
    ys[:0] = [0]
    zs = list(ys)
    zs[::2] = [5] * len(zs[::2])
    del zs[1:3]
    return xs, ys, zs


@accept("walrus", (5,), (50,))
def walrus(n: int):
    if (k := n * 2) > 20:
        return k
    while (n := n - 1) > 0:
        k += n
    ys = [y for x in range(3) if (y := x * k) > 10]
    return k, n, ys


@accept("unpacking in calls", (1, 2))
def unpacking(a: int, b: int):
    def f(x, y, z=10, *rest, k=1):
        return x + 2 * y + 3 * z + k * len(rest)

    args = (a, b)
    more = {"z": 5, "k": 7}
    return f(*args), f(*args, **more), f(1, *[2, 3], *(4, 5), k=2), [*args, 3], (0, *args), {**more, "q": 1}


@accept("builtins", ([3, 1, 2], 2.5), ([7], -2.5), slow=True)
def builtins_of_sequences(xs: list[int], x: float):
    return (
        len(xs), min(xs), max(xs), sum(xs), abs(x), round(x), sorted(xs), sorted(xs, reverse=True),
        sorted(xs, key=lambda q: -q), any(xs), all(xs), list(map(lambda q: q + 1, xs)),
        list(filter(lambda q: q > 1, xs)), list(range(3)), min(3, 1, 2), max(x, 1.0), list(reversed(xs)),
        list(enumerate("ab")), list(zip((1, 2), (3, 4))),
    )  # fmt: skip


@accept("builtins", (7, 2), (-7, 2), (7, -2))
def builtins_of_numbers(a: int, b: int):
    return (
        divmod(a, b), pow(a, 2), abs(a), int(a / b), float(a), bool(a), round(a / b), round(a / 3, 2), round(1234, -2),
        hash(a), str(a), int("12"), float("2.5"), int("ff", 16), ord("a"), chr(97), bin(5), hex(255), pow(a, 3, 5),
    )  # fmt: skip


@accept("builtins", ("12", "2.5"), (" -7 ", "1e3"), ("x", "1"), ("1", "y"))
def parsing(a: str, b: str):
    return int(a), float(b)


@accept("builtins", (5,), (0,))
def prints(n: int):
    print("start", n, 2.5, True, None)
    for i in range(n):
        if i == 2:
            print(i, end=";")
            print(i, "x", sep="-")
    print()
    print([1, n], (n,), f"{n:03d}")
    return n


@accept("builtins", (v,), native=True)
def prints_a_tensor(x):
    y = x + 1
    print("y:", y, y.shape)
    print(y.sum().item())
    return y * 2


@accept("builtins", (1,), shown=False)
def isinstance_and_hasattr(n: int):
    class_ok = isinstance(n, int) and not isinstance(n, (str, list))
    return class_ok, isinstance(2.5, float), hasattr(math, "pi"), hasattr(math, "nothing"), callable(len)


@accept("math", (2.5,), (0.5,))
def math_functions(x: float):
    return (
        math.sqrt(x), math.exp(x), math.log(x), math.log(x, 2), math.sin(x), math.cos(x), math.tanh(x), math.floor(x),
        math.ceil(x), math.pi * x, math.pow(x, 2), math.hypot(x, 3.0), math.fabs(-x), math.gcd(12, 18),
        math.factorial(5), math.isclose(x, x + 1e-12), math.isnan(x), math.trunc(-x), math.inf > x, math.fmod(x, 2),
        math.copysign(1.0, -x), math.degrees(x), math.atan2(x, 1.0), math.log2(x), math.log10(x), math.prod([2, 3]),
        math.isqrt(17), math.comb(5, 2), math.radians(x), math.modf(x), math.frexp(x), math.ldexp(x, 3),
    )  # fmt: skip


@accept("math", (-1.0,), (0.0,), (1e6,), shown=False)
def math_errors(x: float):
    if x < 0:
        return math.sqrt(x)
    if x == 0:
        return math.log(x)
    return math.exp(x)


@accept("lambdas", (3,))
def lambdas(n: int):
    double = lambda x: x * 2
    add = lambda a, b=1, *c, k=0: a + b + len(c) + k
    table = {"d": double, "a": add}
    return double(n), add(n), add(n, 2, 3, 4, k=5), table["d"](7), (lambda: n)(), [f(n) for f in (double, add)]


@accept("string methods", ("Hello World",), ("",), ("aXbXc",), slow=True)
def string_methods(s: str):
    return (
        s.upper(), s.lower(), s.strip(), s.split("X"), s.split(), s.replace("l", "L"), s.startswith("He"),
        s.endswith("c"), s.find("o"), s.count("l"), "-".join(["a", s]), s.isdigit(), s.title(), s.zfill(4), s * 2,
        s + "!", len(s), s == "aXbXc", s < "b", s.rjust(12, "."), s.center(13), s.lstrip("H"), s.partition("X"),
        s.isalpha(), s.swapcase(), s.capitalize(), s.ljust(3) + "|", s.rfind("o"), s.removeprefix("He"),
    )  # fmt: skip


@accept("string methods", ("abc", 1), ("abc", -1), ("abc", 7), shown=False)
def string_index(s: str, i: int):
    return s[i], ord(s[i]), s.index("c")


@accept("list methods", ([3, 1, 2],), slow=True)
def list_methods(xs: list[int]):
    ys = xs.copy()
    ys.append(4)
    ys.extend([5, 6])
    ys.insert(1, 9)
    a = ys.pop()
    b = ys.pop(0)
    ys.remove(9)
    ys.reverse()
    c = ys.index(4)
    d = ys.count(1)
    ys.sort()
    zs = sorted(ys, key=lambda q: -q)
    zs.sort(key=lambda q: q % 3, reverse=True)
    es = [1]
    es.clear()
    return ys, zs, a, b, c, d, es, xs + [1], xs * 2, xs == [3, 1, 2], xs < [4], [0] * 3


@accept("dict methods", ({"a": 1, "b": 2}, "a"), ({"c": 3, "a": 1}, "z"), slow=True)
def dict_methods(d: dict[str, int], k: str):
    e = dict(d)
    e["n"] = 5
    g = e.get(k)
    h = e.get(k, -1)
    p = e.pop("n")
    q = e.pop("missing", 0)
    s = e.setdefault("s", 8)
    e.update({"u": 9})
    return e, g, h, p, q, s, k in e, len(e), list(e.keys()), list(e.values()), list(e.items()), e.copy() == e


@accept("set methods", ([1, 2, 2, 3],), ([],), slow=True)
def set_methods(xs: list[int]):
    s = set(xs)
    s.add(7)
    s.discard(1)
    t = {2, 3, 4}
    return (
        len(s), 2 in s, sorted(s | t), sorted(s & t), sorted(s - t), sorted(s ^ t), s <= t, s.isdisjoint(t),
        sorted(s.union([9])), len(set()), s == {2, 3, 7}, sum(x for x in t),
    )  # fmt: skip
