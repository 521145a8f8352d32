"""Strings, dicts, sets, nested lists and arguments of run time: compared with Python on all executors."""

import copy
import warnings
from typing import Any, NamedTuple

import ingot
import pytest
from ingot import jit


class Point(NamedTuple):
    x: int
    y: float


def letters(n: int) -> str:
    text = ""
    for i in range(n):
        text = text + chr(97 + i % 26)
    return text


def text_methods(n: int) -> Any:
    s = letters(n)
    t = s[2:7] + s[::-1] + s[-3:]
    u = t.upper().replace("C", "zz").strip("A")
    a, b, c = (s + "=b=c").partition("=")
    words = (s + "  hello  World 42\n").split()
    padded = [w.zfill(5) if w.isdigit() else w.title().center(11, "*") for w in words]
    found = u.find("zz"), "CDE" in t, t.startswith("cd"), t.endswith(("x", "e")), t.count("c"), u.rfind("Z")
    return t, u, found, s.split("c"), s * 2, a, b, c, padded, "-".join(padded), max(words), sorted(words), s < "b"


def characters(n: int) -> Any:
    s = letters(n)
    k = 0
    for c in s:
        if c == "a" or c > "x":
            k += ord(c)
    for i, c in enumerate(s):
        if c in "aeiou":
            k += i
    return k, hash(n), hash(2.5 * n), s[n]


def counting(n: int) -> Any:
    d = {}
    for i in range(n):
        k = i * 7 % 5
        d[k] = d.get(k, 0) + i
    total = 0
    for k, v in d.items():
        total += k * v
    return d, total, len(d), 3 in d, list(d.keys()), d.pop(0, -1), d.pop(99, -1), d, d[77]


def words(n: int) -> Any:
    counts = {}
    for w in " ".join([chr(97 + i * i % 7) for i in range(n)]).split():
        counts[w] = counts.get(w, 0) + 1
    best = max(counts, key=lambda k: counts[k])
    order = sorted(counts.items(), key=lambda p: (-p[1], p[0]))
    return counts, best, {v: k for k, v in counts.items()}, order, counts == dict(order)


def nested(n: int) -> Any:
    groups = {}
    for i in range(n):
        groups.setdefault(i % 3, []).append(i)
    squares = {}
    for k in groups:
        squares[k] = {}
        for x in groups[k]:
            squares[k][x] = x * x
    rows = [[] for _ in range(n)]
    for i in range(n):
        rows[i].append(i)
        rows[0].append(-i)
    alias = rows[0]
    alias.append(100)
    return groups, squares, rows, [len(v) for v in groups.values()], rows[0] is alias


def sets(n: int) -> Any:
    s = set()
    for i in range(n):
        s.add(i * i % 11)
    t = {x for x in range(0, n, 2)}
    order = [y for y in s | t]
    result = (
        s & t,
        s - t,
        s ^ t,
        t <= s,
        s == t,
        3 in s,
        max(s),
        sum(s),
        order,
        list(s ^ t),
        {1.5 * i for i in range(n)},
    )
    s.discard(4)
    s.remove(1)
    first = s.pop()
    s.remove(1000)
    return result, first


def list_methods(n: int) -> Any:
    a = [i * 3 % 7 for i in range(n)]
    b = sorted(a, key=lambda v: -v)
    a.sort()
    c = a[1:3]
    c[0] = 99
    a[1:2] = [7, 8, 9]
    del a[0]
    a.remove(9)
    a.insert(1, 55)
    a += b
    a.extend(c)
    a *= 2
    flags = [False] * n
    flags[2] = True
    flags.reverse()
    return a, b, c, a.index(55), a.count(7), 8 in a, c < b, a[::-2], flags, flags.count(True)


def records(n: int) -> Any:
    points = [Point(i, i * 2.0) for i in range(n)]
    points.append(Point(x=9, y=1.0)._replace(y=5.0))
    total = 0.0
    for p in points:
        total += p.x * p.y
    maybe = [i if i % 2 == 0 else None for i in range(n)]
    for x in maybe:
        if x is not None:
            total += x
    return total, points[1].x, len(points), maybe


def changed_arguments(xs: Any, d: Any, s: str, t: Any) -> Any:
    for i in range(len(xs)):
        xs[i] = xs[i] * 2
    xs.append(100)
    d[s] = len(xs)
    t.add(s + "!")
    if len(xs) > 4:
        raise ValueError("too long: " + str(len(xs)))
    return xs, d[s], s in t


def shared(a: Any, b: Any) -> Any:
    a.append(9)
    return len(b), a is b


SHARED = [1]
CASES = [
    (text_methods, (10,)), (text_methods, (7,)), (characters, (30,)), (counting, (7,)), (words, (9,)), (nested, (7,)),
    (sets, (7,)), (sets, (24,)), (list_methods, (7,)), (records, (5,)),
    (changed_arguments, ([1, 2, 3], {"a": 1}, "b", {"x"})), (changed_arguments, ([1, 2, 3, 4], {"a": 1}, "é", {"x"})),
    (shared, (SHARED, SHARED)),
]  # fmt: skip


def outcome(function: Any, arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize(("function", "arguments"), CASES, ids=lambda c: getattr(c, "__name__", ""))
def test_same_as_python_on_all_executors(function: Any, arguments: Any) -> None:
    given = copy.deepcopy(arguments)
    expected = outcome(function, given)
    for name in ("interpreter", "python", "native"):
        ours = copy.deepcopy(arguments)
        with jit.executor(name), warnings.catch_warnings():
            warnings.simplefilter("error", jit.FallbackWarning)
            assert outcome(jit.script(function), ours) == expected, name
        assert ours == given, name


def test_one_graph_for_all_lengths_and_the_same_object_back() -> None:
    def same(items: Any, text: str) -> Any:
        items.append(len(text))
        return items

    scripted = jit.script(same)
    scripted([1], "a")
    with jit.no_compile():
        items = [1, 2, 3]
        assert scripted(items, "abcd") is items
    assert items == [1, 2, 3, 4]


def test_letters_beyond_ascii_have_the_case_that_python_gives_them() -> None:
    def upper(text: str) -> str:
        return text.upper() + "!"

    scripted = jit.script(upper)
    assert scripted("abc") == "ABC!"
    assert scripted("straße") == "STRASSE!"


def test_a_string_that_names_a_mode_is_a_constant() -> None:
    def resize(x: Any, mode: str) -> Any:
        return ingot.nn.functional.interpolate(x, scale_factor=2, mode=mode)

    x = ingot.ones(1, 1, 2, 2)
    with jit.executor("interpreter"):
        assert ingot.equal(jit.script(resize)(x, "nearest"), resize(x, "nearest"))


def test_hooks_of_modules() -> None:
    layer = ingot.nn.Linear(2, 2)
    layer.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    layer.register_forward_hook(lambda module, args, output: output + args[0].sum())
    x = ingot.ones(1, 2)
    with jit.executor("interpreter"):
        assert ingot.allclose(jit.script(ingot.nn.Sequential(layer))(x), layer(x))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers_are_one_loop(kind: str) -> None:
    layer = getattr(ingot.nn, kind)(3, 4, 2, batch_first=True, bidirectional=True)
    scripted = jit.script(layer)
    with jit.executor("interpreter"):
        for steps in (3, 5):
            x = ingot.randn(2, steps, 3)
            assert ingot.allclose(scripted(x)[0], layer(x)[0], atol=1e-5)
