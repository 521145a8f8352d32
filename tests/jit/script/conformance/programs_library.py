"""Calls of the library with arguments of run time, functions beyond the language, iterators, numbers kept by modules."""

# The programs are as people write them, odd ones included.
# ruff: noqa

import functools
import itertools
import math
import operator

import ingot
import ingot.nn.functional as F
from ingot import Tensor, jit, nn
from conformance_table import accept, reject
from typing import Any, Optional, Union

v = ingot.tensor([1.0, 2.0, 3.0])
m = ingot.arange(12.0).reshape(3, 4)


# -- dimensions, flags and numbers that ops must know ------------------------------------------------------------------


@accept("tensor functions", (m, 0), (m, -1), (m, 5), slow=True)
def dimensions_of_run_time(x, dim: int):
    return x.sum(dim), x.softmax(dim), ingot.cat([x, x], dim), x.unsqueeze(dim), x.size(dim)


@accept("tensor functions", (m, -2, 1), shown=False, slow=True)
def two_dimensions_of_run_time(x, a: int, b: int):
    return x.transpose(a, b), x.max(a).values, x.index_select(b, ingot.tensor([1]))


@accept("tensor functions", (m, True), (m, False), slow=True)
def flags_of_run_time(x, flag: bool):
    return x.topk(2, largest=flag)[0], F.dropout(x, 0.5, training=flag and x.sum() < 0)


@accept("tensor functions", (v - 2, 0.3, 2), (v, 1.5, -1), shown=False, slow=True)
def numbers_of_run_time(x, a: float, n: int):
    return (
        F.leaky_relu(x, a),
        F.softplus(x, a),
        F.hardtanh(x, -a, a),
        x.roll(n),
        x.outer(x).triu(n),
        F.pad(x, (1, 0), value=a),
    )


@reject("tensor functions", "unfold(): argument 'size' must be int known", marked="x.unfold", arguments=(v, 2))
def size_of_windows(x, n: int):
    return x.unfold(0, n, 1)


# -- functions of the library that are beyond the language -------------------------------------------------------------


@accept("tensor functions", (m,), shown=False, slow=True)
def recorded_functions(x):
    return x.quantile(0.5), x.kthvalue(2, 0), ingot.hann_window(4), ingot.tril_indices(2, 2), x.count_nonzero(0)


@accept("tensor functions", (m,))
def parts_are_views(x):
    a, b = (x * 1).tensor_split(2)
    y = x * 2
    first, _ = y.tensor_split(2)
    first.add_(100)
    return a + 1, b, y


@accept("tensor functions", (v, ingot.tensor([True, False, True])), shown=False)
def selected(x, mask):
    return x.masked_scatter(mask, ingot.tensor([8.0, 9.0])), ingot.where(x > 1)[0], x.tolist(), mask.tolist(), 2.0 in x


@accept("tensor functions", (m.clone(),), shown=False)
def rarer_in_place(x):
    x.cumsum_(0)
    x.clamp_max_(20)
    x.index_fill_(0, ingot.tensor([1]), 5.0)
    x.masked_scatter_(x > 14, ingot.ones(12))
    x.fill_diagonal_(7)
    ingot.relu_(x)
    return x


@reject("tensor functions", "gives a tensor another shape", marked="x.t_()", arguments=(m,), hint="x = x.t(")
def another_shape(x):
    x.t_()
    return x


# -- Python's library --------------------------------------------------------------------------------------------------


@accept("builtins", ([3, 1, 2, 1],))
def iterators_as_lists(xs: list[int]):
    pairs = list(itertools.combinations(xs, 2)) + list(itertools.pairwise(xs))
    product = functools.reduce(lambda a, b: a * b, xs, 10)
    flat = list(itertools.chain.from_iterable([xs, [4]]))
    large = list(itertools.takewhile(lambda x: x > 1, xs))
    return pairs, product, flat, large, list(itertools.accumulate(xs, max)), list(itertools.zip_longest(xs, "ab"))


@accept("builtins", ([3, 1],), shown=False)
def more_iterators(xs: list[int]):
    triples = list(itertools.product(xs, [5], (6, 7))), list(itertools.permutations(xs)), list(itertools.islice(xs, 1))
    rest = (
        list(itertools.dropwhile(lambda x: x > 1, xs)),
        list(itertools.starmap(operator.mul, [(2, 3)])),
        next(iter(xs)),
    )
    return (
        triples,
        rest,
        list(itertools.repeat(7, 2)),
        dict.fromkeys(xs, 0),
        sorted([(1, 3), (2, 1)], key=operator.itemgetter(1)),
    )


@accept("builtins", ([1, 2, 3],), ([],))
def zip_of_any_lengths(xs: list[int]):
    out = []
    for x in xs:
        out.append(x * x)
    return list(zip("ab", out)), dict(zip(out, [1, 2, 3, 4])), [a for a, _ in zip(range(100), out)]


@accept("builtins", (10, 3), (2, 1))
def ranges_as_values(n: int, k: int):
    return range(0, n, 3)[-1], k in range(n), 5 not in range(1, n, 2), [1, 2, 3][slice(k)]


@accept("builtins", ([3, 1, 2, 1], 2), ([3, 1], 1))
def index_from(xs: list[int], start: int):
    return xs.index(1, start), [5, 6].index(6, -1)


@accept("builtins", (2.5, 1.5), (-7.5, 2.5), shown=False)
def further_mathematics(x: float, y: float):
    return math.gamma(abs(x)), math.lgamma(x), math.remainder(x, y), math.fsum([x, y, 0.1, 1e100, -1e100])


@accept("builtins", (7.0, 0.0), shown=False)
def divmod_by_zero(a: float, b: float):
    return divmod(a, b)


class Numbers:
    def __init__(self, xs: list[int]) -> None:
        self.xs = xs

    def __iter__(self):
        return iter(self.xs)

    def __delitem__(self, i: int) -> None:
        self.xs[i] = 0


@accept("classes", (1,))
def iterated_object(i: int):
    numbers = Numbers([4, 5, 6])
    del numbers[i]
    return sum(numbers), [x * 2 for x in numbers]


@accept("union and any", ([1, 2],), ([1.5],), (3,), ({"a": 1},), ((1, "x"),), (None,))
def types_of_containers(x: Any):
    if jit.isinstance(x, list[int]):
        return "ints"
    if jit.isinstance(x, (list[float], Optional[float])):
        return "floats or None"
    return jit.isinstance(x, dict[str, int]), jit.isinstance(x, tuple[int, str])


# -- modules -----------------------------------------------------------------------------------------------------------


class Walked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        ingot.manual_seed(0)
        self.linear = nn.Linear(3, 3)
        self.scales = nn.ParameterList([nn.Parameter(ingot.ones(3)), nn.Parameter(ingot.full((3,), 0.5))])
        self.named = nn.ParameterDict({"w": nn.Parameter(ingot.ones(3) * 2)})

    def forward(self, x):
        for name, p in self.named_parameters():
            x = x + p.sum() * len(name)
        for scale in self.scales:
            x = x * scale
        for key, p in self.named.items():
            x = x * p + len(key)
        for child in self.children():
            if isinstance(child, nn.Linear):
                x = child(x)
        return x


@accept("modules", (v,), make=Walked)
def walks_through_modules():
    pass


class Calls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.average = 0.5

    def forward(self, n: int):
        for _ in range(2):
            self.calls += 1
        if n > 1:
            self.average = self.average * 0.9 + n * 0.1
        return self.average, self.calls


@accept("modules", (4,), make=Calls, save=False)
def numbers_in_attributes():
    pass


class Losses(nn.Module):
    def forward(self, x, steps):
        labels, lengths = ingot.tensor([[1, 2]]), ingot.tensor([2])
        return F.ctc_loss(steps.log_softmax(-1), labels, ingot.tensor([3]), lengths), F.multilabel_margin_loss(
            x, ingot.tensor([[1, 2, -1]])
        )


@accept("modules", (v.reshape(1, 3), ingot.arange(9.0).reshape(3, 1, 3).sin()), make=Losses, shown=False, slow=True)
def losses_that_look_at_labels():
    pass
