"""Tensors in compiled programs: operators, attributes, indexing, in-place writes and their aliases."""

# The programs are as people write them, odd ones included.
# ruff: noqa: B905, RUF059

from typing import Any

import ingot
import pytest
from ingot.nn import functional as F

v = ingot.tensor([1.0, -2.0, 3.0])
m = ingot.arange(12.0).reshape(3, 4)
k = ingot.tensor([3, 1, 2])


def arithmetic(x: Any, y: Any) -> Any:
    return x + y, x - 1, 2 * x, 1 / (y + 0.5), x // 2, x % 2, -x, x**2, 3 - y, x == y, x < 1, y < 1


def shapes(x: Any) -> Any:
    a, b = x.shape
    return x.shape, x.size(), x.size(0), x.size(-1), x.dim(), x.ndim, x.numel(), len(x), a * b, x.shape[1:], x.dtype


def shape_arithmetic(x: Any) -> Any:
    n, d = x.shape
    y = x.reshape(n * d // 2, 2)
    z = x.view(-1)
    return y, z, x.view(x.size(0), -1), x.reshape((d, n)), x.T, x.transpose(0, 1) + 0, n + d


def basic_index(x: Any) -> Any:
    return x[0], x[-1], x[1, 2], x[:, 1], x[1:], x[:-1, ::2], x[..., 0], x[None, 0], x[:, None], x[0:2, 1:3], x[:]


def dynamic_index(x: Any, i: int) -> Any:
    return x[i], x[i, 0], x[:, i], x[i:], x[:i], x[i : i + 2, 1:]


def advanced_index(x: Any, i: Any) -> Any:
    return x[i], x[:, i], x[i, i], x[[0, 2]], x[x > 2], x[i > 1], x[1, i]


def writes(x: Any) -> Any:
    y = x.clone()
    y[0] = 7
    y[1:, 2] = 1.5
    y[:, 0] += y[:, 1]
    y[y > 4] = -1
    y[ingot.tensor([0, 2])] *= 2
    y[-1] = x[0]
    return y


def write_argument(x: Any, y: Any) -> Any:
    x += y
    x[0] = 5
    z = x * 2
    x.mul_(3).add_(y, alpha=2)
    return z


def views(x: Any) -> Any:
    y = x.clone()
    a = y[0]
    b = y[:, 1:3]
    c = b[1]
    a += 10
    c.zero_()
    b *= 2
    t = y.transpose(0, 1) if y.ndim == 2 else y
    t[0].fill_(4)
    flat = y.view(-1)
    flat[5] = 99
    return y, a, b, c, t, flat


def view_of_argument(x: Any) -> Any:
    row = x[1]
    row += 1
    x[0] = row
    return row.sum()


def view_in_loop(x: Any) -> Any:
    y = x.clone()
    for i in range(x.shape[0]):
        y[i] = y[i] * i
        y[i, 0] += 1
    row = y[0]
    for i in range(3):
        row += i
    return y, row


def in_branch(x: Any, flag: bool) -> Any:
    y = x * 1
    z = y[0]
    if flag:
        y += 1
    else:
        z.zero_()
    return y, z


def loop_of_tensors(x: Any, n: int) -> Any:
    h = ingot.zeros(4)
    for i in range(n):
        h = ingot.tanh(h + x[i % 3]) if i % 2 else h * 0.5 + x[i % 3]
    return h


def over_rows(x: Any) -> Any:
    s = ingot.zeros(x.shape[1])
    n = 0
    for i, row in enumerate(x):
        s = s + row * i
        n += 1
    for a, b in zip(x, x + 1):
        s = s + a * b
    for row in reversed(x):
        s = s * 0.5 + row
    return s, n


def growing(x: Any, n: int) -> Any:
    for _ in range(n):
        x = ingot.cat([x, x[:1]], 0)
    return x, x.shape[0]


def rank_changes(x: Any, flag: bool) -> Any:
    y = x.sum(0) if flag else x
    return y, y.ndim, y + 1


def size_conditions(x: Any) -> Any:
    if x.shape[0] > 3:
        return x[:3].sum()
    if x.shape == (3, 4):
        return x.sum() * 2
    return x.sum() * 3


def split_and_join(x: Any) -> Any:
    a, b = x.chunk(2, 1)
    parts = ingot.split(x, 2, dim=1)
    p, q, r = x
    return a * b, [y.sum() for y in parts], ingot.stack([p, r]), ingot.cat((a, b), dim=1), x.unbind(1)[2], len(parts)


def stack_in_loop(x: Any, n: int) -> Any:
    outs = []
    h = x[0]
    for i in range(n):
        h = h * 0.5 + i
        outs.append(h)
    return ingot.stack(outs), ingot.cat(outs), len(outs)


def creation(n: int, x: Any) -> Any:
    a = ingot.zeros(n, 2)
    b = ingot.ones((2, n), dtype=ingot.int32)
    c = ingot.full((n,), 2.5)
    d = ingot.arange(n)
    e = ingot.arange(1, 7, 2)
    f = ingot.zeros_like(x)
    g = ingot.tensor([1, n, 3])
    h = ingot.tensor(2.0)
    i = ingot.arange(0.0, 1.0, 0.25)
    return a, b, c, d, e, f, g, h, i, ingot.eye(3), x.new_zeros(2), ingot.full_like(x, 3), ingot.linspace(0, 1, 3)


def reductions(x: Any) -> Any:
    values, indices = x.max(1)
    return x.max(), x.min(), values, indices, x.mean(0), x.sum(), ingot.max(x, x * 0 + 3), x.argmax(), x.min(dim=0)


def conversions(x: Any) -> Any:
    return x.float(), x.to(ingot.float64), x.long(), x.int() + 1, x.bool(), x.to(x.dtype), x.type_as(x), x.double()


def scalars(x: Any) -> Any:
    a = x[0, 1].item()
    b = float(x[1, 1]) + 1
    c = int(x[2, 3])
    if x.sum() > 3 and x[0, 0] == 0:
        c += 1
    return a, b, c, bool(x[0, 0]), x.sum() * a, not x[0, 0]


def functions(x: Any) -> Any:
    y = F.relu(x - 3)
    z = F.softmax(x, dim=-1)
    return y, z, F.leaky_relu(x - 5, 0.1), ingot.relu(x), ingot.where(x > 2, x, 0.0), x.clamp(1, 4), F.gelu(x)


def rebinding(x: Any) -> Any:
    y = x
    y = y + 1
    x = x * 2
    y += x
    return x, y


def aliased(x: Any) -> Any:
    y = x
    y += 1
    return x, y is x, y


def swap_rows(x: Any) -> Any:
    y = x.clone()
    y[0], y[1] = y[1].clone(), y[0].clone()
    return y


def augmented_in_loop(x: Any, n: int) -> Any:
    total = ingot.zeros(4)
    for i in range(n):
        total += x[i]
    total -= 1
    return total


def step_out(x: Any, limit: float) -> Any:
    for i in range(x.shape[0]):
        if x[i].sum() > limit:
            return x[i] * 2
    return None


def broadcasting(x: Any, y: Any) -> Any:
    return x + y[:, None], x * y.unsqueeze(1), x - y.reshape(3, 1)


CASES: list[Any] = [
    (arithmetic, [(v, v * 2), (k, k), (v, k), (m, m)]),
    (shapes, [(m,), (m[:0],), (ingot.ones(5, 1, dtype=ingot.int8),)]),
    (shape_arithmetic, [(m,), (ingot.ones(2, 2),)]),
    (basic_index, [(m,), (ingot.arange(35).reshape(5, 7),)]),
    (dynamic_index, [(m, 1), (m, 0), (m, 2), (m, -1), (m, 7)]),
    (advanced_index, [(ingot.arange(9.0).reshape(3, 3), k - 1)]),
    (writes, [(m,), (ingot.ones(3, 3),)]),
    (write_argument, [(v, v * 2), (m, m[0])]),
    (views, [(m,)]),
    (view_of_argument, [(m,), (ingot.ones(2, 5),)]),
    (view_in_loop, [(m,), (ingot.ones(2, 1),)]),
    (in_branch, [(m, True), (m, False)]),
    (loop_of_tensors, [(m, 0), (m, 5)]),
    (over_rows, [(m,), (m[:1],), (m[:0],)]),
    (growing, [(v, 0), (v, 3)]),
    (rank_changes, [(m, True), (m, False)]),
    (size_conditions, [(m,), (ingot.ones(5, 2),), (ingot.ones(2, 2),)]),
    (split_and_join, [(m,)]),
    (stack_in_loop, [(m, 1), (m, 4), (m, 0)]),
    (creation, [(3, v), (0, m)]),
    (reductions, [(m,)]),
    (conversions, [(m,), (k,)]),
    (scalars, [(m,)]),
    (functions, [(m,)]),
    (rebinding, [(v,)]),
    (aliased, [(v,)]),
    (swap_rows, [(m,)]),
    (augmented_in_loop, [(m, 3), (m, 0)]),
    (step_out, [(m, 5.0), (m, 500.0)]),
    (broadcasting, [(m, v)]),
]


@pytest.mark.parametrize(("function", "calls"), CASES, ids=[f.__name__ for f, _ in CASES])
def test_same_as_python(compare: Any, function: Any, calls: Any) -> None:
    assert compare(function, *calls).specialisations
