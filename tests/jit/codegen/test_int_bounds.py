"""What is known of ints without running: which are not negative, and that code relying on it computes the same."""

from typing import Any

import pytest
from ingot import ir, jit
from ingot.jit.codegen.bits import count_quotient, count_remainder, is_outside
from ingot.jit.codegen.bounds import highest_values, lowest, nonnegative_values

GRAPH = """graph @f(%n: int, %c: bool) -> (int, int) {
  %zero: int<0> = constant() {value=0}
  %one: int<1> = constant() {value=1}
  %minus: int<-1> = constant() {value=-1}
  %two: int<2> = constant() {value=2}
  %big: int = scalar.max(%n, %one)
  %up: int, %down: int, %x: int, %y: int = loop(%n, %c, %zero, %two, %one, %big)
      (%i: int, %a: int, %b: int, %p: int, %q: int) {
    %a1: int = scalar.add(%a, %i)
    %b1: int = scalar.sub(%b, %one)
    %r: int = scalar.mod(%p, %q)
    %item: int = scalar.range_item(%big, %i, %minus, %zero)
    %back: int = scalar.sub(%item, %one)
    yield(%c, %a1, %b1, %q, %r)
  }
  return(%up, %down)
}"""


def test_which_ints_are_not_negative() -> None:
    graph = ir.parse(GRAPH)
    known = {v.name for v in nonnegative_values(graph.block) if v.name}
    assert {"up", "a", "a1", "i", "x", "y", "p", "q", "r", "big", "item", "back"} <= known
    assert known.isdisjoint({"n", "minus", "down", "b", "b1"})
    loop = next(i for i in graph.walk() if i.op.name == "loop")
    back = next(r for i in loop.regions[0].walk() for r in i.results if r.name == "back")
    assert lowest(back) == 0


def test_primitives() -> None:
    assert [is_outside(i, 3) for i in (-(1 << 62), -1, 0, 2, 3)] == [True, True, False, False, True]
    assert (count_quotient(9, 4), count_remainder(9, 4)) == (2, 1)


def gcd(a: int, b: int) -> int:
    x, y = a, b
    while y != 0:
        x, y = y, x % y
    return x


def gcd_of_counts(a: int, b: int) -> int:
    x, y = max(a, 0), max(b, 1)
    while y != 0:
        x, y = y, x % y
    return x * 100 + max(a, 0) // max(b, 1)


def turns_negative(n: int) -> int:
    k = 4
    total = 0
    for _ in range(n):
        total += k % 3 + k // 2 + (7 - k) % 5
        k -= 3
    return total


def from_the_end(xs: list[int], n: int) -> int:
    total = 0
    for i in range(n, -n - 1, -1):
        total = total * 3 + xs[i]
    for i in range(len(xs) - 1, n - 1, -1):
        total += xs[i - n] * xs[i]
    return total


PROGRAMS: list[tuple[Any, list[tuple[Any, ...]]]] = [
    (gcd, [(12, 18), (-12, 18), (12, -18), (-7, -3), (5, 0)]),
    (gcd_of_counts, [(12, 18), (-12, 18), (35, 14), (0, 0), (1 << 62, 3)]),
    (turns_negative, [(0,), (1,), (7,)]),
    (from_the_end, [([1, 2, 3, 4], 2), ([1, 2, 3], 0), ([1, 2, 3], 3), ([5, 6, 7], 1), ([], 0)]),
]


@pytest.mark.parametrize(("function", "calls"), PROGRAMS, ids=lambda p: getattr(p, "__name__", ""))
def test_signs_and_indices_are_pythons(function: Any, calls: list[tuple[Any, ...]]) -> None:
    def outcome(run: Any, arguments: tuple[Any, ...]) -> Any:
        try:
            return run(*arguments)
        except IndexError as error:
            return repr(error)

    scripted = jit.script(function)
    for executor in ("python", "native"):
        with jit.executor(executor):
            for arguments in calls:
                assert outcome(scripted, arguments) == outcome(function, arguments), (executor, arguments)


def remainders(n: int, modulus: int) -> int:
    state, other, total = 12345, 1, 0
    for i in range(n):
        state = (state * 1103515245 + 12345) % 2147483648
        other = (other * (state & 1023)) % 4294967296 if i % 2 else min(other, 7)
        total = (total * 3 + state // 5) % 1000000007
    return total * 10 + other % 10 + (total + n) % modulus


def grows(n: int) -> int:
    x = 1
    for _ in range(n):
        x = x * 3 + 1
    return x


def grows_late(n: int) -> int:
    a, b, c, d, e = 1, 1, 1, 1, 1
    for _ in range(n):
        a, b, c, d, e = b, c, d, e, e * 2
    return a * 2 + e


def test_what_is_bounded_needs_no_checks() -> None:
    compiled = jit.script(remainders)
    for n, modulus in ((0, 3), (1, 5), (1000, 7)):
        assert compiled(n, modulus) == remainders(n, modulus)
    source = compiled.kernel_source()
    assert source.count("product_overflows(") == 1 and "* 10" in source  # what the loop computes is bounded


@pytest.mark.parametrize("function", [grows, grows_late])
def test_what_grows_in_a_loop_is_checked(function: Any) -> None:
    compiled = jit.script(function)
    assert compiled(20) == function(20)
    with pytest.raises(OverflowError):
        compiled(100)


def test_upper_bounds() -> None:
    text = """graph @f(%n: int, %c: bool) -> (int, int) {
  %zero: int<0> = constant() {value=0}
  %five: int<5> = constant() {value=5}
  %x: int, %y: int, %z: int = loop(%n, %c, %zero, %five, %zero) (%i: int, %a: int, %b: int, %d: int) {
    %a1: int = scalar.mod(%i, %five)
    %b1: int = scalar.mul(%a, %b)
    %b2: int = scalar.min(%b1, %five)
    %d1: int = scalar.add(%d, %five)
    yield(%c, %a1, %b2, %d1)
  }
  return(%x, %y)
}"""
    graph = ir.parse(text)
    bounds = {v.name: k for v, k in highest_values(graph.block, nonnegative_values(graph.block)).items() if v.name}
    assert bounds["a"] == 4 and bounds["b"] == 5 and bounds["b1"] == 20 and bounds["x"] == 4
    assert bounds.keys().isdisjoint({"d", "d1", "z", "i", "n"})


def counts(n: int, k: int) -> int:
    odd, even, twice = 0, 0, 0
    for i in range(n):
        if i % k == 1:
            odd += 1
        elif i > 3:
            even += 1
            twice += 2
    return odd * 100 + even + twice


def starts_high(n: int, start: int) -> int:
    count = start
    for i in range(n):
        if i % 2 == 0:
            count += 1
    return count


def test_counts_of_rounds_need_no_checks() -> None:
    compiled = jit.script(counts)
    assert [compiled(n, 3) for n in (0, 1, 100)] == [counts(n, 3) for n in (0, 1, 100)]
    assert compiled.kernel_source().count("if sum_overflows(") == 3  # of `twice`, and two of the result
    compiled = jit.script(starts_high)
    assert compiled(5, 10) == 13
    with pytest.raises(OverflowError):
        compiled(5, (1 << 63) - 2)
