"""Random programs of views, in-place writes, lists, branches and loops: the same as Python, or refused; never wrong."""

import linecache
import random
from typing import Any

import ingot
import pytest
from ingot import jit

TENSORS = ("x", "a", "b", "c")
HEAD = """\
def program(x, n, flag):
    k = n
    a = x.clone()
    b = a[:]
    c = x * 0.5
    r = x[0]
    items = []
"""


class Writer:
    """Writes one program; all choices come from the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []

    def tensor(self) -> str:
        return self.random.choice(TENSORS)

    def line(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def expression(self) -> str:
        t = self.tensor()
        forms = (f"{t} * 2", f"{t} + 1", f"{t}.clone()", t, f"{t}[::1]", f"{t}.view(3, 4)", f"{t}.reshape(3, 4)",
                 f"{t} + {self.tensor()} * 0.5", f"{t}.transpose(0, 1).transpose(0, 1)",
                 f"({t} if k % 2 else {self.tensor()})")  # fmt: skip
        return self.random.choice(forms)

    def simple(self, indent: int) -> None:
        choose, t = self.random.choice, self.tensor()
        index = choose(("0", "1", "-1", "k % 3", ":2", "1:", ":, 1", "0, 2"))
        forms = (
            f"{t} = {self.expression()}",
            f"{t} {choose(('+=', '*=', '-='))} {choose(('1', '2', 'k', self.tensor()))}",
            f"{t}[{index}] {choose(('=', '+=', '*='))} {choose(('3', 'k', '0.5'))}",
            f"r = {t}[{choose(('0', '1', 'k % 3'))}]",
            f"r {choose(('+= 1', '*= 3', '= r + 1'))}",
            f"{t}, {self.tensor()} = {self.tensor()}, {self.tensor()}",
            f"{t}.{choose(('add_(1)', 'mul_(2)', 'zero_()', 'fill_(k)'))}",
            f"items.append({t}{choose(('', '.clone()'))})",
            f"items = [{t}, {self.tensor()}]",
            f"k += {choose(('1', 'k', '2'))}",
        )
        self.line(indent, choose(forms))

    def statement(self, indent: int, depth: int, in_loop: bool) -> None:
        choice = self.random.random()
        if depth >= 3 or choice < 0.72:
            self.simple(indent)
        elif choice < 0.87:
            tests = ("k % 2", "k > 2", "flag", "flag and k % 3", "a.sum() > 10", "not flag")
            self.line(indent, f"if {self.random.choice(tests)}:")
            self.block(indent + 1, depth + 1, in_loop)
            if self.random.random() < 0.1:
                self.line(indent + 1, f"return {self.tensor()}, k")
            elif in_loop and self.random.random() < 0.25:
                self.line(indent + 1, self.random.choice(("break", "continue")))
            if self.random.random() < 0.6:
                self.line(indent, "else:")
                self.block(indent + 1, depth + 1, in_loop)
        else:
            self.line(indent, f"for i in {self.random.choice(('range(n)', 'range(2)', 'range(k % 4)', '(1, 2, 3)'))}:")
            self.line(indent + 1, "k += i")
            self.block(indent + 1, depth + 1, True)

    def block(self, indent: int, depth: int, in_loop: bool) -> None:
        for _ in range(self.random.randint(1, 3)):
            self.statement(indent, depth, in_loop)

    def program(self) -> str:
        for _ in range(self.random.randint(3, 7)):
            self.statement(1, 0, False)
        return HEAD + "\n".join(self.lines) + "\n    return x, a, b, c, r, k, items\n"


def made(seed: int) -> Any:
    """The program of a seed as a function whose source can be read."""
    source = Writer(seed).program()
    file = f"<random program {seed}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"ingot": ingot}
    exec(compile(source, file, "exec"), namespace)
    return namespace["program"]


@pytest.mark.parametrize("seeds", [range(start, start + 12) for start in (0, 100, 200, 300)], ids=str)
def test_random_programs(compare: Any, seeds: range) -> None:
    x = ingot.arange(12.0).reshape(3, 4)
    accepted = 0
    for seed in seeds:
        function = made(seed)
        try:
            compare(function, (x, 0, True), (x, 3, False), (x, 2, True))
        except jit.ScriptError as error:
            reason = str(error)
            assert "in place" in reason or "in-place" in reason or "a list" in reason, reason
        else:
            accepted += 1
    assert accepted >= 3
