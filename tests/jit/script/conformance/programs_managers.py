"""Context managers written as generators, and names from outside (`global`, `nonlocal`)."""

# The programs are as people write them, odd ones included.
# ruff: noqa

from contextlib import contextmanager, suppress

import ingot
from conformance_table import accept, reject

LIMIT = 3


@contextmanager
def scaled(x, k: float):
    yield x * k


@contextmanager
def logged(name: str):
    print("enter", name)
    try:
        yield name + "!"
    finally:
        print("exit", name)


@contextmanager
def forgiving(n: int):
    try:
        yield n
    except ValueError as error:
        print("forgiven:", error)


@contextmanager
def translated():
    try:
        yield
    except KeyError as error:
        raise RuntimeError("translated") from error


@contextmanager
def counted(log: list[int]):
    log.append(1)
    yield log
    log.append(len(log))


@contextmanager
def maybe(n: int):
    if n > 0:
        yield n


@contextmanager
def twice():
    yield 1
    yield 2


@contextmanager
def quiet():
    with ingot.no_grad():
        yield


class Shifting:
    def __init__(self, k: int) -> None:
        self.k = k

    @contextmanager
    def by(self, step: int):
        self.k += step
        try:
            yield self.k
        finally:
            self.k -= step


@accept("contextmanager", (ingot.tensor([1.0, 2.0]), 3.0))
def yields_tensors(x, k: float):
    with scaled(x, k) as y:
        z = y + 1
    return z * y


@accept("contextmanager", (4,))
def enters_and_leaves(n: int):
    total = 0
    with logged("a") as name:
        for i in range(n):
            total += i
        inside = name
    return total, inside


@accept("contextmanager", (1,), (2,), (3,))
def catches_at_the_yield(n: int):
    r = 0
    with forgiving(n) as m:
        r = 1
        if m > 2:
            raise ValueError(f"m {m}")
        if m > 1:
            raise KeyError(m)
        r = 2
    return r


@accept("contextmanager", ({"a": 1}, "a"), ({"a": 1}, "b"))
def raises_another(d: dict[str, int], k: str):
    with translated():
        return d[k]


@accept("contextmanager", (7,))
def shares_a_list(n: int):
    log = [0]
    with counted(log) as same:
        same.append(n)
    return log


@accept("contextmanager", (1,), (0,))
def may_not_yield(n: int):
    with maybe(n) as a:
        n += a
    return n


@accept("contextmanager", (2,), (3,), (5,))
def leaves_by_every_way(n: int):
    for i in range(n):
        with logged(str(i)):
            if i == 1:
                continue
            if i == 3:
                break
            if n == 3 and i == 2:
                return -1
            n += i
    return n


@accept("contextmanager", (1,), (5,))
def two_managers(n: int):
    with logged("outer") as a, forgiving(n) as b:
        if n > 3:
            return a, b
        x = n * 2
    return a + "x", x


@accept("contextmanager", (0,), (20,))
def manager_in_a_variable(n: int):
    manager = forgiving(n)
    with manager as k:
        while k < 10:
            with logged("inner"):
                k += 3
                if k > 7:
                    return k
    return -k


@accept("contextmanager", (1,), (3,))
def try_around_a_manager(n: int):
    try:
        with logged("z"):
            q = n * 2
            if n > 2:
                raise KeyError("k")
            q += 1
    except KeyError:
        return q
    return q + 100


@accept("contextmanager", (1,))
def manager_of_an_object(n: int):
    shifting = Shifting(n)
    with shifting.by(2) as k:
        inside = shifting.k
    return inside, shifting.k, k


@accept("contextmanager", (ingot.tensor([1.0]), ingot.tensor([2.0])))
def manager_without_gradients(x, w):
    with quiet():
        y = x * w
    return y + w


@accept("contextmanager", (1,), (2,))
def suppresses(n: int):
    with suppress(ValueError, KeyError):
        if n > 1:
            raise ValueError("n")
        return 1
    return 0


@reject("contextmanager", "generator didn't stop", marked="yield 2", arguments=(1,))
def yields_again(n: int):
    with twice() as a:
        n += a
    return n


@accept("global", (2,))
def reads_a_global(n: int):
    global LIMIT
    return n + LIMIT


@reject("global", "'LIMIT' is a variable from outside", marked="LIMIT = n", hint="return the new value")
def writes_a_global(n: int):
    global LIMIT
    LIMIT = n
    return n


def _outer():
    total = 0

    def adds(n: int):
        nonlocal total
        total += n
        return total

    return adds


reject("nonlocal", "'total' is a variable from outside", marked="total += n", hint="return the new value")(_outer())
