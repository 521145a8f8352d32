"""Exceptions: raised, caught, with their types, arguments and lines."""

# The programs are as people write them, odd ones included.
# ruff: noqa

import ingot
from conformance_table import accept

v = ingot.tensor([1.0, 2.0, 3.0])


class ShapeProblem(ValueError):
    """A user's exception."""


class Located(Exception):
    def __init__(self, where: int, what: str) -> None:
        super().__init__(where, what)
        self.where = where
        self.what = what


@accept("try", (7, 2), (7, 0))
def divide(a: int, b: int):
    try:
        q = a // b
    except ZeroDivisionError:
        q = -1
    return q


@accept("try", ([1, 2, 3], 1), ([1, 2, 3], 9), ([1, 2, 3], -4))
def item_or_default(xs: list[int], i: int):
    try:
        return xs[i]
    except IndexError:
        return 0


@accept("try", ({"a": 1}, "a"), ({"a": 1}, "b"))
def key_or_default(d: dict[str, int], key: str):
    try:
        return d[key]
    except KeyError:
        return -1


@accept("try", (0,), (1,), (2,), (3,), (4,))
def which_handler(n: int):
    log = []
    try:
        log.append(1)
        if n == 1:
            raise ValueError("one")
        elif n == 2:
            raise ShapeProblem("two")
        elif n == 3:
            raise KeyError("three")
        log.append(2)
        if n == 4:
            log.append(10 // (n - 4))
    except ShapeProblem:
        log.append(3)
    except (ValueError, ZeroDivisionError) as e:
        log.append(4)
    except LookupError:
        log.append(5)
    else:
        log.append(6)
    finally:
        log.append(7)
    return log


@accept("try", (1,), (0,))
def message_of_a_caught_exception(n: int):
    try:
        if n:
            raise ValueError("a message")
        return "none"
    except ValueError as e:
        return str(e)


@accept("try", (0,), (5,))
def changes_before_the_exception_stay(n: int):
    total = 0
    seen = []
    try:
        for i in range(10):
            total += i
            seen.append(i)
            if i == n:
                raise ValueError
            total = total * 2 // (3 - i)
    except ValueError:
        total += 1000
    except ZeroDivisionError:
        total += 5000
    return total, seen


@accept("try", (1,), (2,), (3,))
def raise_again(n: int):
    try:
        try:
            if n == 1:
                raise ValueError("one")
            if n == 2:
                raise KeyError("two")
        except ValueError:
            raise
        except KeyError as e:
            raise RuntimeError("three") from e
    except ValueError as e:
        return 10
    return n


@accept("try", (0,), (1,), (2,), (3,))
def finally_always_runs(n: int):
    out = []
    for i in range(3):
        try:
            if n == 1:
                continue
            if n == 2:
                break
            out.append(i // n)
        except ZeroDivisionError:
            out.append(-1)
        finally:
            out.append(100)
    return out


@accept("try", (1,), (0,))
def finally_with_return(n: int):
    out = [0]
    try:
        try:
            return out[n]
        finally:
            out.append(5)
    except IndexError:
        return len(out)


@accept("try", (1,), (0,), shown=False)
def return_in_finally(n: int):
    try:
        n = 10 // n
    finally:
        return n


def risky(n: int):
    if n > 2:
        raise ShapeProblem("too deep")
    return n * 2


@accept("try", (1,), (3,))
def exceptions_of_called_functions(n: int):
    results = []
    try:
        results.append(risky(n - 1))
        results.append(risky(n) + risky(n + 1))
    except ShapeProblem as e:
        results.append(-1)
    return results


@accept("try", (1,), (0,), (-1,), shown=False)
def exceptions_that_nobody_catches(n: int):
    try:
        if n < 0:
            raise Located(n, "negative")
        return 1 // n
    except KeyError:
        return 0


@accept("try", (v, 1), (v, 7))
def tensors_and_exceptions(x, i: int):
    y = x * 2
    try:
        y = y + 1
        y = y * x[i]
    except IndexError:
        y = y - 5
    return y


@accept("try", (3,), (0,), shown=False)
def bare_except(n: int):
    try:
        n = 6 // n
    except:  # noqa: E722
        n = 99
    return n


@accept("try", (3,), (0,), shown=False)
def except_exception(n: int):
    try:
        assert n, "no n"
        n = 6 // n
    except Exception as e:
        n = len(e.args)
    return n


@accept("try", (5,), shown=False)
def try_in_a_loop_with_state(n: int):
    good, bad = 0, 0
    for i in range(n):
        k = i - 2
        try:
            good += 100 // k
        except ZeroDivisionError:
            bad += 1
            continue
        else:
            good += 1
        finally:
            bad += 10
        good += 2
    return good, bad


@accept("the exception's own type and arguments", (3,), (-3,))
def own_exception(n: int):
    if n < 0:
        raise Located(n, "is negative")
    raise ShapeProblem(f"size {n} of {n + 1}")


@accept("the exception's own type and arguments", (0,), (1,), (2,), (4,), (6,))
def native_exceptions(n: int):
    xs = [1, 2, 3]
    if n == 0:
        return 1 // n
    if n == 1:
        return 5 % (n - 1)
    if n == 2:
        return xs[n + 1]
    if n == 4:
        return 1 << (n - 5)
    return 1.0 / (n - 6)


@accept("the exception's own type and arguments", (1,), shown=False)
def several_arguments(n: int):
    raise ValueError("bad", n, 2.5)


def inner_check(n: int) -> int:
    assert n < 10, "too large"
    return n


@accept("the exception's own type and arguments", (3,), (30,), shown=False)
def line_of_an_inner_function(n: int):
    return inner_check(n) + 1


@accept("KeyError", ({(1, "a"): 2}, 1), ({(1, "a"): 2}, 2))
def missing_tuple(d: dict[tuple[int, str], int], k: int):
    return d[(k, "a")]


@accept("KeyError", ({(1, 2.5): 2}, {(True, "it's")}, 1))
def missing_tuple_caught(d: dict[tuple[int, float], int], s: set[tuple[bool, str]], k: int):
    try:
        return str(d.pop((k + 1, -0.5)))
    except KeyError as error:
        text = str(error)
    s.remove((False, text))
    return text


@accept("the text of what was raised", (1,), (2,), (3,))
def one_of_two_classes(n: int):
    try:
        if n > 2:
            raise ValueError(f"n {n}")
        if n > 1:
            raise KeyError(n)
    except (ValueError, LookupError) as error:
        return str(error), error.args
    return "none", ()
