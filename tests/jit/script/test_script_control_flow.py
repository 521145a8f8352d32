"""Branches, loops and the ways out of them behave as in Python."""

# The programs are as people write them, odd ones included.
# ruff: noqa: B007, F821, F841, UP031

from typing import Any

import ingot
import pytest
from ingot import jit
from ingot.jit.script import script

x3 = ingot.tensor([1.0, -2.0, 3.0])


def branches(n: int) -> Any:
    if n > 3:
        y = n * 2
    elif n > 1:
        y = n - 1
    else:
        y = 0
    return y + 1


def early_return(n: int) -> Any:
    if n < 0:
        return -1
    if n == 0:
        return 0
    for i in range(n):
        if i * i >= n:
            return i
    return n


def nested_break_continue(n: int) -> Any:
    total = 0
    for i in range(n):
        if i % 3 == 0:
            continue
        for j in range(i):
            if j == 4:
                break
            if j % 2:
                continue
            total += j
        else:
            total += 100
        total += i
    return total


def while_else(n: int) -> Any:
    k = n
    while k > 1:
        if k % 7 == 0:
            break
        k -= 1
    else:
        return ("none", n)
    return ("found", k)


def while_true(n: int) -> Any:
    steps = 0
    while True:
        if n == 1:
            return steps
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
        if steps > 50:
            break
    return -steps


def primes(n: int) -> Any:
    for i in range(2, n):
        for j in range(2, i):
            if i % j == 0:
                break
        else:
            if i > 20:
                return i
            continue
    return -1


def defined_in_loop(n: int) -> Any:
    for i in range(n):
        last = i * 2
    return last


def defined_in_branch(n: int) -> Any:
    if n > 0:
        y = n
    return y


def loop_variable_after(n: int) -> Any:
    for i in range(n):
        pass
    return i


def zero_iterations(n: int) -> Any:
    s = 5
    for i in range(n, 0):
        s += i
    while s > 100:
        s -= 1
    return s


def ranges(a: int, b: int, c: int) -> Any:
    s = 0
    for i in range(a, b, c):
        s = s * 3 + i
    return s


def backwards(n: int) -> Any:
    s = 0
    for i in range(n, -n, -3):
        s = s * 2 + i
    for i in reversed(range(2, n)):
        s -= i
    return s


def fibonacci(n: int) -> Any:
    a, b = 0, 1
    while n > 0:
        a, b, n = b, a + b, n - 1
    return a, b


def gcd(a: int, b: int) -> Any:
    while b:
        a, b = b, a % b
    return a


def chained(a: int, b: int, c: int) -> Any:
    return a < b <= c, a < b < c < 10, a > 1, a == b == c, not (a > b) or c != a


def short_circuit(a: int, b: int) -> Any:
    return (b != 0 and a // b > 1, a and b, a or b, (a == 0 or b // a > 0) and b)


def ternary(a: int, b: float) -> Any:
    return a if a > 2 else b, "big" if a > 2 else "small", None if a > 2 else a


def walrus(n: int) -> Any:
    total = 0
    while (half := n // 2) > 0:
        total += half
        n = half
    return total, (y := n + 1) * y


def boolean_state(n: int) -> Any:
    found = False
    where = None
    for i in range(n):
        if i * i == 49:
            found = True
            where = i
    if where is None:
        return found, -1
    return found, where * 2


def changing_type(n: int) -> Any:
    s = 0
    for i in range(n):
        s = s + i * 0.5
    return s


def int_or_float(n: int) -> Any:
    if n > 2:
        y = 1
    else:
        y = 0.5
    return y * 3, y + 1


def none_or_value(n: int) -> Any:
    best = None
    for i in range(n):
        v = (i * 7) % 5
        if best is None or v > best:
            best = v
    return best


def returns_mixed(n: int) -> Any:
    if n == 0:
        return None
    if n == 1:
        return "one"
    if n == 2:
        return (n, 2.0)
    return n


def falls_off(n: int) -> Any:
    if n > 2:
        return n


def shadowing(n: int) -> Any:
    len = n
    max = len + 1
    sum = [max, len]
    return sum[0] + sum[1]


def assigned_twice(n: int) -> Any:
    a = b = c = n
    a += 1
    b -= 1
    (d, e), *rest, f = (a, b), c, 4, 5
    return a, b, c, d, e, rest, f


def swapped(n: int) -> Any:
    a, b = 1, 2
    for _ in range(n):
        a, b = b, a
    return a, b


def deleted(n: int) -> Any:
    y = n
    del y
    if n > 0:
        y = 3
    return y


def dead_code(n: int) -> Any:
    return n
    return n + undefined_name


def nested_returns(a: int, b: int) -> Any:
    if a > 0:
        if b > 0:
            return 1
        a = -a
    else:
        if b > 0:
            return 2
    for i in range(b):
        if i > 3:
            return 10 + i
    return a


def break_then_else(n: int) -> Any:
    for i in (1, 2, 3):
        if i == n:
            break
    else:
        return "no"
    return i


def continue_in_unrolled(n: int) -> Any:
    out = 0
    for i in (1, 2, 3, 4):
        if i == n:
            continue
        if i > n + 1:
            return out, i
        out += i
    return out


def deep(n: int) -> Any:
    c = 0
    for i in range(n):
        for j in range(i):
            for k in range(j):
                if (i + j + k) % 4 == 0:
                    if k > 2:
                        break
                    c += 1
                elif i == j + 1:
                    continue
                else:
                    c += k
    return c


def undefined_until(n: int) -> Any:
    first = True
    total = 0
    for i in range(n):
        if first:
            y = i + 10
            first = False
        else:
            total += y
            y = i
    return total


def bad_first(n: int) -> Any:
    for i in range(n):
        if i > 0:
            return y
        if n > 5:
            y = 1
    return 0


class CustomError(ValueError):
    pass


def raising(n: int) -> Any:
    if n == 0:
        raise CustomError("zero")
    if n == 1:
        raise KeyError("k")
    if n == 2:
        raise RuntimeError(f"given {n} and {n > 1}")
    for i in range(n):
        if i == 7:
            raise IndexError("seven: %d" % 7)
    return n


def always_raises(n: int) -> Any:
    raise NotImplementedError("not " + "here")


def nothing(n: int) -> Any:
    """Only a docstring."""


CASES = [
    (branches, [(0,), (2,), (9,)]),
    (early_return, [(-4,), (0,), (10,), (1,)]),
    (nested_break_continue, [(0,), (1,), (12,)]),
    (while_else, [(30,), (5,), (0,)]),
    (while_true, [(1,), (6,), (27,)]),
    (primes, [(0,), (10,), (40,)]),
    (defined_in_loop, [(3,), (0,)]),
    (defined_in_branch, [(3,), (0,)]),
    (loop_variable_after, [(3,), (0,)]),
    (zero_iterations, [(3,), (-2,)]),
    (ranges, [(0, 10, 3), (10, 0, -3), (5, 5, 1), (0, 4, -1), (0, 7, 0), (-3, 9, 5)]),
    (backwards, [(5,), (0,), (2,)]),
    (fibonacci, [(0,), (1,), (30,)]),
    (gcd, [(12, 18), (17, 5), (0, 0), (-12, 18)]),
    (chained, [(1, 2, 3), (3, 2, 1), (2, 2, 2)]),
    (short_circuit, [(4, 2), (0, 3), (3, 0)]),
    (ternary, [(1, 0.5), (5, 0.5)]),
    (walrus, [(20,), (0,)]),
    (boolean_state, [(3,), (9,)]),
    (changing_type, [(0,), (1,), (5,)]),
    (int_or_float, [(1,), (5,)]),
    (none_or_value, [(0,), (1,), (6,)]),
    (returns_mixed, [(0,), (1,), (2,), (3,)]),
    (falls_off, [(1,), (3,)]),
    (shadowing, [(3,)]),
    (assigned_twice, [(3,)]),
    (swapped, [(0,), (1,), (2,)]),
    (deleted, [(1,), (0,)]),
    (dead_code, [(1,)]),
    (nested_returns, [(1, 1), (1, 0), (0, 1), (-1, 0), (-1, -9)]),
    (break_then_else, [(2,), (3,), (9,)]),
    (continue_in_unrolled, [(0,), (1,), (3,), (9,)]),
    (deep, [(0,), (7,), (9,)]),
    (undefined_until, [(0,), (1,), (5,)]),
    (bad_first, [(0,), (1,), (4,), (7,)]),
    (raising, [(0,), (1,), (2,), (5,), (9,)]),
    (always_raises, [(1,)]),
    (nothing, [(1,)]),
]


@pytest.mark.parametrize(("function", "calls"), CASES, ids=[f.__name__ for f, _ in CASES])
def test_same_as_python(compare: Any, function: Any, calls: Any) -> None:
    scripted = compare(function, *calls)
    assert scripted.specialisations


def test_an_int_condition_and_a_float_condition(compare: Any) -> None:
    def count(v: Any) -> Any:
        k = 0
        while v:
            v = v - 1
            k += 1
        return k

    compare(count, (3,), (0,), (2.0,))


def test_the_condition_of_a_tensor_is_its_only_element(compare: Any) -> None:
    def halve(x: Any) -> Any:
        n = 0
        while x.abs().sum() > 1:
            x = x / 2
            n += 1
        if x[0] > 0:
            return x, n
        return -x, n

    compare(halve, (x3,), (x3 * 100,), (x3 * 0,))


def test_straight_code_makes_no_branches(compare: Any) -> None:
    def f(x: Any, flag: bool = True) -> Any:
        if True and 3 > 2:
            x = x + 1
        return x if None is None else flag

    scripted = compare(f, (x3,))
    assert "if" not in {i.op.name for i in scripted.graph.walk()}


def test_assertions_raise_with_their_message() -> None:
    # pytest rewrites the assertions of this file when it runs them, but not the source that is compiled.
    @script
    def checked(n: int) -> Any:
        assert n > 0, f"n is {n}"
        assert n < 100
        return n

    with jit.executor("interpreter"):
        assert checked(5) == 5
        for n, message in ((-1, "n is -1"), (100, "")):
            with pytest.raises(AssertionError) as caught:
                checked(n)
            assert str(caught.value) == message
