"""Functions that call themselves: numbers, containers, tensors, methods, each other; how deep, and what is refused."""

# The programs are as people write them, odd ones included.
# ruff: noqa

from dataclasses import dataclass
from typing import NamedTuple

import ingot
from conformance_table import accept, reject
from ingot import jit, nn

v = ingot.tensor([1.0, 2.0, 3.0])
TOPIC = "recursion with annotated returns"


def fact(n: int) -> int:
    return 1 if n <= 1 else n * fact(n - 1)


def fib(n: int) -> int:
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)


@accept(TOPIC, (10,), (0,))
def recursion(n: int):
    return fact(n), fib(n)


@accept(TOPIC, (2, 3), (0, 0), (1, 5), shown=False)
def ackermann(m: int, n: int) -> int:
    if m == 0:
        return n + 1
    if n == 0:
        return ackermann(m - 1, 1)
    return ackermann(m - 1, ackermann(m, n - 1))


@accept(TOPIC, ([3, 1, 2, 5, 4, 3],), ([],))
def quicksort(xs: list[int]) -> list[int]:
    if len(xs) <= 1:
        return xs
    pivot = xs[0]
    less = [x for x in xs[1:] if x < pivot]
    more = [x for x in xs[1:] if x >= pivot]
    return quicksort(less) + [pivot] + quicksort(more)


@accept(TOPIC, ([3.0, 1.0, 2.0, 5.0],), shown=False)
def mergesort(xs: list[float]) -> list[float]:
    if len(xs) < 2:
        return xs
    a, b = mergesort(xs[: len(xs) // 2]), mergesort(xs[len(xs) // 2 :])
    out: list[float] = []
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] <= b[j]:
            out.append(a[i])
            i += 1
        else:
            out.append(b[j])
            j += 1
    return out + a[i:] + b[j:]


def move(n: int, a: str, b: str, c: str, moves: list[tuple[str, str]]) -> None:
    if n > 0:
        move(n - 1, a, c, b, moves)
        moves.append((a, b))
        move(n - 1, c, b, a, moves)


@accept(TOPIC, (3,), (0,))
def hanoi(n: int):
    moves: list[tuple[str, str]] = []
    move(n, "A", "B", "C", moves)
    return moves


def even(n: int) -> bool:
    return True if n == 0 else odd(n - 1)


def odd(n: int) -> bool:
    return False if n == 0 else even(n - 1)


@accept(TOPIC, (7,), (0,))
def functions_that_call_each_other(n: int):
    return even(n), odd(n)


def remembered(n: int, memo: dict[int, int]) -> int:
    if n not in memo:
        memo[n] = n if n < 2 else remembered(n - 1, memo) + remembered(n - 2, memo)
    return memo[n]


@accept(TOPIC, (50,))
def a_dict_passed_along(n: int):
    memo: dict[int, int] = {}
    return remembered(n, memo), len(memo)


@accept(TOPIC, (20,), shown=False)
def a_default_that_is_replaced(n: int, memo=None):
    if memo is None:
        memo = {}
    if n in memo:
        return memo[n]
    r = n if n < 2 else a_default_that_is_replaced(n - 1, memo) + a_default_that_is_replaced(n - 2, memo)
    memo[n] = r
    return r


def visit(graph: dict[int, list[int]], node: int, seen: set[int], order: list[int]) -> None:
    if node in seen:
        return
    seen.add(node)
    order.append(node)
    for other in graph[node]:
        visit(graph, other, seen, order)


@accept(TOPIC, ({0: [1, 2], 1: [3], 2: [3], 3: [0], 4: []},), shown=False)
def depth_first(graph: dict[int, list[int]]):
    seen: set[int] = set()
    order: list[int] = []
    visit(graph, 0, seen, order)
    return order


@accept(TOPIC, ([[1, 2], [3], []], 0, 0), shown=False)
def sum_of_lists(xs: list[list[int]], i: int, j: int) -> int:
    if i == len(xs):
        return 0
    return sum_of_lists(xs, i + 1, 0) if j == len(xs[i]) else xs[i][j] + sum_of_lists(xs, i, j + 1)


class Pair(NamedTuple):
    a: int
    b: float


@accept(TOPIC, (3,), shown=False)
def named_tuples_through_recursion(n: int):
    def go(p: Pair, k: int) -> Pair:
        return p if k == 0 else go(Pair(p.a + k, p.b * 0.5), k - 1)

    return go(Pair(1, 2.0), n)


@dataclass
class Node:
    value: int
    left: "Node | None" = None
    right: "Node | None" = None


def total(node: Node | None) -> int:
    return 0 if node is None else node.value + total(node.left) + total(node.right)


@accept(TOPIC, (5,))
def trees_known_when_compiling(k: int):
    return total(Node(k, Node(2), Node(3, Node(4))))


class Countdown:
    def __init__(self, start: int):
        self.sum = start
        self.log: list[int] = []

    def run(self, k: int) -> int:
        self.sum += k
        self.log.append(k)
        return self.sum if k == 0 else self.run(k - 1)


@accept(TOPIC, (4,))
def methods_that_change_their_object(k: int):
    c = Countdown(10)
    return c.run(k), c.sum, c.log


@accept(TOPIC, (5,), shown=False)
def nonlocal_through_recursion(n: int):
    seen = 0

    def go(k: int) -> int:
        nonlocal seen
        seen += k
        return 0 if k == 0 else 1 + go(k - 1)

    return go(n), seen


def repeated(f, n: int, x: float) -> float:
    return x if n == 0 else repeated(f, n - 1, f(x))


@accept(TOPIC, (3,), shown=False)
def functions_passed_through_recursion(n: int):
    k = 3.0
    return repeated(lambda t: t * 2 + k, n, 1.0), repeated(lambda t: t - 1, n, 1.0)


@accept(TOPIC, (6,), shown=False)
def a_lambda_that_calls_itself(n: int):
    f = lambda k: 1 if k == 0 else k * f(k - 1)
    return f(n)


@accept(TOPIC, (4,), (5,), shown=False)
def results_of_two_types(n: int):
    if n == 0:
        return 1
    return 2.5 if n == 1 else results_of_two_types(n - 2)


@accept(TOPIC, (8,), (7,), shown=False)
def optional_results(n: int) -> int | None:
    if n <= 0:
        return 0 if n == 0 else None
    r = optional_results(n - 2)
    return None if r is None else r + 1


@accept(TOPIC, (10,), shown=False)
def tuples_of_results(n: int):
    if n == 0:
        return (0, 1)
    a, b = tuples_of_results(n - 1)
    return (b, a + b)


@accept(TOPIC, (12,), shown=False)
def strings_of_results(n: int) -> str:
    return "" if n == 0 else strings_of_results(n - 1) + str(n % 10)


@accept(TOPIC, (6,), shown=False)
def recursion_in_a_loop(n: int) -> int:
    total = 1
    for i in range(n):
        total += recursion_in_a_loop(i)
    return total


@accept(TOPIC, (5,), shown=False)
def keyword_arguments_through_recursion(n: int, *, step: int = 1, scale: float = 2.0) -> float:
    return 0.0 if n <= 0 else scale + keyword_arguments_through_recursion(n - step, step=step, scale=scale)


@accept(TOPIC, (3,), (-1,))
def raised_inside(n: int) -> int:
    if n < 0:
        raise ValueError(f"{n} is negative")
    return raised_inside(n - 2) + 1


@accept(TOPIC, (2,), (6,), shown=False)
def caught_on_the_way(n: int) -> int:
    try:
        if n == 0:
            raise ValueError("bottom")
        return caught_on_the_way(n - 1) + 1
    except ValueError:
        if n == 3:
            return 100
        raise


def endless(n: int) -> int:
    return endless(n + 1) + 1


@accept(TOPIC, (1,), (-5,))
def too_deep(n: int):
    try:
        return n if n < 0 else endless(n)
    except RecursionError:
        return -1


@accept(TOPIC, (ingot.tensor([[2.0, 1.0], [1.0, 3.0]]), ingot.ones(2), 5))
def power_iteration(a, x, k: int):
    if k == 0:
        return x
    y = a @ x
    return power_iteration(a, y / y.norm(), k - 1)


@accept(TOPIC, (ingot.arange(7.0),), shown=False)
def halves(x):
    n = x.shape[0]
    return x if n <= 1 else ingot.cat([halves(x[n // 2 :]), halves(x[: n // 2])])


@accept(TOPIC, (v, 3), shown=False)
def a_tensor_of_the_function_around(x, n: int):
    def go(k: int):
        return x if k == 0 else go(k - 1) + x * k

    return go(n)


def add_all(x, n: int) -> None:
    if n > 0:
        x += n
        add_all(x, n - 1)


@accept(TOPIC, (v, 3), shown=False)
def written_in_place_through_recursion(x, n: int):
    y = x.clone()
    add_all(y, n)
    return y


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", ingot.eye(3) * 0.5)
        self.register_buffer("count", ingot.zeros(1))

    def forward(self, x, n: int):
        if n == 0:
            return x
        self.count += 1
        return self.forward(ingot.tanh(x @ self.weight), n - 1)


@accept(TOPIC, (ingot.ones(2, 3), 3), make=Repeated, shown=False)
def modules_that_call_themselves(x, n: int):
    raise AssertionError("the module is scripted")


# -- refused -----------------------------------------------------------------------------------------------------------


@reject(
    TOPIC,
    "forever calls itself in every way through it, so that what it returns is not known",
    marked="def forever",
    arguments=(3,),
    hint="let one way return without a call of itself, or annotate what it returns",
)
def forever(n: int):
    return forever(n - 1)


@reject(
    TOPIC,
    "writes to an argument that shares memory with another one",
    marked="aliased(y, y, n)",
    arguments=(v, 2),
    hint="pass a copy",
)
def shares_what_it_writes(x, n: int):
    def aliased(a, b, k: int):
        if k > 0:
            a += b
            aliased(a, b, k - 1)

    y = x.clone()
    aliased(y, y, n)
    return y
