"""Random programs of numbers, strings, lists and dicts with every kind of statement: the same as in Python."""

import linecache
import random
from typing import Any

import pytest
from ingot import jit

HEAD = """\
class Problem(ValueError):
    pass


def helper(p: int):
    if p % 5 == 3:
        raise Problem(f"helper {p}")
    return p * 2 - 1


def program(n: int, m: int):
    a, b, c = n, m, 1
    s = "ab"
    xs = [n, 2]
    d = {"k": 1, "z": m}
"""
TAIL = "    return a, b, c, s, xs, d\n"


class Writer:
    """Writes one program; all choices come from the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.budget = 34

    def pick(self, *options: str) -> str:
        return self.random.choice(options)

    def line(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def name(self) -> str:
        return self.pick("a", "b", "c")

    def number(self) -> str:
        v, w = self.name(), self.name()
        return self.pick(
            v, f"{v} + {w}", f"{v} - {w}", f"{v} % 7", f"{v} * 2 % 11", f"{v} // ({w} % 3)", f"{v} % ({w} % 4)",
            f"len(s) + {v}", f"xs[{v} % 4]", "xs[-1]", "sum(xs) % 100", f"abs({v})", f"max({v}, {w})",
            f"d['k'] + {v} % 3",
            f"d.get({self.key()}, 5)", f"d[{self.key()}]", f"({v} if {self.test()} else {w})", "len(xs)", "len(d)",
            f"helper({v} % 9)", "min(xs) % 50", f"int({v} * 0.5)", f"ord(s[{v} % 2])", f"s.count({self.text()}[:1])",
            f"({v} and {w})", f"({v} or {w})", f"divmod({v}, 5)[1]", f"round({v} / 3)", str(self.random.randint(-3, 9)),
        )  # fmt: skip

    def key(self) -> str:
        return self.pick("'k'", "'z'", "'q'", "s[:1]")

    def text(self) -> str:
        v = self.name()
        return self.pick(
            "s", "'x'", f"str({v} % 13)", f"f'{{{v} % 9:03d}}'", "s[::-1]", "s[1:]", "s.upper()[:4]", "(s + 'y')",
            f"s[{v} % 3:]", "'-'.join([s[:2], 'w'])", "s.replace('a', 'cc')[:6]", f"('ab' * ({v} % 3))",
        )  # fmt: skip

    def test(self) -> str:
        v, w = self.name(), self.name()
        return self.pick(
            f"{v} > {w}", f"{v} % 3 == 1", f"{v} in xs", "'a' in s", f"{self.key()} in d", f"0 < {v} < 9", "not xs",
            f"{v} > 2 and {w} < 5", f"{v} == 0 or {w} != 1", "len(s) > 3", f"s < {self.text()}", "s.startswith('a')",
        )  # fmt: skip

    def simple(self, indent: int, in_loop: bool) -> None:
        v = self.name()
        if in_loop and self.random.random() < 0.1:
            self.line(indent, f"if {self.test()}:")
            self.line(indent + 1, self.pick("break", "continue"))
            return
        if self.random.random() < 0.06:
            self.line(indent, f"if {self.test()}:")
            exits = ("return a, b, c, s, xs, d", f"raise Problem('p' + str({v} % 5))", "raise KeyError(s)")
            self.line(indent + 1, self.pick(*exits))
            return
        self.line(
            indent,
            self.pick(
                f"{v} = {self.number()}", f"{v} = {self.number()}", f"{v} {self.pick('+=', '-=')} {self.number()}",
                f"{v} = ({self.number()}) % 97", f"{v}, {self.name()} = {self.name()}, {self.number()}",
                f"xs.append(({self.number()}) % 50)", "xs = xs[-3:]", f"xs[{v} % 3] = {self.name()} % 60",
                f"xs.insert(0, {v} % 20)", "xs.reverse()", "xs.sort()", f"xs = [x + {v} % 4 for x in xs if x != 7][:4]",
                f"d[{self.key()}] = ({self.number()}) % 80", f"d['k'] += {v} % 6", f"d.pop({self.key()}, None)",
                f"s = ({self.text()})[:8]", f"s += {self.text()}[:2]", "s = s[-5:]", f"assert {v} < 500, s",
                f"{v} = sum(i * {self.random.randint(1, 3)} for i in range({self.name()} % 5))", "del d['k']",
                f"{v} = (t := {self.number()}) % 9 + t % 3", f"{v} = len([y for y in s if y != 'a'])",
            ),
        )  # fmt: skip

    def statement(self, indent: int, depth: int, in_loop: bool) -> None:
        self.budget -= 1
        choice = self.random.random()
        if depth >= 3 or self.budget < 0 or choice < 0.5:
            self.simple(indent, in_loop)
        elif choice < 0.62:
            self.line(indent, f"if {self.test()}:")
            self.block(indent + 1, depth + 1, in_loop)
            if self.random.random() < 0.5:
                self.line(indent, self.pick("else:", f"elif {self.test()}:"))
                self.block(indent + 1, depth + 1, in_loop)
        elif choice < 0.74:
            loop = (
                "for i in range({0} % 4):", "for i in xs[:3]:", "for i, ch in enumerate(s[:3]):",
                "for i in (1, 2):", "for i in list(d.values())[:2]:", "for i, x in zip(range(3), list(xs)):",
            )  # fmt: skip
            self.line(indent, self.pick(*loop).format(self.name()))
            self.line(indent + 1, f"{self.name()} += i % 10")
            self.block(indent + 1, depth + 1, True)
            self.orelse(indent, depth, in_loop)
        elif choice < 0.8:
            k = f"w{len(self.lines)}"
            self.line(indent, f"{k} = {self.name()} % 4")
            self.line(indent, f"while {k} > 0:")
            self.line(indent + 1, f"{k} -= 1")
            self.block(indent + 1, depth + 1, True)
            self.orelse(indent, depth, in_loop)
        elif choice < 0.93:
            self.attempt(indent, depth, in_loop)
        else:
            self.match(indent, depth, in_loop)

    def orelse(self, indent: int, depth: int, in_loop: bool) -> None:
        if self.random.random() < 0.3:
            self.line(indent, "else:")
            self.block(indent + 1, depth + 1, in_loop)

    def attempt(self, indent: int, depth: int, in_loop: bool) -> None:
        self.line(indent, "try:")
        self.block(indent + 1, depth + 1, in_loop)
        kinds = ["ZeroDivisionError", "IndexError", "KeyError", "Problem as e", "(ValueError, LookupError) as e",
                 "Exception as e"]  # fmt: skip
        handlers = self.random.sample(kinds, self.random.randint(0, 2))
        for kind in handlers:
            self.line(indent, f"except {kind}:")
            if kind.endswith("as e") and self.random.random() < 0.5:
                self.line(indent + 1, "s += str(e)[:3]")
            self.block(indent + 1, depth + 1, in_loop)
            if self.random.random() < 0.15:
                self.line(indent + 1, "raise")
        if handlers and self.random.random() < 0.3:
            self.line(indent, "else:")
            self.block(indent + 1, depth + 1, in_loop)
        if not handlers or self.random.random() < 0.3:
            self.line(indent, "finally:")
            self.block(indent + 1, depth + 1, False)

    def match(self, indent: int, depth: int, in_loop: bool) -> None:
        subject, cases = self.random.choice(
            (
                (f"{self.name()} % 4", ("0", "1 | 2", "k if k > 5", "k")),
                ("s[:2]", ("'ab'", "'x' | 'y'", "''", "_")),
                (f"({self.name()} % 3, {self.name()} % 2)", ("(0, y)", "(x, 1)", "(1 | 2 as x, 0)", "_")),
                ("xs", ("[]", "[x]", "[x, y]", "[x, *rest]")),
            )
        )
        self.line(indent, f"match {subject}:")
        for case in self.random.sample(cases, self.random.randint(1, 3)):
            if case in ("k", "_"):
                continue
            self.line(indent + 1, f"case {case}:")
            self.block(indent + 2, depth + 1, in_loop)
        self.line(indent + 1, "case _:")
        self.block(indent + 2, depth + 1, in_loop)

    def block(self, indent: int, depth: int, in_loop: bool) -> None:
        for _ in range(self.random.randint(1, 2)):
            self.statement(indent, depth, in_loop)

    def program(self) -> str:
        for _ in range(self.random.randint(3, 6)):
            self.statement(1, 0, False)
        return HEAD + "\n".join(self.lines) + "\n" + TAIL


def made(seed: int) -> Any:
    """The program of a seed as a function whose source can be read."""
    source = Writer(seed).program()
    file = f"<random statements {seed}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": f"random_statements_{seed}"}
    # Source that this file wrote.
    exec(compile(source, file, "exec"), namespace)
    return namespace["program"]


def outcome(function: Any, arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except jit.ScriptError:
        raise
    except Exception as error:
        return type(error), str(error)


CALLS = ((0, 0), (3, 4), (7, -2), (12, 5))


def check(seed: int, executors: tuple[str, ...]) -> bool:
    """Compare a program with Python; whether it was accepted."""
    function = made(seed)
    for name in executors:
        scripted = jit.script(function)
        with jit.executor(name):
            for call in CALLS:
                expected = outcome(function, call)
                try:
                    got = outcome(scripted, call)
                except jit.ScriptError:
                    return False
                if not expected_overflow(expected):
                    assert got == expected, f"seed {seed}, {name}, {call}: expected {expected}, got {got}"
    return True


def expected_overflow(value: Any) -> bool:
    """Whether Python's ints went where those of compiled programs do not."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return any(map(expected_overflow, value))
    return type(value) is int and not -(1 << 63) <= value < 1 << 63


@pytest.mark.parametrize("seeds", [range(0, 20), range(20, 40)], ids=str)
def test_random_statements(seeds: range) -> None:
    accepted = sum(check(seed, ("interpreter",)) for seed in seeds)
    assert accepted >= len(seeds) // 2


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(100, 110)], ids=str)
def test_random_statements_natively(seeds: range) -> None:
    accepted = sum(check(seed, ("interpreter", "native")) for seed in seeds)
    assert accepted >= len(seeds) // 2
