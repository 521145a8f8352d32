"""Types: containers, records, classes, Optional, Union, Any."""

# The programs are as people write them, odd ones included.
# ruff: noqa

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, NamedTuple, Optional, Union

import ingot
from conformance_table import accept

v = ingot.tensor([1.0, 2.0, 3.0])


class Pair(NamedTuple):
    left: int
    right: float = 0.5


class Color(Enum):
    RED = 1
    GREEN = 2


class Level(IntEnum):
    LOW = 1
    HIGH = 5


@dataclass
class Config:
    size: int
    name: str = "x"
    values: list[int] = field(default_factory=list)

    def total(self) -> int:
        return self.size + sum(self.values)


class Vec:
    scale = 10

    def __init__(self, x: float, y: float) -> None:
        self.x = x
        self.y = y

    def __add__(self, other: "Vec") -> "Vec":
        return Vec(self.x + other.x, self.y + other.y)

    def __mul__(self, k: float) -> "Vec":
        return Vec(self.x * k, self.y * k)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vec) and self.x == other.x and self.y == other.y

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> float:
        return self.x if i == 0 else self.y

    def __contains__(self, k: float) -> bool:
        return k == self.x or k == self.y

    def __call__(self, k: float) -> float:
        return self.x * k

    def __lt__(self, other: "Vec") -> bool:
        return self.norm < other.norm

    @property
    def norm(self) -> float:
        return (self.x**2 + self.y**2) ** 0.5

    @staticmethod
    def unit() -> "Vec":
        return Vec(1.0, 0.0)

    @classmethod
    def named(cls, k: float) -> "Vec":
        return cls(k, cls.scale * 1.0)


class Vec3(Vec):
    def __init__(self, x: float, y: float, z: float) -> None:
        super().__init__(x, y)
        self.z = z

    def __len__(self) -> int:
        return super().__len__() + 1


@accept("NamedTuple", (3,))
def named_tuples(n: int):
    p = Pair(n)
    q = p._replace(right=2.5)
    a, b = q
    return p, q.left + q[1], a, b, len(p), p == Pair(n), Pair(right=1.0, left=n)


@accept("Enum", (1,), (2,))
def enums(n: int):
    c = Color.RED if n == 1 else Color.GREEN
    return c == Color.RED, c.value, c.name, c is Color.GREEN, Level.HIGH > Level.LOW, Level.LOW + 1, Color(2) is c


@accept("dataclasses", (3,))
def dataclasses(n: int):
    a = Config(n)
    b = Config(size=n, name="y", values=[1, 2])
    b.values.append(n)
    a.size += 1
    return a.total(), b.total(), a.name + b.name, a == Config(n + 1), a != b


@accept("classes", (1.5,))
def classes(x: float):
    a, b = Vec(x, 2.0), Vec.unit()
    c = (a + b) * 2.0
    d = Vec3(1.0, 2.0, 3.0)
    e = Vec.named(x)
    return (
        c.x,
        c.y,
        a == Vec(x, 2.0),
        len(c),
        c[1],
        2.0 in a,
        a(3.0),
        a < c,
        d.norm,
        len(d),
        d.z,
        e.y,
        isinstance(d, Vec),
    )


@accept("classes", (4,), shown=False)
def objects_in_loops(n: int):
    total = Vec(0.0, 0.0)
    for i in range(n):
        total = total + Vec(float(i), 1.0) * 0.5
        total.x += 1.0
    return total.x, total.y


@accept("Optional", (3,), (None,))
def optional_refinement(n: Optional[int]):
    if n is None:
        return -1
    return n + 1


@accept("Optional", (3,), (20,))
def optional_at_run_time(n: int):
    best: Optional[int] = None
    for k in range(n):
        if k * k > 50 and (best is None or k < best):
            best = k
    if best is not None and best > 3:
        return best * 2
    assert best is None
    return best


@dataclass
class Node:
    value: int
    weight: Optional[float] = None


@accept("Optional", (1,), (5,), shown=False)
def optional_attributes(n: int):
    node = Node(n)
    if n > 3:
        node.weight = 2.5
    if node.weight is not None:
        return node.weight * n
    return 0.0


@accept("Union and Any", (3,), (2.5,), ("abc",))
def unions(x: Union[int, float, str]):
    if isinstance(x, str):
        return len(x)
    if isinstance(x, (int, float)) and x > 2.7:
        return x
    return -x


@accept("Union and Any", (1,), (7,), shown=False)
def union_at_run_time(n: int):
    x: Any = "text"
    if n > 5:
        x = n
    if isinstance(x, int):
        return x + 1
    return len(x)


@accept("tuple, list, dict, set, nested", (2,))
def nested_containers(n: int):
    table: dict[str, list[tuple[int, float]]] = {"a": [(1, 0.5)], "b": []}
    for i in range(n):
        table["b"].append((i, i * 0.5))
    grid = [[j * i for j in range(n)] for i in range(3)]
    pairs = {(i, i + 1): [i] for i in range(n)}
    return table, grid[-1], len(pairs), pairs[(0, 1)], (1, (2, [3, {"k": (4,)}]))


@accept("dicts with keys known at run time", ([3, 1, 3, 2, 1],), ([],))
def counts(xs: list[int]):
    seen: dict[int, int] = {}
    for x in xs:
        if x in seen:
            seen[x] += 1
        else:
            seen[x] = 1
    best = 0
    for k, n in seen.items():
        best = max(best, k * n)
    return seen, best, len(seen), seen.get(7, -1)


@accept("dicts with keys known at run time", ("the cat and the hat",), ("",))
def words(text: str):
    seen: dict[str, int] = {}
    for word in text.split():
        seen[word] = seen.get(word, 0) + 1
    return seen, sorted(seen)


@accept("lists of tensors", (v, 3))
def lists_of_tensors(x, n: int):
    xs: list[ingot.Tensor] = []
    for k in range(n):
        xs.append(x * k)
    xs[0] = x
    last = xs.pop()
    return ingot.stack(xs), last, len(xs)
