"""Objects: attributes of arguments, lists and dicts of objects, names that share one object, what is returned."""

# The programs are as people write them, odd ones included.
# ruff: noqa

from dataclasses import dataclass, field
from typing import Optional

import ingot
from conformance_table import accept, reject


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass
class Segment:
    start: Point
    end: Point
    label: str = ""
    tags: list[str] = field(default_factory=list)


@dataclass
class Normalised:
    x: float
    length: float = field(init=False)

    def __post_init__(self) -> None:
        self.length = abs(self.x)
        self.x = self.x / self.length


class Account:
    def __init__(self, owner: str, balance: int) -> None:
        self.owner = owner
        self.balance = balance
        self.history: list[int] = [0]

    def pay(self, amount: int) -> int:
        if amount > self.balance:
            raise ValueError(f"{self.owner} has {self.balance}")
        self.balance -= amount
        self.history.append(amount)
        return self.balance


class State:
    def __init__(self, value, steps: int) -> None:
        self.value = value
        self.steps = steps


@accept("attributes of arguments", (Point(1.0, 2.0),))
def moves(p: Point):
    p.x += 1.0
    p.x *= 2.0
    return p


@accept(
    "attributes of arguments", (Segment(Point(1.0), Point(2.0), "a", ["t"]), 3), (Segment(Point(1.0), Point(2.0)), 0)
)
def changes_nested(s: Segment, n: int):
    s.start.x = 7.0
    s.end = Point(3.0, s.end.x)
    s.label = s.label + "!"
    s.tags.append("new")
    for i in range(n):
        s.start.y += i
    if n > 2:
        s.end.y = 100.0
    return s.start.x + s.end.y


@accept("attributes of arguments", (Account("a", 10), 3), (Account("b", 1), 3))
def pays(account: Account, amount: int):
    return account.pay(amount), account.balance


def _same_account(n: int):
    account = Account("a", n)
    return account


@accept("attributes of arguments", (State(ingot.tensor([1.0, 2.0]), 0), 3))
def advances(state: State, n: int):
    state.value.add_(1)
    for _ in range(n):
        state.value = state.value * 2
        state.steps += 1
    return state.value.sum()


@accept("attributes of arguments", ([Point(1.0), Point(2.0)], {"a": Point(3.0)}))
def objects_in_arguments(points: list[Point], named: dict[str, Point]):
    for p in points:
        p.x += 1
    named["b"] = points[0]
    named["a"].y = 5.0
    points.append(Point(9.0))
    points[0], points[1] = points[1], points[0]
    return len(points), named["b"].x


_shared = Point(1.0)


@accept("one object by two names", (_shared, _shared), (Point(1.0), Point(1.0)))
def two_names(p: Point, q: Point):
    p.x += 1
    return q.x, p is q


@accept("one object by two names", ([_shared, Point(5.0), _shared],), save=False)
def shared_elements(points: list[Point]):
    points[0].x += 1
    return [p.x for p in points]


@accept("what is returned", (Point(1.0), 2), (Point(1.0), 0))
def returns_arguments(p: Point, n: int):
    if n > 1:
        p.y = 3.0
    q = Point(4.0)
    return [p, p, q, q], {"q": q}


@accept("what is returned", (2.0,))
def returns_objects(x: float):
    n = Normalised(x * -2)
    n.x += 1
    account = Account("a", 5)
    account.pay(2)
    return n, account


@accept("lists of tensors", ([ingot.ones(2), ingot.ones(2)], 2))
def grows_tensors(xs: list[ingot.Tensor], n: int):
    xs[0].add_(1)
    for i in range(n):
        xs[i] = xs[i] * 2
    xs.append(xs[0][:1])
    return xs[0]


@reject("attributes of arguments", "no attribute 'z'", marked="p.z", arguments=(Point(1.0),))
def missing_attribute(p: Point):
    return p.z


@reject("attributes of arguments", "del of attributes is not supported", marked="del p.x", arguments=(Point(1.0),))
def deletes_attribute(p: Point):
    del p.x
