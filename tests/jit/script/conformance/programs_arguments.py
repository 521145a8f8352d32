"""Objects: attributes of arguments, lists and dicts of objects, names that share one object, what is returned."""

# The programs are as people write them, odd ones included.
# ruff: noqa

from dataclasses import dataclass, field
from typing import NamedTuple, Optional

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


@accept("lists of tensors", ([ingot.ones(2), ingot.ones(3)],))
def lists_of_different_tensors(xs: list[ingot.Tensor]):
    xs[0].add_(1)
    xs[1] = xs[1] * 2
    xs.append(xs[0][:1])
    return xs[0]


@accept("lists of tensors", ([ingot.ones(2), ingot.ones(2)], 2))
def grows_tensors(xs: list[ingot.Tensor], n: int):
    xs[0].add_(1)
    for i in range(n):
        xs.append(xs[1] * i)
    xs[1] = xs[0] * 5
    return xs[0], len(xs)


@reject("attributes of arguments", "no attribute 'z'", marked="p.z", arguments=(Point(1.0),))
def missing_attribute(p: Point):
    return p.z


@reject("attributes of arguments", "del of attributes is not supported", marked="del p.x", arguments=(Point(1.0),))
def deletes_attribute(p: Point):
    del p.x


# -- objects in containers that grow -----------------------------------------------------------------------------------


@dataclass
class Item:
    name: str
    tags: list[str] = field(default_factory=list)
    best: Optional[int] = None


class Tally:
    def __init__(self, k: int) -> None:
        self.k = k
        self.log = [0]
        self.t = ingot.zeros(2)

    def add(self, n: int) -> None:
        self.k += n
        self.log.append(n)
        self.t = self.t + n

    @property
    def total(self) -> int:
        return sum(self.log)


@dataclass
class Holder:
    point: Point
    n: int


class Pair(NamedTuple):
    a: int
    b: float


@accept("objects in containers", (3,))
def lists_of_objects(n: int):
    points = [Point(float(i)) for i in range(n)]
    first, last = points[0], points[n - 1]
    first.x = 10.0
    last.y += 2
    for p in points:
        p.y += 0.5
    return points, first, points[0] is first, last is first, points[0].x + points[-1].y


@accept("objects in containers", (2,), (0,))
def one_object_many_times(n: int):
    p = Point(1.0)
    points = []
    for i in range(n):
        points.append(p)
        p.x += 1
    points.append(Point(0.5))
    return [q.x for q in points], p.x, points[0] is points[-1]


@accept("objects in containers", (4,))
def dicts_of_objects(n: int):
    tallies = {}
    for i in range(n):
        key = str(i % 2)
        if key not in tallies:
            tallies[key] = Tally(i)
        tallies[key].add(i)
    for tally in tallies.values():
        tally.add(100)
    return {k: (v.k, v.log, v.total, v.t) for k, v in tallies.items()}


@accept("objects in containers", (Point(1.0), [Point(5.0)], 3))
def arguments_in_lists(p: Point, points: list[Point], n: int):
    for i in range(n):
        points.append(Point(float(i)) if i % 2 else p)
    p.x = 50.0
    points[0].y = 7.0
    return points[1]


@accept("objects in containers", (6,), (0,))
def the_best_object(n: int):
    best: Optional[Point] = None
    points = [Point(float((i * 7) % 5), float(i)) for i in range(n)]
    for p in points:
        if best is None or p.x > best.x:
            best = p
    if best is not None:
        best.x = -1.0
    return best, points


@accept("objects in containers", (3,))
def objects_with_containers(n: int):
    items = []
    for i in range(n):
        item = Item(f"n{i}")
        item.tags.append("a")
        if i > 0:
            items[i - 1].tags.append(item.name)
        item.best = i if i % 2 else None
        items.append(item)
    return items, f"{items[0]}"


@accept("objects in containers", (2,))
def objects_in_objects(n: int):
    held = []
    for i in range(n):
        held.append(Holder(Point(float(i)), i))
    inner = held[0].point
    inner.y = 3.0
    held[1].point = inner
    inner.y = 4.0
    return held, held[0].point is held[1].point


@accept("objects in containers", (4,))
def sorted_objects(n: int):
    points = [Point(float(-i)) for i in range(n)]
    points.sort(key=lambda p: p.x)
    last = points.pop()
    last.x += 100
    return points, last, Point(-1.0) in points, points.index(Point(-1.0))


@accept("objects in containers", (3,))
def lists_of_named_tuples(n: int):
    pairs = []
    for i in range(n):
        pairs.append(Pair(i, i * 0.5))
    return pairs, pairs[1].b


@accept("objects in containers", (4,), (1,))
def objects_and_exceptions(n: int):
    points = []
    try:
        for i in range(n):
            points.append(Point(float(i)))
            if i > 1:
                raise ValueError(i)
    except ValueError:
        points[0].x = 77.0
    return [p.x for p in points]


@accept("objects in containers", (ingot.tensor([1.0, 2.0]), 3))
def tensors_in_objects(x, n: int):
    tallies = [Tally(i) for i in range(n)]
    for tally in tallies:
        tally.t = tally.t + x * tally.k
    return sum([tally.t for tally in tallies])


@reject(
    "objects in containers", "elements of different types (int, str)", marked="for", arguments=(3,), hint="one type"
)
def union_elements(n: int):
    found = []
    for i in range(n):
        if i % 2:
            found.append(i)
        else:
            found.append("a")
    return found


@accept("objects in containers", (2,), (1,))
def one_of_two_objects(n: int):
    a, b = Point(1.0), Point(2.0)
    c = a if n > 1 else b
    points = []
    for i in range(n):
        points.append(c)
    points[0].y = 9.0
    return a.y, b.y


@accept("objects in containers", ([Point(1.0), Point(2.0)], 3))
def one_of_an_argument(points: list[Point], n: int):
    for i in range(n):
        p = points[i % 2]
        p.x += i
    return sum([p.x for p in points])


@accept("objects in containers", (3,), (0,))
def carried_objects(n: int):
    now = Point(1.0)
    seen = []
    for i in range(n):
        before = now
        now = Point(before.x + 1)
        seen.append(before)
        if i % 2:
            seen[-1].y = 1.0
    now.x = 100.0
    return seen, now


@accept("objects in containers", (2,))
def lists_that_share_objects(n: int):
    points = [Point(1.0)]
    same = points
    for i in range(n):
        same.append(Point(float(i)))
    copies = list(points)
    copies[0].x = 5.0
    points[0] = Point(7.0)
    grid = [[p, copies[0]] for p in points]
    grid[1][1].y = 8.0
    return points, same, copies, grid


class Bag:
    def __init__(self) -> None:
        self.held: list[Point] = []

    def put(self, p: Point) -> None:
        self.held.append(p)

    def best(self) -> Point:
        found = self.held[0]
        for p in self.held:
            if p.x > found.x:
                found = p
        return found


@accept("objects in containers", (3,))
def objects_that_hold_objects(n: int):
    bag = Bag()
    for i in range(n):
        bag.put(Point(float(i)))
    bag.best().y = 3.0
    return [p.y for p in bag.held], bag.best()
